//! Constraints that no interface reports: drivers that accept a buffer and then show garbage, read
//! beyond its end, or crash.
//!
//! This table is small on purpose. A driver that refuses what it cannot use needs no row, because a
//! refusal is found by trying. Each row was measured here, or names its source. The default
//! [`Alignment`](crate::Alignment) satisfies every row, so they matter only for a buffer whose
//! layout was chosen elsewhere.

use super::{Rule, Statement};

/// Use of a buffer by a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// It reads pictures from it.
    Source,
    /// It renders pictures of 32 bits a pixel into it.
    Target32,
}

/// A driver, and the rules that it does not report.
struct Exception {
    /// A word of the driver's name, or of the renderer's.
    driver: &'static str,
    /// Only for this usage.
    usage: Option<Usage>,
    rules: &'static [Rule],
    /// The source of the rules.
    source: &'static str,
}

const TABLE: [Exception; 4] = [
    Exception {
        driver: "llvmpipe",
        usage: Some(Usage::Target32),
        rules: &[Rule::StrideMultiple(16), Rule::OffsetMultiple(16)],
        source: "it stores four pixels at a time and crashes on others; measured, Mesa 26.1",
    },
    Exception {
        driver: "nvidia",
        usage: None,
        rules: &[Rule::StrideMultiple(256)],
        source: "takes other strides and shows garbage; github.com/pop-os/cosmic-comp/pull/151",
    },
    Exception {
        driver: "amd",
        usage: None,
        rules: &[Rule::StrideMultiple(256)],
        source: "a black screen with other strides; github.com/xbmc/xbmc/pull/27895",
    },
    Exception {
        driver: "panfrost",
        usage: None,
        rules: &[Rule::StrideMultiple(64)],
        source: "Mali before v10 needs it; github.com/rockchip-linux/mpp/issues/507",
    },
];

/// The known rules of a driver that no interface reports. A row applies if its word occurs in
/// `driver`: the driver's name, or its renderer's.
pub fn exceptions(owner: &str, driver: &str, usage: Usage) -> Vec<Statement> {
    let words: Vec<_> = driver
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .map(str::to_ascii_lowercase)
        .collect();
    TABLE
        .iter()
        .filter(|row| words.iter().any(|word| word == row.driver))
        .filter(|row| row.usage.is_none_or(|only| only == usage))
        .flat_map(|row| row.rules.iter().map(|rule| (row.source, rule)))
        .map(|(source, rule)| Statement::new(owner, source, rule.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Alignment;
    use crate::constraints::Constraints;

    fn rules(driver: &str, usage: Usage) -> Vec<Rule> {
        exceptions("test", driver, usage).into_iter().map(|statement| statement.rule).collect()
    }

    #[test]
    fn drivers_are_known_by_a_whole_word() {
        let llvmpipe = "llvmpipe (LLVM 19.1.7, 256 bits)";
        assert_eq!(rules(llvmpipe, Usage::Target32).len(), 2);
        assert_eq!(rules(llvmpipe, Usage::Source), []);
        assert_eq!(rules("Mali-G52 (Panfrost)", Usage::Source), [Rule::StrideMultiple(64)]);
        assert_eq!(
            rules("AMD Radeon RX 6600 (radeonsi, navi23, LLVM 19.1.7)", Usage::Target32),
            [Rule::StrideMultiple(256)]
        );
        assert_eq!(rules("NVIDIA H200/PCIe/SSE2", Usage::Source), [Rule::StrideMultiple(256)]);
        assert_eq!(rules("vkms", Usage::Source), []);
        assert_eq!(rules("Framdisk", Usage::Source), []);
    }

    #[test]
    fn the_default_alignment_satisfies_every_row() {
        let all = TABLE.iter().flat_map(|row| row.rules.iter().cloned());
        let all: Constraints = all.map(|rule| Statement::new("test", "", rule)).collect();
        let need = all.alternatives()[0].resolve(&Default::default()).unwrap();
        let wish = Alignment::default();
        assert_eq!(wish.stride % need.planes[0].stride_multiple, 0);
        assert_eq!(wish.offset % need.planes[0].offset_multiple, 0);
    }
}
