//! The passes: a program for each variant of a shader, compiled when a job first needs it.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::gles::{CurrentContext, Program, ShaderError, ShaderSource, Uniform};
use crate::params::Demosaic;
use crate::raw::{Cfa, Packing, RawFormat};
use crate::reference::{FLAT, LUMA};
use crate::stats::{COLUMNS, ROWS};
use crate::tone;

/// A program and the locations of its uniforms, in the order of their names.
pub(super) struct Pass<const N: usize> {
    pub(super) program: Program,
    pub(super) at: [Uniform; N],
}

impl<const N: usize> Pass<N> {
    fn new(gl: &CurrentContext<'_>, program: Program, names: [&str; N]) -> Self {
        Self { at: names.map(|name| program.uniform(gl, name)), program }
    }
}

/// Passes of one kind, by their variant.
struct Variants<K, const N: usize>(Vec<(K, Pass<N>)>);

impl<K, const N: usize> Default for Variants<K, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, const N: usize> Variants<K, N> {
    fn get(
        &mut self,
        key: K,
        make: impl FnOnce(&K) -> Result<Pass<N>, ShaderError>,
    ) -> Result<&Pass<N>, ShaderError> {
        let place = match self.0.iter().position(|(known, _)| *known == key) {
            Some(place) => place,
            None => {
                let pass = make(&key)?;
                self.0.push((key, pass));
                self.0.len() - 1
            }
        };
        Ok(&self.0[place].1)
    }
}

/// The output of `develop.frag`'s four pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DevelopOutput {
    /// A layer each.
    Layers,
    /// Pairs, in two rows.
    Pairs,
    /// Pairs of luma, in two rows, and the chroma of all four.
    Yuv,
}

/// A variant of `mosaic.frag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MosaicVariant {
    pub(super) format: RawFormat,
    /// Texels are whole numbers.
    pub(super) integer: bool,
    pub(super) defects: bool,
    pub(super) shaded: bool,
}

/// The samples that `plane.frag` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaneKind {
    Luma,
    Chroma,
    Yuyv,
}

/// All passes that were needed so far.
#[derive(Default)]
pub(super) struct Passes {
    mosaic: Variants<MosaicVariant, 9>,
    denoise: Option<Pass<3>>,
    green: Variants<u32, 2>,
    develop: Variants<(u32, Demosaic, DevelopOutput), 4>,
    sharpen: Option<Pass<2>>,
    view: Variants<bool, 6>,
    plane: Variants<(PlaneKind, bool), 2>,
    measure: Variants<u32, 2>,
}

/// The site of red in a quad, row by row; 4 without colour filters.
fn red(cfa: Option<Cfa>) -> u32 {
    cfa.map_or(4, |cfa| {
        let (column, row) = cfa.red();
        row * 2 + column
    })
}

/// A shader of GLES 3.0 with these definitions in front of it, and parts that it shares.
fn shader(
    name: &'static str,
    definitions: &[(&str, u32)],
    parts: &[&str],
    source: &str,
) -> ShaderSource<'static> {
    compose("300 es", name, definitions, parts, source)
}

fn compose(
    version: &str,
    name: &'static str,
    definitions: &[(&str, u32)],
    parts: &[&str],
    source: &str,
) -> ShaderSource<'static> {
    let mut text = format!("#version {version}\nprecision highp float;\nprecision highp int;\n");
    for (name, value) in definitions {
        // Writing to a string does not fail.
        let _ = writeln!(text, "#define {name} {value}");
    }
    parts.iter().for_each(|part| text.push_str(part));
    text.push_str(source);
    ShaderSource { name, text: Cow::Owned(text) }
}

const QUADS: &str = include_str!("../shaders/quads.glsl");
const PICTURE: &str = include_str!("../shaders/picture.glsl");

impl Passes {
    pub(super) fn mosaic(
        &mut self,
        gl: &CurrentContext<'_>,
        kind: MosaicVariant,
    ) -> Result<&Pass<9>, ShaderError> {
        let MosaicVariant { format, integer, defects, shaded } = kind;
        // The shader is the same for all orders of filters.
        let kind = MosaicVariant { format: format.with_cfa(None), ..kind };
        let packing = if format.packing() == Packing::Csi2 { format.bits().into() } else { 0 };
        // Gathering came with GLES 3.1, as computing did.
        let gathered = gl.context().has_compute() && packing == 0 && !defects;
        self.mosaic.get(kind, |_| {
            let definitions = [
                ("PACKING", packing),
                ("INTEGER", integer.into()),
                ("DEFECTS", defects.into()),
                ("SHADED", shaded.into()),
                ("GATHERED", gathered.into()),
            ];
            let source = include_str!("../shaders/mosaic.frag");
            let version = if gathered { "310 es" } else { "300 es" };
            let shader = compose(version, "mosaic.frag", &definitions, &[], source);
            let names = [
                "size",
                "full",
                "white",
                "period",
                "threshold",
                "line",
                "shading",
                "middle",
                "raw",
            ];
            Ok(Pass::new(gl, Program::new(gl, shader)?, names))
        })
    }

    pub(super) fn denoise(&mut self, gl: &CurrentContext<'_>) -> Result<&Pass<3>, ShaderError> {
        get_or_make(&mut self.denoise, || {
            let source = include_str!("../shaders/denoise.frag");
            let shader = shader("denoise.frag", &[], &[QUADS], source);
            Ok(Pass::new(gl, Program::new(gl, shader)?, ["size", "period", "over_range"]))
        })
    }

    pub(super) fn green(
        &mut self,
        gl: &CurrentContext<'_>,
        cfa: Cfa,
    ) -> Result<&Pass<2>, ShaderError> {
        self.green.get(red(Some(cfa)), |red| {
            let flat = format!("#define FLAT {FLAT:e}\n");
            let source = include_str!("../shaders/green.frag");
            let shader = shader("green.frag", &[("RED", *red)], &[&flat, QUADS], source);
            Ok(Pass::new(gl, Program::new(gl, shader)?, ["size", "gains"]))
        })
    }

    pub(super) fn develop(
        &mut self,
        gl: &CurrentContext<'_>,
        cfa: Option<Cfa>,
        demosaic: Demosaic,
        output: DevelopOutput,
    ) -> Result<&Pass<4>, ShaderError> {
        // Without filters there is nothing to choose.
        let demosaic = if cfa.is_some() { demosaic } else { Demosaic::Bilinear };
        self.develop.get((red(cfa), demosaic, output), |(red, ..)| {
            let number = match demosaic {
                Demosaic::Bilinear => 0,
                Demosaic::Malvar => 1,
                Demosaic::Directional => 2,
            };
            let definitions = [
                ("RED", *red),
                ("DEMOSAIC", number),
                ("PAIRS", (output == DevelopOutput::Pairs).into()),
                ("YUV", (output == DevelopOutput::Yuv).into()),
                ("SHIFT", tone::SHIFT),
                ("STEPS", tone::STEPS as u32),
            ];
            let range = format!("#define LEAST {:e}\n#define MOST {:e}\n", tone::LEAST, tone::MOST);
            let source = include_str!("../shaders/develop.frag");
            let shader = shader("develop.frag", &definitions, &[&range], source);
            let program = Program::new(gl, shader)?
                .with_sampler(gl, "quads", 0)
                .with_sampler(gl, "greens", 1)
                .with_sampler(gl, "tone", 2);
            Ok(Pass::new(gl, program, ["gains", "matrix", "swapped", "rows"]))
        })
    }

    pub(super) fn sharpen(&mut self, gl: &CurrentContext<'_>) -> Result<&Pass<2>, ShaderError> {
        get_or_make(&mut self.sharpen, || {
            let [r, g, b] = LUMA;
            let luma = format!("#define LUMA vec3({r:e}, {g:e}, {b:e})\n");
            let source = include_str!("../shaders/sharpen.frag");
            let parts = [&luma, PICTURE];
            let shader = shader("sharpen.frag", &[("LAYERED", 1)], &parts, source);
            Ok(Pass::new(gl, Program::new(gl, shader)?, ["last", "amount"]))
        })
    }

    pub(super) fn view(
        &mut self,
        gl: &CurrentContext<'_>,
        whole: bool,
    ) -> Result<&Pass<6>, ShaderError> {
        self.view.get(whole, |_| {
            let definitions = [("LAYERED", 1), ("WHOLE", whole.into())];
            let source = include_str!("../shaders/view.frag");
            let shader = shader("view.frag", &definitions, &[PICTURE], source);
            let names = ["transposed", "start_step", "reach", "crop", "scale", "swapped"];
            Ok(Pass::new(gl, Program::new(gl, shader)?, names))
        })
    }

    pub(super) fn plane(
        &mut self,
        gl: &CurrentContext<'_>,
        kind: PlaneKind,
        layered: bool,
    ) -> Result<&Pass<2>, ShaderError> {
        self.plane.get((kind, layered), |_| {
            let number = match kind {
                PlaneKind::Luma => 0,
                PlaneKind::Chroma => 1,
                PlaneKind::Yuyv => 2,
            };
            let definitions = [("KIND", number), ("LAYERED", layered.into())];
            let source = include_str!("../shaders/plane.frag");
            let shader = shader("plane.frag", &definitions, &[PICTURE], source);
            Ok(Pass::new(gl, Program::new(gl, shader)?, ["last", "rows"]))
        })
    }

    pub(super) fn measure(
        &mut self,
        gl: &CurrentContext<'_>,
        cfa: Option<Cfa>,
    ) -> Result<&Pass<2>, ShaderError> {
        self.measure.get(red(cfa), |red| {
            let definitions = [("RED", *red), ("COLUMNS", COLUMNS as u32), ("ROWS", ROWS as u32)];
            let source = include_str!("../shaders/measure.comp");
            let shader = compose("310 es", "measure.comp", &definitions, &[], source);
            Ok(Pass::new(gl, Program::compute(gl, shader)?, ["count", "saturation"]))
        })
    }
}

fn get_or_make<const N: usize>(
    pass: &mut Option<Pass<N>>,
    make: impl FnOnce() -> Result<Pass<N>, ShaderError>,
) -> Result<&Pass<N>, ShaderError> {
    match pass {
        Some(pass) => Ok(pass),
        None => Ok(pass.insert(make()?)),
    }
}
