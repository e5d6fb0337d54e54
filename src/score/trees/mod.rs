//! Trees: the files LightGBM and XGBoost write, scored as those libraries score them, to the bit.
//!
//! A file is read into drafts, checked, and laid out so that a lead takes one search and one row of a table for each
//! feature, or a walk down eight trees at a time where the table would grow too large. Files are hostile until proven otherwise, and whatever is not understood is refused by name: a
//! wrong link function gives plausible numbers.

mod error; // why a file or a row was refused
mod link; // objective -> what makes a sum a prediction
mod draft; // one tree as its file has it, checked
mod masks; // trees of up to 64 leaves as words of bits: one search a feature, no walk
mod walk; // trees of any size as flat nodes, and the walk down
mod forest; // all trees of a model, and where a row ends in each
mod linear; // XGBoost's gblinear, which has no trees
mod lightgbm; // LightGBM's text
mod document; // a tree of keys, from JSON
mod ubj; // the same from universal binary JSON
mod xgboost; // that tree of keys -> a model
mod model; // the whole: rows -> sums, predictions, leaves
#[cfg(test)]
mod tests; // against the libraries, and against hostile files

pub use self::{
    error::{RowError, TreeError},
    forest::TreeScratch,
    lightgbm::{NoObjective, is_alike, written},
    link::Link,
    model::{Part, Trees},
};
