//! The passes: a program for each variant of a shader that a job needs, made the first time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::rc::Rc;

use crate::egl::{Context, EglError};
use crate::gl::{Program, Shader, Uniform};
use crate::params::{Cfa, Demosaic};
use crate::raw::{Packing, RawFormat};
use crate::reference::{FLAT, LUMA};
use crate::stats::{COLUMNS, ROWS};
use crate::tone;

/// A program, and where its uniforms live, in the order of their names.
pub(super) struct Pass<const N: usize> {
    pub(super) program: Program,
    pub(super) at: [Uniform; N],
}

impl<const N: usize> Pass<N> {
    fn new(program: Program, names: [&str; N]) -> Self {
        Self { at: names.map(|name| program.uniform(name)), program }
    }
}

/// Passes of one kind, each with the variant that it is.
struct Variants<K, const N: usize>(Vec<(K, Pass<N>)>);

impl<K: PartialEq, const N: usize> Variants<K, N> {
    fn get(
        &mut self,
        key: K,
        make: impl FnOnce(&K) -> Result<Pass<N>, EglError>,
    ) -> Result<&Pass<N>, EglError> {
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

/// How `develop.frag` gives its four pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Giving {
    /// As a layer each.
    Layers,
    /// As pairs, in two rows.
    Pairs,
    /// As pairs of luma, in two rows, and the chroma of all four.
    Yuv,
}

/// What `mosaic.frag` makes light of, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mosaic {
    pub(super) format: RawFormat,
    /// Texels are whole numbers.
    pub(super) integer: bool,
    pub(super) defects: bool,
    pub(super) shaded: bool,
}

/// What `plane.frag` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Luma,
    Chroma,
    Yuyv,
}

/// All passes that were needed so far.
pub(super) struct Passes {
    context: Rc<Context>,
    mosaic: Variants<Mosaic, 9>,
    denoise: Option<Pass<3>>,
    green: Variants<u32, 2>,
    develop: Variants<(u32, Demosaic, Giving), 4>,
    sharpen: Option<Pass<2>>,
    view: Variants<bool, 6>,
    plane: Variants<(Kind, bool), 2>,
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
) -> Shader<'static> {
    compose("300 es", name, definitions, parts, source)
}

fn compose(
    version: &str,
    name: &'static str,
    definitions: &[(&str, u32)],
    parts: &[&str],
    source: &str,
) -> Shader<'static> {
    let mut text = format!("#version {version}\nprecision highp float;\nprecision highp int;\n");
    for (name, value) in definitions {
        // Writing to a string does not fail.
        let _ = writeln!(text, "#define {name} {value}");
    }
    parts.iter().for_each(|part| text.push_str(part));
    text.push_str(source);
    Shader { name, source: Cow::Owned(text) }
}

const QUADS: &str = include_str!("../shaders/quads.glsl");
const PICTURE: &str = include_str!("../shaders/picture.glsl");

impl Passes {
    pub(super) fn new(context: &Rc<Context>) -> Self {
        Self {
            context: context.clone(),
            mosaic: Variants(Vec::new()),
            denoise: None,
            green: Variants(Vec::new()),
            develop: Variants(Vec::new()),
            sharpen: None,
            view: Variants(Vec::new()),
            plane: Variants(Vec::new()),
            measure: Variants(Vec::new()),
        }
    }

    pub(super) fn mosaic(&mut self, kind: Mosaic) -> Result<&Pass<9>, EglError> {
        let Mosaic { format, integer, defects, shaded } = kind;
        // The shader is the same for all orders of filters.
        let kind = Mosaic { format: format.with_cfa(None), ..kind };
        let packing = if format.packing() == Packing::Csi2 { format.bits().into() } else { 0 };
        let context = &self.context;
        // Gathering came with GLES 3.1, as computing did.
        let gathered = context.computes() && packing == 0 && !defects;
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
            Ok(Pass::new(Program::new(context, shader)?, names))
        })
    }

    pub(super) fn denoise(&mut self) -> Result<&Pass<3>, EglError> {
        let context = &self.context;
        get_or_make(&mut self.denoise, || {
            let source = include_str!("../shaders/denoise.frag");
            let shader = shader("denoise.frag", &[], &[QUADS], source);
            Ok(Pass::new(Program::new(context, shader)?, ["size", "period", "over_range"]))
        })
    }

    pub(super) fn green(&mut self, cfa: Cfa) -> Result<&Pass<2>, EglError> {
        let context = &self.context;
        self.green.get(red(Some(cfa)), |red| {
            let flat = format!("#define FLAT {FLAT:e}\n");
            let source = include_str!("../shaders/green.frag");
            let shader = shader("green.frag", &[("RED", *red)], &[&flat, QUADS], source);
            Ok(Pass::new(Program::new(context, shader)?, ["size", "gains"]))
        })
    }

    pub(super) fn develop(
        &mut self,
        cfa: Option<Cfa>,
        demosaic: Demosaic,
        giving: Giving,
    ) -> Result<&Pass<4>, EglError> {
        let context = &self.context;
        // Without filters there is nothing to choose.
        let demosaic = if cfa.is_some() { demosaic } else { Demosaic::Bilinear };
        self.develop.get((red(cfa), demosaic, giving), |(red, ..)| {
            let number = match demosaic {
                Demosaic::Bilinear => 0,
                Demosaic::Malvar => 1,
                Demosaic::Directional => 2,
            };
            let definitions = [
                ("RED", *red),
                ("DEMOSAIC", number),
                ("PAIRS", (giving == Giving::Pairs).into()),
                ("YUV", (giving == Giving::Yuv).into()),
                ("SHIFT", tone::SHIFT),
                ("STEPS", tone::STEPS as u32),
            ];
            let range = format!("#define LEAST {:e}\n#define MOST {:e}\n", tone::LEAST, tone::MOST);
            let source = include_str!("../shaders/develop.frag");
            let shader = shader("develop.frag", &definitions, &[&range], source);
            let program = Program::new(context, shader)?
                .with_sampler("quads", 0)
                .with_sampler("greens", 1)
                .with_sampler("tone", 2);
            Ok(Pass::new(program, ["gains", "matrix", "swapped", "rows"]))
        })
    }

    pub(super) fn sharpen(&mut self) -> Result<&Pass<2>, EglError> {
        let context = &self.context;
        get_or_make(&mut self.sharpen, || {
            let [r, g, b] = LUMA;
            let luma = format!("#define LUMA vec3({r:e}, {g:e}, {b:e})\n");
            let source = include_str!("../shaders/sharpen.frag");
            let parts = [&luma, PICTURE];
            let shader = shader("sharpen.frag", &[("LAYERED", 1)], &parts, source);
            Ok(Pass::new(Program::new(context, shader)?, ["last", "amount"]))
        })
    }

    pub(super) fn view(&mut self, whole: bool) -> Result<&Pass<6>, EglError> {
        let context = &self.context;
        self.view.get(whole, |_| {
            let definitions = [("LAYERED", 1), ("WHOLE", whole.into())];
            let source = include_str!("../shaders/view.frag");
            let shader = shader("view.frag", &definitions, &[PICTURE], source);
            let names = ["transposed", "start_step", "reach", "crop", "scale", "swapped"];
            Ok(Pass::new(Program::new(context, shader)?, names))
        })
    }

    pub(super) fn plane(&mut self, kind: Kind, layered: bool) -> Result<&Pass<2>, EglError> {
        let context = &self.context;
        self.plane.get((kind, layered), |_| {
            let number = match kind {
                Kind::Luma => 0,
                Kind::Chroma => 1,
                Kind::Yuyv => 2,
            };
            let definitions = [("KIND", number), ("LAYERED", layered.into())];
            let source = include_str!("../shaders/plane.frag");
            let shader = shader("plane.frag", &definitions, &[PICTURE], source);
            Ok(Pass::new(Program::new(context, shader)?, ["last", "rows"]))
        })
    }

    pub(super) fn measure(&mut self, cfa: Option<Cfa>) -> Result<&Pass<2>, EglError> {
        let context = &self.context;
        self.measure.get(red(cfa), |red| {
            let definitions = [("RED", *red), ("COLUMNS", COLUMNS as u32), ("ROWS", ROWS as u32)];
            let source = include_str!("../shaders/measure.comp");
            let shader = compose("310 es", "measure.comp", &definitions, &[], source);
            Ok(Pass::new(Program::compute(context, shader)?, ["count", "saturation"]))
        })
    }
}

fn get_or_make<const N: usize>(
    pass: &mut Option<Pass<N>>,
    make: impl FnOnce() -> Result<Pass<N>, EglError>,
) -> Result<&Pass<N>, EglError> {
    match pass {
        Some(pass) => Ok(pass),
        None => Ok(pass.insert(make()?)),
    }
}
