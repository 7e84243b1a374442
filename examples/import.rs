//! A buffer of memory that a GPU did not allocate, handed to it all the same: as a texture that it
//! samples, and as a target that it renders to.
//!
//! Three things to get right: ask the driver, since no extension string promises that it takes
//! *this* buffer; ask once for each buffer and keep the answer; and keep the error of a refusal,
//! because there is no way to find it later.
//!
//! `cargo run --example import`

use vcam_allocator::{Alignment, Fourcc, Heap, Layout, heaps};
use vcam_isp_gpu::GpuIsp;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut isp = GpuIsp::new(None)?;
    for name in ["udmabuf", "system", "memfd"] {
        let heap: Box<dyn Heap> = match heaps::open(name) {
            Ok(heap) => heap,
            Err(error) => {
                println!("{name}: {error}");
                continue;
            }
        };
        // Strides of 256 bytes suit every GPU that is known.
        let wide = Alignment { stride: 256, ..Alignment::default() };
        let layout = Layout::linear(Fourcc::XRGB8888, 640, 480, wide)?;
        let buffer = heap.allocate(&layout, "example")?;
        let answers = [
            ("texture", isp.texture_importer().try_import(&buffer)),
            ("target", isp.target_importer().try_import(&buffer)),
        ];
        for (what, answer) in answers {
            match answer {
                Ok(()) => println!("{name}: imported as a {what}"),
                // The program has to copy then; the pipeline does so by itself.
                Err(refusal) => println!("{name}: no {what}: {refusal}"),
            }
        }
    }
    Ok(())
}
