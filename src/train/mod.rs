//! Train: a table of past leads becomes a version; and a model that was trained elsewhere, with such a table, too.
//!
//! Reads a table or the lead log, fits a linear network, a small MLP, an ensemble and boosted trees, keeps what ranks
//! validation leads best, calibrates it, and writes it with everything a version must say of itself. The same leads and seed give the
//! same bytes, in whatever order the leads come.

mod columns; // what a person says of columns
mod table; // files -> texts by column
mod times; // when leads came
mod kinds; // what a column is, and which hold nothing to learn from
mod dataset; // typed columns and labels
mod snapshot; // a digest of rows in whatever order
mod logged; // the lead log as a table
mod leakage; // features that know too much
mod input; // all of that: leads, ready to fit
mod schema; // columns -> the encoder's numbers
mod fit; // gradient descent, early stopping
mod boost; // trees instead of networks
mod family; // what is fitted how, and what may be varied
mod search; // which settings to try next, and which trials to end: Optuna's ways
mod trials; // the search: trials side by side, the best kept
mod cutoffs; // scores -> where grades begin
mod judged; // a version over leads whose ends are known
mod holdout; // the leads on which it can be compared with the champion
mod gate; // what a version must show against the champion
mod card; // what a version says of itself to people
mod publish; // model -> version: calibration, baseline, golden samples
mod progress; // epochs, trials and steps as a bar or as lines
mod command; // the whole, as `leadwire train` runs it
pub mod retrain; // the whole, against the champion
pub mod import; // a model of another tool -> version

pub use self::{
    columns::ColumnOptions,
    command::{CalibrationChoice, TrainError, TrainOptions, TrainReport, run},
    cutoffs::{Capacity, GradeOptions},
    family::{Candidate, KindChoice},
    fit::Epoch,
    gate::{Exam, GatePolicy, gate},
    import::{ImportOptions, ImportReport},
    input::{InputOptions, InputReport, LogOptions, Split},
    leakage::Alone,
    progress::{Progress, console, steps},
    retrain::{RetrainOptions, RetrainReport},
    search::JournalError,
    trials::{SearchOptions, Sought},
};
