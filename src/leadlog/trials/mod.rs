//! What it tells of versions on trial.

pub(super) mod trial; // what is asked
pub(super) mod evidence; // counts that a rollout can judge
pub(super) mod folds; // rows, counted one by one
pub(super) mod settled; // what became of leads

use super::{kept::store, told::labels};
