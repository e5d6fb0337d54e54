//! Config: the YAML file and its presets become a [`Config`], or every mistake at once.
//!
//! Two steps. [`raw`] is what the file says: plain serde types whose doc comments are the file's comments and the JSON
//! Schema's descriptions. [`Config`] is what it means: addresses, compiled patterns, presets merged in. Nothing later
//! checks a setting again.

mod at; // where a value stands: pointers, selectors, predicates
mod route; // what a route recognises, and what it writes
mod settings; // the whole, as it is used

pub use self::{
    at::{Place, Pointer, Predicate, Scalar, Selector, Side, Step, Test},
    route::{Action, BodyTarget, Content, Field, Format, HeaderTarget, IdSource, Inject, Route, WriteAs},
    settings::{Config, Feature, Limits, Mask, OutcomeRule, Upstream},
};
