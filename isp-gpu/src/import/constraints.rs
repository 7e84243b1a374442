//! The constraints that EGL lists by itself.

use std::collections::BTreeSet;

use vcam_allocator::constraints::{self, Constraints, FormatSet, Rule, Statement, exceptions};
use vcam_allocator::{Fourcc, Modifier};

use super::planes::{is_imported_by_plane, renders_planes};
use super::{IMPORT, QUERY, Usage};
use crate::gles::GlesContext;

/// The constraints of a usage on buffers in these formats.
pub(super) fn of_usage(
    context: &GlesContext,
    usage: Usage,
    device: &str,
    formats: &[Fourcc],
) -> Constraints {
    let says = |source: &str, rule| Statement::new(device, source, rule);
    let import = match context.dmabuf_import() {
        Ok(import) => import,
        Err(missing) => {
            let source = format!("no {}", missing.extension);
            return [says(&source, Rule::Heaps(BTreeSet::new()))].into_iter().collect();
        }
    };
    let mut statements = vec![says(IMPORT, Rule::DmaBuf)];
    let mut external_only = Vec::new();
    let mut usable = FormatSet::new();
    for format in formats {
        if usage == Usage::PlaneTargets && is_imported_by_plane(*format) {
            // A plane is a picture of its own only where its rows follow each other.
            let linear = BTreeSet::from([Modifier::LINEAR]);
            let renders = renders_planes(import, *format);
            usable.insert(*format, if renders { linear } else { BTreeSet::new() });
            continue;
        }
        let listed = import.modifiers(*format).unwrap_or_else(|| vec![(Modifier::LINEAR, false)]);
        if !listed.is_empty() && listed.iter().all(|(_, external_only)| *external_only) {
            external_only.push(format.to_string());
        }
        let plain = listed.into_iter().filter(|(_, external_only)| !external_only);
        usable.insert(*format, plain.map(|(modifier, _)| modifier).collect());
    }
    let source = match external_only[..] {
        [] => QUERY.to_owned(),
        _ => format!("{QUERY}: external_only for {}", external_only.join(", ")),
    };
    statements.push(says(&source, Rule::Formats(usable)));
    let usage = match usage {
        Usage::Texture | Usage::ExternalTexture => constraints::Usage::Source,
        Usage::Framebuffer | Usage::PlaneTargets => constraints::Usage::Target32,
    };
    statements.extend(exceptions(device, context.renderer(), usage));
    statements.into_iter().collect()
}
