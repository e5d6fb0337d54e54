//! Batch: what the wire does to one lead, done to many.

mod bare; // encoded rows and a model file, without a manifest

pub use self::bare::{BareError, Shown, score_bare};
