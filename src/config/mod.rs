//! Config: the YAML file and its presets become a [`Config`], or every mistake at once.
//!
//! Two steps. `raw` is what the file says: plain serde types whose doc comments are the file's comments and the JSON
//! Schema's descriptions. [`Config`] is what it means: addresses, compiled patterns, presets merged in. Nothing later
//! checks a setting again.

mod at; // where a value stands: pointers, selectors, predicates
mod moment; // times as people give them to commands
mod route; // what a route recognises, and what it writes
mod tls; // certificates and keys, by their files
mod egress; // hosts that clients insist on https with
mod mirror; // a second upstream that gets copies
mod rollout; // what a new version must show
mod settings; // the whole, as it is used
mod problem; // what is wrong, and where
mod findings; // what went wrong so far, and where in the file everything stands
mod document; // YAML text to a tree that knows its places
mod raw; // what the file says
mod shape; // the tree against the JSON Schema of `raw`
mod preset; // routes for one CRM each, built in
mod meaning; // `raw` to `Config`
mod parse; // the way through all of it

pub use self::{
    at::{Base, JsonType, Lookup, Place, Pointer, Predicate, Scalar, Selector, Side, Step, Test},
    egress::{Egress, EgressHost, Others},
    mirror::Mirror,
    moment::Moment,
    parse::schema,
    preset::presets,
    problem::{LoadError, Problem, Problems},
    rollout::{Conversion, Paired, Rollout, Shadow, Stage, Training},
    route::{
        Action, BodyTarget, Content, Field, Format, HeaderTarget, Id, IdSource, Inject, Pairing, Route,
        WriteAs,
    },
    settings::{
        AliasRule, Config, Derive, Feature, FeedbackRule, Fill, Identity, Limits, Log, Logged, Mask,
        ModelKey, OutcomeRule, Phase, Upstream,
    },
    tls::{ClientCa, PairFiles, Tls, TlsVersion, UpstreamTls},
};

pub(crate) use self::{document::json as yaml, meaning::time};

#[cfg(test)]
mod tests;
