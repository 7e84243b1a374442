//! The passes on the mosaic: samples become light, a quad of sites in a texel.

use vcam_allocator::{CpuAccess, Dmabuf, Fourcc};

use super::passes::{MosaicVariant, Passes};
use super::scratch::{ScratchTargets, fit, rendered};
use crate::frame::{IspError, Job, cpu_stride, size_of};
use crate::gles::{CurrentContext, Framebuffer, Texture, TextureFormat};
use crate::params::{Demosaic, IspParams};
use crate::stats::WHITE;

/// Width and height of the texture of quads, which has one more quad at each side.
fn quads_size((width, height): (u32, u32)) -> (u32, u32) {
    (width.div_ceil(2) + 2, height.div_ceil(2) + 2)
}

/// Sites from one to the next of its colour.
fn period(job: &Job<'_>) -> i32 {
    if job.format.cfa().is_some() { 2 } else { 1 }
}

fn size_ints(job: &Job<'_>) -> [i32; 2] {
    [job.size.0 as i32, job.size.1 as i32]
}

/// Gains for 16-bit light.
pub(super) fn per_step(params: &IspParams) -> [f32; 3] {
    params.gains.map(|gain| gain / f32::from(WHITE))
}

/// Copies a raw frame into a texture; `true` if its texels are whole numbers.
pub(super) fn upload<'a>(
    gl: &CurrentContext<'_>,
    texture: &'a mut Option<Texture>,
    raw: &Dmabuf,
) -> Result<(&'a Texture, bool), IspError> {
    let integer = raw.format() == Fourcc::R16;
    let format = if integer { TextureFormat::R16UI } else { TextureFormat::R8 };
    let size = size_of(raw);
    let kept = texture.take().filter(|texture| texture.is(format, size));
    let fitting = match kept {
        Some(texture) => texture,
        None => Texture::new(gl, format, size)?,
    };
    let texture = texture.insert(fitting);
    let stride = cpu_stride(raw, 0)?;
    let from = raw.cpu_access(CpuAccess::Read)?;
    texture.upload(gl, from.plane(0), stride);
    from.end()?;
    gl.check("glTexSubImage2D")?;
    Ok((texture, integer))
}

/// Makes light of samples, corrected as the parameters say. `integer` says whether the texels of
/// `raw` are whole numbers.
pub(super) fn mosaic(
    gl: &CurrentContext<'_>,
    job: &Job<'_>,
    passes: &mut Passes,
    (raw, integer): (&Texture, bool),
    quads: &mut Option<Framebuffer>,
) -> Result<(), IspError> {
    let format = job.format;
    let shaded = !job.params.shading.is_none();
    let defects = job.params.defects.is_some();
    let pass = passes.mosaic(gl, MosaicVariant { format, integer, defects, shaded })?;
    let program = pass.program.activate(gl);
    let [size, full, white, period_at, threshold, line, shading, middle, _] = &pass.at;
    let black = job.params.black_level;
    let per_sample = f32::from(WHITE) / (f32::from(format.white()) * (1.0 - black));
    let steps = job.params.defects.map(|defects| defects.steps(format) as i32);
    program.set_ints(size, &size_ints(job));
    let most = if job.raw.format() == Fourcc::R16 { u16::MAX.into() } else { f32::from(u8::MAX) };
    program.set_floats(full, &[most]);
    program.set_ints(white, &[format.white().into()]);
    program.set_ints(period_at, &[period(job)]);
    program.set_ints(threshold, &[steps.unwrap_or_default()]);
    program.set_floats(line, &[per_sample, f32::from(WHITE) * black / (1.0 - black)]);
    let colour = |site: u32| format.cfa().map_or(1, |cfa| cfa.colour_at(site & 1, site >> 1));
    let coefficients = [0, 1, 2, 3].map(|site| job.params.shading.coefficients[colour(site)]);
    program.set_vectors(shading, &coefficients);
    let half = |count: u32| (count as f32 - 1.0) / 2.0;
    let (across, down) = (half(job.size.0), half(job.size.1));
    program.set_floats(middle, &[across, down, 1.0 / (across * across + down * down)]);
    raw.bind(gl, 0);
    program.draw(fit(quads, gl, TextureFormat::RGBA16UI, quads_size(job.size))?);
    Ok(())
}

/// Denoises light, if the parameters say so.
pub(super) fn denoise(
    gl: &CurrentContext<'_>,
    job: &Job<'_>,
    passes: &mut Passes,
    scratch: &mut ScratchTargets,
) -> Result<(), IspError> {
    let Some(denoise) = job.params.denoise else { return Ok(()) };
    let pass = passes.denoise(gl)?;
    let program = pass.program.activate(gl);
    let [size, period_at, over_range] = &pass.at;
    program.set_ints(size, &size_ints(job));
    program.set_ints(period_at, &[period(job)]);
    program.set_floats(over_range, &[1.0 / (denoise.range * f32::from(WHITE))]);
    rendered(&scratch.quads).bind(gl, 0);
    let size = quads_size(job.size);
    program.draw(fit(&mut scratch.denoised, gl, TextureFormat::RGBA16UI, size)?);
    Ok(())
}

/// Finds green at every site, for the directional demosaic alone.
pub(super) fn green(
    gl: &CurrentContext<'_>,
    job: &Job<'_>,
    passes: &mut Passes,
    scratch: &mut ScratchTargets,
) -> Result<(), IspError> {
    let (Some(cfa), Demosaic::Directional) = (job.format.cfa(), job.params.demosaic) else {
        return Ok(());
    };
    let pass = passes.green(gl, cfa)?;
    let program = pass.program.activate(gl);
    let [size, gains] = &pass.at;
    program.set_ints(size, &size_ints(job));
    program.set_floats(gains, &per_step(job.params));
    scratch.light(job.params).bind(gl, 0);
    let size = quads_size(job.size);
    program.draw(fit(&mut scratch.greens, gl, TextureFormat::RG16UI, size)?);
    Ok(())
}
