//! Import: a model that was trained elsewhere becomes a version.
//!
//! The file is kept byte for byte. What it does not say of its columns comes from a table of past leads, the sample: types,
//! codes, reference histograms, cut-offs and golden samples. Where the file, the schema and the sample do not fit together,
//! nothing is written: a code that means another word gives plausible, wrong scores.

mod mlmodel; // an MLflow folder -> the model file and what is said of its columns
mod source; // what FILE is
mod declared; // a schema file, in any of its forms
mod columns; // model, schema and sample -> what the model reads
mod command; // the whole, as `leadwire import` runs it
#[cfg(test)]
mod tests; // against the libraries' own scores

pub use self::command::{ImportOptions, ImportReport, ObjectiveChoice, run};
