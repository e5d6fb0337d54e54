//! Boosted trees: histograms of gradients, grown leaf by leaf (Ke et al. 2017, LightGBM), written as LightGBM's text.
//!
//! Values are put into at most 255 bins once; a tree then looks at bins only. A missing value goes where the loss falls most,
//! and words are split into two sets by their own gradients (Fisher 1958). One thread and one order of every sum, so the
//! same rows, recipe and seed give the same bytes; several trials may run side by side.

mod bins; // values -> bins
mod tree; // a tree over bins
mod split; // the best split of a leaf
mod grow; // one tree
mod fit; // tree after tree, and when to stop
mod text; // trees -> LightGBM's text
#[cfg(test)]
mod tests; // what is written is read back to the bit

pub(super) use self::{
    bins::Binned,
    fit::{Labelled, Recipe, Round, fit},
    text::to_text,
};
