//! The table for people: a column for each heap, a row for each device and format.

use std::fmt;

use vcam_allocator::Fourcc;
use vcam_allocator::probe::{Cell, Outcome};

use super::Report;
use super::protocol::HeapEntry;

/// The table of a report.
pub(super) struct Table<'a>(pub(super) &'a Report);

/// A finding, with everything that it was found for.
struct Note<'a> {
    cell: &'a Cell,
    /// Device and heap, and the formats.
    places: Vec<(&'a str, &'a str, Vec<Fourcc>)>,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { heaps, importers, cells, skipped, .. } = self.0;
        let columns: Vec<_> =
            heaps.iter().filter(|heap| heap.info.available).map(|heap| &*heap.info.name).collect();
        let mut rows: Vec<(String, Vec<String>)> = Vec::new();
        for importer in importers {
            let mine = |cell: &&Cell| cell.importer == importer.name;
            let mut formats: Vec<_> = Vec::new();
            for cell in cells.iter().filter(mine) {
                if !formats.contains(&cell.format) {
                    formats.push(cell.format);
                }
            }
            for format in formats {
                let words = columns.iter().map(|heap| {
                    let found = cells
                        .iter()
                        .filter(mine)
                        .find(|cell| cell.heap == *heap && cell.format == format);
                    found.map(word).unwrap_or_default()
                });
                rows.push((format!("{} {format}", importer.name), words.collect()));
            }
        }
        let costs = columns.iter().map(|heap| allocation(cells, heap));
        rows.push(("(allocation)".to_owned(), costs.collect()));

        let width = |text: &str| text.chars().count();
        let first = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        let widths: Vec<_> = columns
            .iter()
            .enumerate()
            .map(|(index, heap)| {
                let words = rows.iter().map(|(_, words)| width(&words[index]));
                words.max().unwrap_or(0).max(width(heap))
            })
            .collect();
        let mut line = |name: &str, words: &[&str]| {
            let mut text = format!("{name:first$}");
            for (word, width) in words.iter().zip(&widths) {
                text.push_str(&format!("  {word:width$}"));
            }
            writeln!(f, "{}", text.trim_end())
        };
        line("", &columns)?;
        for (name, words) in &rows {
            line(name, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
        }

        for note in notes(cells) {
            writeln!(f, "\n{}", title(note.cell))?;
            for (importer, heap, formats) in note.places {
                let formats: Vec<_> = formats.iter().map(Fourcc::to_string).collect();
                writeln!(f, "    {importer} with {heap}: {}", formats.join(", "))?;
            }
        }
        for HeapEntry { info, fix } in heaps.iter().filter(|heap| !heap.info.available) {
            write!(f, "\nno heap {}: {}", info.name, info.reason.as_deref().unwrap_or_default())?;
            if let Some(fix) = fix {
                write!(f, "; try: {fix}")?;
            }
            writeln!(f)?;
        }
        for device in skipped {
            writeln!(f, "\nnot probed, {}: {}", device.source, device.reason)?;
        }
        Ok(())
    }
}

/// A cell in a word; an `ok` that leaves something open has a mark.
fn word(cell: &Cell) -> String {
    match cell.result {
        Outcome::Ok => {
            let mark = if cell.reason.is_some() { "*" } else { "" };
            match cell.import_us {
                Some(time) => format!("ok{mark} {time} µs"),
                None => format!("ok{mark}"),
            }
        }
        Outcome::Refused => "refused".to_owned(),
        Outcome::WrongPixels => "wrong".to_owned(),
        Outcome::Error => "error".to_owned(),
    }
}

/// The median cost of allocating a buffer of a heap.
fn allocation(cells: &[Cell], heap: &str) -> String {
    let mut times: Vec<_> =
        cells.iter().filter(|cell| cell.heap == heap).filter_map(|cell| cell.alloc_us).collect();
    times.sort_unstable();
    times.get(times.len() / 2).map(|time| format!("{time} µs")).unwrap_or_default()
}

fn title(cell: &Cell) -> String {
    let result = match cell.result {
        Outcome::Ok => "* ok".to_owned(),
        Outcome::Refused => "refused".to_owned(),
        Outcome::WrongPixels => "wrong".to_owned(),
        Outcome::Error => "error".to_owned(),
    };
    let mut text = result;
    if let Some(step) = &cell.step {
        text.push_str(&format!(", {step}"));
    }
    if let Some(errno) = &cell.errno {
        text.push_str(&format!(", {errno}"));
    }
    if let Some(reason) = &cell.reason {
        text.push_str(&format!(": {reason}"));
    }
    text
}

/// A reason without the words that have a digit, as sizes and formats do.
fn without_numbers(cell: &Cell) -> String {
    let words = cell.reason.as_deref().unwrap_or_default().split(' ');
    let plain = words.filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
    plain.collect::<Vec<_>>().join(" ")
}

/// Everything that is not simply right, once, with everything that it was found for.
fn notes(cells: &[Cell]) -> Vec<Note<'_>> {
    let mut notes: Vec<Note<'_>> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.result != Outcome::Ok || cell.reason.is_some()) {
        let said = |cell: &Cell| {
            // What a heap says of an allocation differs in sizes and little else.
            let about = match cell.step.as_deref() {
                Some("allocate") => Some(format!("{} {}", cell.heap, without_numbers(cell))),
                _ => cell.reason.clone(),
            };
            (cell.result, cell.step.clone(), cell.errno.clone(), about)
        };
        let place = (cell.importer.as_str(), cell.heap.as_str());
        let index = match notes.iter().position(|note| said(note.cell) == said(cell)) {
            Some(index) => index,
            None => {
                notes.push(Note { cell, places: Vec::new() });
                notes.len() - 1
            }
        };
        let places = &mut notes[index].places;
        match places.iter_mut().find(|(importer, heap, _)| (*importer, *heap) == place) {
            Some((_, _, formats)) => formats.push(cell.format),
            None => places.push((place.0, place.1, vec![cell.format])),
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use vcam_allocator::probe::{HeapInfo, ImporterInfo};

    use super::*;

    #[test]
    fn a_table_has_every_refusal_once() {
        let heap = |name: &str, available: bool| HeapEntry {
            info: HeapInfo {
                name: name.into(),
                kind: name.into(),
                available,
                reason: (!available).then(|| "it is not permitted".into()),
            },
            fix: (!available).then(|| "sudo true".into()),
        };
        let cell = |heap: &str, format, why: &str| {
            let why = why.to_owned();
            Cell::unknown(heap, "kms:test", format, Some("ADDFB2"), why)
        };
        let ok = Cell {
            result: Outcome::Ok,
            step: None,
            reason: None,
            import_us: Some(7),
            alloc_us: Some(9),
            ..cell("udmabuf", Fourcc::R8, "")
        };
        let report = Report {
            schema: 1,
            heaps: vec![heap("udmabuf", true), heap("memfd", true), heap("gone", false)],
            importers: vec![ImporterInfo {
                identity: String::new(),
                name: "kms:test".into(),
                driver: "test".into(),
                node: None,
            }],
            cells: vec![
                ok,
                cell("udmabuf", Fourcc::NV12, "so"),
                cell("memfd", Fourcc::R8, "so"),
                cell("memfd", Fourcc::NV12, "so"),
            ],
            skipped: Vec::new(),
        };
        let expected = "
               udmabuf  memfd
kms:test R8    ok 7 µs  error
kms:test NV12  error    error
(allocation)   9 µs

error, ADDFB2: so
    kms:test with udmabuf: NV12
    kms:test with memfd: R8, NV12

no heap gone: it is not permitted; try: sudo true
";
        assert_eq!(format!("\n{}", Table(&report)), expected);
    }
}
