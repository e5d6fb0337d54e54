//! Search: which settings to train with, the way Optuna 5 looks for them.
//!
//! A study is a list of trials, each with its parameters, what it reported step by step, and how it ended. The sampler proposes the
//! next trial's parameters from all that came before, the pruner ends a trial that is worse than most were at that step, and the
//! journal writes every change down before it counts, in Optuna's own form: a study that was cut off goes on where it was, and
//! Optuna's tools can read it. Sampler and pruner are pure; the same seed and history give the same trial, to the bit.

mod space; // what a parameter may be
mod study; // trials and how they ended
mod pruner; // when a trial is not worth its time
mod parzen; // a density over parameters, drawn from what was tried
mod tpe; // the next trial's parameters
mod journal; // all of it on disk

pub use self::{
    journal::{Journal, JournalError},
    pruner::MedianPruner,
    space::{Distribution, Space},
    study::{Direction, Param, State, Study, Trial},
    tpe::Tpe,
};
