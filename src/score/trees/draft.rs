//! One tree as its file has it, with what every file must keep to.

use std::collections::BTreeMap;

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
    /// The category is one of these, which rise.
    In { codes: Vec<u32>, missing_in: bool },
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

/// Where everything stands when the tree is drawn with first children on the left.
#[derive(Debug)]
pub(super) struct Drawing {
    /// Leaves under the first child, and under both, by split; none where nothing leads.
    pub(super) spans: Vec<Option<Span>>,
    /// Leaves from left to right.
    pub(super) leaves: Vec<u32>,
    /// Splits on the longest way down.
    pub(super) depth: u32,
}

/// Leaves `start..middle` are under the first child.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) middle: u32,
    depth: u32,
}

impl Draft {
    /// Draws the tree, or says which part has two parents. Children stand behind their parents, as the readers saw to.
    pub(super) fn draw(&self, tree: usize) -> Result<Drawing, TreeError> {
        let mut counts = vec![0u32; self.splits.len()];
        self.check_parents(tree)?;
        let count = |counts: &[u32], child| match child {
            Child::Leaf(_) => 1,
            Child::Split(i) => counts.get(i as usize).copied().unwrap_or_default(),
        };
        for (at, split) in self.splits.iter().enumerate().rev() {
            let sum = split.children.iter().map(|child| count(&counts, *child)).sum();
            counts.get_mut(at).into_iter().for_each(|count| *count = sum);
        }
        let leaves = counts.first().map_or(1, |count| *count as usize);
        let mut drawing = Drawing { spans: vec![None; self.splits.len()], leaves: vec![0; leaves], depth: 0 };
        if let Some(root) = drawing.spans.first_mut() {
            *root = Some(Span { start: 0, middle: 0, depth: 1 });
        }
        for (at, split) in self.splits.iter().enumerate() {
            let Some(Some(Span { start, depth, .. })) = drawing.spans.get(at).copied() else { continue };
            let middle = start + split.children.first().map_or(0, |first| count(&counts, *first));
            drawing
                .spans
                .get_mut(at)
                .into_iter()
                .for_each(|span| *span = Some(Span { start, middle, depth }));
            for (child, start) in split.children.into_iter().zip([start, middle]) {
                drawing.place(child, start, depth);
            }
        }
        Ok(drawing)
    }

    /// Notes the categorical columns it splits, with the greatest code of each.
    pub(super) fn note_codes(&self, known: &mut BTreeMap<usize, u32>) {
        for split in &self.splits {
            if let Test::In { codes, .. } = &split.test {
                note_code(known, split.feature as usize, codes.last().copied().unwrap_or_default());
            }
        }
    }

    fn check_parents(&self, tree: usize) -> Result<(), TreeError> {
        let (mut splits, mut leaves) = (vec![false; self.splits.len()], vec![false; self.leaves.len()]);
        for child in self.splits.iter().flat_map(|split| split.children) {
            let (seen, what, i) = match child {
                Child::Split(i) => (splits.get_mut(i as usize), "split", i),
                Child::Leaf(i) => (leaves.get_mut(i as usize), "leaf", i),
            };
            match seen {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(TreeError::tree(tree, format!("{what} {i} has two parents"))),
                None => return Err(TreeError::tree(tree, format!("{what} {i} does not exist"))),
            }
        }
        Ok(())
    }

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

/// The greater of the code and what is known of the column.
pub(super) fn note_code(known: &mut BTreeMap<usize, u32>, column: usize, code: u32) {
    let greatest = known.entry(column).or_default();
    *greatest = code.max(*greatest);
}

impl Drawing {
    fn place(&mut self, child: Child, start: u32, depth: u32) {
        match child {
            Child::Leaf(i) => {
                self.depth = self.depth.max(depth);
                self.leaves.get_mut(start as usize).into_iter().for_each(|leaf| *leaf = i);
            }
            Child::Split(i) => {
                let span = Span { start, middle: start, depth: depth + 1 };
                self.spans.get_mut(i as usize).into_iter().for_each(|place| *place = Some(span));
            }
        }
    }
}
