//! Batch: what the wire does to one lead, done to many.
//!
//! A table comes in, CSV or JSON Lines, and goes out as it came, with four columns more: score, points, grade, error. A
//! reader cuts it into blocks of whole rows, threads score them side by side, and a writer puts the blocks in order again.
//! Between them stand queues of a few blocks, so that memory does not grow with the table.

mod bare; // encoded rows and a model file, without a manifest
mod format; // CSV or JSON Lines
mod error; // what stops a run, and what is wrong with a row
mod cells; // where the cells of a CSV record stand
mod block; // a stream -> blocks of whole rows
mod scorer; // rows -> scores, and the columns that are added
mod csv; // a block of CSV, scored
mod lines; // a block of JSON Lines, scored
mod pipeline; // reader, scoring threads, ordered writer
mod sink; // where the output goes; a file only when it is whole
mod summary; // what a run counted
mod progress; // how far it is
mod command; // options in, summary out

pub use self::{
    bare::{BareError, Shown, score_bare},
    command::{Job, run},
    error::BatchError,
    format::Format,
    summary::Summary,
};
