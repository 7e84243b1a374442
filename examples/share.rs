//! A buffer for two processes: the consumer says what it needs, the producer plans, allocates and
//! fills, and the consumer gets the buffer over a Unix socket and checks every claim before it
//! reads.
//!
//! `cargo run --example share`

use std::error::Error;
use std::io::{BufRead, BufReader, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::plan::{HeapOffer, Planner, Stream};
use vcam_allocator::socket::BufferSocket;
use vcam_allocator::{CpuAccess, Fourcc, heaps};

const SIZE: (u32, u32) = (320, 240);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("consumer") => consume(),
        _ => produce(),
    }
}

fn produce() -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    let mut consumer = Command::new(std::env::current_exe()?)
        .arg("consumer")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(consumer.stdout.take().ok_or("the consumer has no stdout")?);

    // The consumer's constraints arrive as JSON, with a version and a limit of size.
    let mut line = String::new();
    said.read_line(&mut line)?;
    let theirs: Constraints = serde_json::from_str(&line)?;
    let writes = Rule::Cpu(CpuUse { write: true, ..CpuUse::default() });
    let ours_too = [Statement::new("producer", "it is a program", writes)].into_iter().collect();
    let names = ["udmabuf", "system", "memfd"];
    let heaps: Vec<_> = names.into_iter().filter_map(|name| heaps::open(name).ok()).collect();
    let planner = Planner::new(heaps.iter().map(|heap| HeapOffer::from(&**heap)).collect());
    let plan = planner.plan(&Stream {
        name: "shared",
        width: SIZE.0,
        height: SIZE.1,
        formats: &[Fourcc::XRGB8888],
        parties: &[theirs, ours_too],
    })?;
    let heap = heaps.iter().find(|heap| heap.name() == plan.heap).ok_or("the plan's heap")?;
    println!(
        "producer: {} in {}, stride {}",
        plan.layout.format(),
        plan.heap,
        plan.layout.planes()[0].stride
    );

    let buffer = heap.allocate(&plan.layout, "shared")?;
    let mut pixels = buffer.cpu_access(CpuAccess::Write)?;
    pixels.plane_mut(0).fill(0x5a);
    // Others see the bytes once the access has ended.
    pixels.end()?;
    BufferSocket::new(ours)?.send(&buffer)?;

    line.clear();
    said.read_line(&mut line)?;
    print!("{line}");
    let status = consumer.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the consumer failed: {status}").into()) }
}

fn consume() -> Result<(), Box<dyn Error>> {
    let reads = Rule::Cpu(CpuUse { read: true, ..CpuUse::default() });
    let needs: Constraints = [reads, Rule::StrideMultiple(512)]
        .into_iter()
        .map(|rule| Statement::new("consumer", "it is a program", rule))
        .collect();
    println!("{}", serde_json::to_string(&needs)?);

    let socket: OwnedFd = stdin().as_fd().try_clone_to_owned()?;
    // Refuses a descriptor that is no buffer, is too small for its layout, or lacks a plane.
    let buffer = BufferSocket::new(socket)?.receive(Duration::from_secs(10))?;
    let pixels = buffer.cpu_access(CpuAccess::Read)?;
    let right = pixels.plane(0).iter().all(|byte| *byte == 0x5a);
    pixels.end()?;
    let layout = buffer.layout();
    println!("consumer: {}x{}, pixels right: {right}", layout.width(), layout.height());
    Ok(())
}
