//! One tree as its file has it, with what every file must keep to.

use super::TreeError;

/// A tree before it is laid out. Split 0 is the root; without splits it is leaf 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) splits: Vec<Split>,
    pub(super) leaves: Vec<Leaf>,
}

/// A node with two children.
#[derive(Clone, Debug)]
pub(super) struct Split {
    pub(super) feature: u32,
    pub(super) test: Test,
    /// Where the test holds, and where it does not.
    pub(super) children: [Child; 2],
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Child {
    Split(u32),
    Leaf(u32),
}

/// What sends a value to the first child.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// `x <= threshold`; a missing value, too, where `missing_first`. Zero counts as missing where `zero_missing`.
    AtMost { threshold: f64, missing_first: bool, zero_missing: bool },
    /// The category is in the set: bit `c % 64` of word `c / 64`.
    In { words: Vec<u64>, missing_in: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Its number in the file.
    pub(super) id: u32,
    pub(super) value: f64,
    pub(super) plane: Option<Plane>,
}

/// A leaf that is a linear model of its lead.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub(super) constant: f64,
    pub(super) terms: Vec<(u32, f64)>,
}

impl Draft {
    /// Refuses features beyond `features` and numbers that are not finite.
    pub(super) fn check(&self, tree: usize, features: usize) -> Result<(), TreeError> {
        let refuse = |reason: String| Err(TreeError::tree(tree, reason));
        for (at, split) in self.splits.iter().enumerate() {
            if split.feature as usize >= features {
                return refuse(format!("split {at} reads feature {} of {features}", split.feature));
            }
            if matches!(split.test, Test::AtMost { threshold, .. } if !threshold.is_finite()) {
                return refuse(format!("split {at} has a threshold that is not finite"));
            }
        }
        for leaf in &self.leaves {
            let plane = leaf.plane.iter();
            let terms = plane.clone().flat_map(|plane| &plane.terms);
            if let Some((feature, _)) = terms.clone().find(|(feature, _)| *feature as usize >= features) {
                return refuse(format!("leaf {} reads feature {feature} of {features}", leaf.id));
            }
            let constants = plane.map(|plane| plane.constant);
            let mut numbers = constants.chain(terms.map(|(_, coefficient)| *coefficient)).chain([leaf.value]);
            if !numbers.all(f64::is_finite) {
                return refuse(format!("leaf {} is not finite", leaf.id));
            }
        }
        Ok(())
    }
}
