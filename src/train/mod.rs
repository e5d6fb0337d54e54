//! Train: a table of past leads becomes a version; and a model that was trained elsewhere, with such a table, too.
//!
//! Reads a CSV file, fits a linear network, a small MLP and an ensemble, keeps the one that ranks validation leads
//! best, calibrates it, and writes it with everything a version must say of itself. The same data and seed give the same bytes.

mod columns; // what a person says of columns
mod dataset; // CSV -> typed columns and labels
mod schema; // columns -> the encoder's numbers
mod fit; // gradient descent, early stopping
mod boost; // trees instead of networks
mod cutoffs; // scores -> where grades begin
mod judged; // a version over leads whose ends are known
mod gate; // what a version must show against the champion
mod card; // what a version says of itself to people
mod publish; // model -> version: calibration, baseline, golden samples
mod progress; // epochs as a bar or as lines
mod command; // the whole, as `leadwire train` runs it
pub mod import; // a model of another tool -> version

pub use self::{
    columns::ColumnOptions,
    command::{CalibrationChoice, Candidate, KindChoice, TrainError, TrainOptions, TrainReport, run},
    cutoffs::{Capacity, GradeOptions},
    fit::Epoch,
    gate::{Exam, GatePolicy, gate},
    import::{ImportOptions, ImportReport},
    progress::{console, steps},
};
