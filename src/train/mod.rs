//! Train: a table of past leads becomes a version.
//!
//! Reads a CSV file, fits a linear network, a small MLP and an ensemble, keeps the one that ranks validation leads
//! best, calibrates it, and writes it with everything a version must say of itself. The same data and seed give the same bytes.

mod dataset; // CSV -> typed columns and labels
mod schema; // columns -> the encoder's numbers
mod fit; // gradient descent, early stopping
mod publish; // network -> version: calibration, cut-offs, baseline, golden samples
mod progress; // epochs as a bar or as lines
mod command; // the whole, as `leadwire train` runs it

pub use self::{
    command::{CalibrationChoice, Candidate, KindChoice, TrainError, TrainOptions, TrainReport, run},
    fit::Epoch,
    progress::console,
};
