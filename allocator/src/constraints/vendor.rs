//! Rules that only a vendor understands, and how they combine.

use std::collections::BTreeMap;

/// Combines two values of one vendor's rule, or says that both cannot hold.
///
/// It must be commutative, associative and idempotent, as every merge here is.
pub type MergeRule = fn(&[u64], &[u64]) -> Option<Vec<u64>>;

/// The merge rules that vendors have registered, by key.
///
/// Without one, two statements agree only if they are equal.
#[derive(Debug, Clone, Default)]
pub struct VendorRules(BTreeMap<String, MergeRule>);

impl VendorRules {
    /// Registers the merge rule of a key; the last one counts.
    pub fn register(&mut self, key: &str, rule: MergeRule) {
        self.0.insert(key.to_owned(), rule);
    }

    pub(super) fn merge(&self, key: &str, one: &[u64], other: &[u64]) -> Option<Vec<u64>> {
        match self.0.get(key) {
            Some(rule) => rule(one, other),
            None => (one == other).then(|| one.to_vec()),
        }
    }
}
