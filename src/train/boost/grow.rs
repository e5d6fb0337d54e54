//! One tree: the leaf whose split lowers the loss most is split, again and again.

use super::{
    bins::{Binned, Column},
    fit::Recipe,
    split::{Histogram, Split, Sums, best},
    tree::{Child, Leaf, Node, Tree},
};

/// The loss where the trees before have got to.
#[derive(Clone, Debug)]
pub(super) struct Slopes {
    /// First derivative by the logit, for each row.
    pub(super) gradients: Vec<f64>,
    /// Second derivative.
    pub(super) hessians: Vec<f64>,
}

/// A leaf that may be split.
struct Open {
    rows: Vec<u32>,
    total: Sums,
    histogram: Histogram,
    split: Option<Split>,
    depth: usize,
    value: f64,
    /// The node it hangs from, and whether on its left.
    parent: Option<(usize, bool)>,
}

/// Grows trees over one table.
pub(super) struct Grower<'g> {
    pub(super) recipe: &'g Recipe,
    pub(super) rows: &'g Binned,
    pub(super) slopes: &'g Slopes,
    /// The features this tree may use.
    pub(super) features: &'g [bool],
}

impl Grower<'_> {
    /// Grows a tree on some rows.
    pub(super) fn grow(&self, rows: Vec<u32>) -> Tree {
        let histogram = self.histogram(&rows);
        let total = rows.iter().fold(Sums::default(), |mut total, row| {
            let (gradient, hessian) = self.slope(*row);
            total.add(gradient, hessian);
            total
        });
        let value = total.value(self.recipe.l2);
        let root = Open { rows, total, histogram, split: None, depth: 0, value, parent: None };
        let mut leaves = vec![self.look(root)];
        let mut nodes: Vec<Node> = Vec::new();
        while leaves.len() < self.recipe.leaves {
            let gain = |leaf: &Open| leaf.split.as_ref().map(|split| split.gain);
            let richest = leaves.iter().enumerate().filter_map(|(i, leaf)| Some((i, gain(leaf)?)));
            // The first of equals, so that ties fall the same way every time.
            let richest = richest.reduce(|best, next| if next.1 > best.1 { next } else { best });
            let Some((at, _)) = richest else { break };
            let Some(open) = leaves.get_mut(at) else { break };
            let Some(split) = open.split.take() else { break };
            let (parent, total) = (open.parent, open.total);
            let (left, right) = self.part(open, &split, nodes.len());
            let node = nodes.len();
            link(&mut nodes, parent, node);
            nodes.push(Node {
                feature: split.feature,
                rule: split.rule,
                left: Child::Leaf(at),
                right: Child::Leaf(leaves.len()),
                gain: split.gain,
                rows: total.rows,
            });
            if let Some(leaf) = leaves.get_mut(at) {
                *leaf = left;
            }
            leaves.push(right);
        }
        let leaf = |open: Open| Leaf { value: open.value, weight: open.total.hessian, rows: open.total.rows };
        Tree { nodes, leaves: leaves.into_iter().map(leaf).collect() }
    }

    /// Both sides of a leaf that is split at a node.
    fn part(&self, open: &mut Open, split: &Split, node: usize) -> (Open, Open) {
        let goes_left = |row: &u32| split.rule.goes_left(self.rows.bin(split.feature, *row as usize));
        let (left, right): (Vec<u32>, Vec<u32>) =
            std::mem::take(&mut open.rows).into_iter().partition(goes_left);
        // The smaller side is counted, the larger is what is left.
        let is_left_smaller = left.len() <= right.len();
        let small = self.histogram(if is_left_smaller { &left } else { &right });
        let mut large = std::mem::take(&mut open.histogram);
        large.iter_mut().zip(&small).for_each(|(cell, other)| *cell = cell.minus(*other));
        let (of_left, of_right) = if is_left_smaller { (small, large) } else { (large, small) };
        let side = |rows, total: Sums, histogram, is_left| {
            let (depth, value) = (open.depth + 1, total.value(split.l2));
            let parent = Some((node, is_left));
            self.look(Open { rows, total, histogram, split: None, depth, value, parent })
        };
        (side(left, split.left, of_left, true), side(right, split.right, of_right, false))
    }

    /// Finds how a leaf would be split.
    fn look(&self, mut open: Open) -> Open {
        if open.depth < self.recipe.depth {
            open.split = best(self.recipe, self.rows, self.features, &open.histogram, open.total);
        }
        open
    }

    fn histogram(&self, rows: &[u32]) -> Histogram {
        let slopes: Vec<(f64, f64)> = rows.iter().map(|row| self.slope(*row)).collect();
        let mut histogram = vec![Sums::default(); self.rows.columns.iter().map(Column::count).sum()];
        let mut rest = histogram.as_mut_slice();
        for (column, used) in self.rows.columns.iter().zip(self.features) {
            let Some((cells, after)) = rest.split_at_mut_checked(column.count()) else { break };
            rest = after;
            if !used {
                continue;
            }
            for (row, (gradient, hessian)) in rows.iter().zip(&slopes) {
                let bin = column.bins.get(*row as usize).copied().unwrap_or_default();
                if let Some(cell) = cells.get_mut(usize::from(bin)) {
                    cell.add(*gradient, *hessian);
                }
            }
        }
        histogram
    }

    fn slope(&self, row: u32) -> (f64, f64) {
        let at = |all: &[f64]| all.get(row as usize).copied().unwrap_or_default();
        (at(&self.slopes.gradients), at(&self.slopes.hessians))
    }
}

/// Hangs a node where a leaf was.
fn link(nodes: &mut [Node], parent: Option<(usize, bool)>, node: usize) {
    let Some((parent, is_left)) = parent else { return };
    if let Some(parent) = nodes.get_mut(parent) {
        *(if is_left { &mut parent.left } else { &mut parent.right }) = Child::Node(node);
    }
}
