//! What happened.

use std::collections::BTreeMap;

use serde::Serialize;

use super::canonical::MAX_INTEGER;

/// What an event says beside its kind, version and actor.
pub type Fields = BTreeMap<String, Field>;

/// What sort of thing happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A version came, and every file's digest held.
    ModelRegistered,
    /// It was good enough to be tried.
    GatePassed,
    /// It was not.
    GateFailed,
    /// It began to score along.
    ShadowStarted,
    /// What it scored along was sound.
    ShadowPassed,
    /// It was not.
    ShadowRejected,
    /// A person's word is asked for.
    ApprovalRequested,
    /// One transition of one artifact is allowed.
    ApprovalGranted,
    /// It is not.
    ApprovalDenied,
    /// The challenger's share of the leads changed.
    CanaryRamped,
    /// It stayed, and why.
    CanaryHeld,
    /// The sidecar took a version out of service.
    RollbackAuto,
    /// A person did.
    RollbackManual,
    /// A version became champion.
    Promoted,
    /// A champion gave way to another.
    Superseded,
    /// A version is past use.
    Archived,
    /// Somebody moved an alias in the model registry.
    RegistryRequested,
    /// A version's state and slots changed; the event before gives the cause.
    StateChanged,
    /// The configuration changed.
    ConfigChanged,
    /// A threshold changed.
    ThresholdChanged,
    /// Files of a version changed under it.
    FilesChanged,
    /// A person changed slots past the guards.
    Override,
    /// Shares stand still because what they measure cannot be trusted.
    Frozen,
    /// A person stopped the ramp.
    Paused,
    /// A person let it go on.
    Resumed,
    /// A person let a version out of quarantine.
    Cleared,
    /// A lead was removed from the lead log on request; the record holds a hash of its id.
    LeadForgotten,
    /// The records so far were sealed and sent elsewhere.
    Checkpoint,
    /// Something that this release does not know; kept as it is.
    Other(String),
}

impl Kind {
    /// Every kind that is known.
    pub const KNOWN: [Kind; 28] = [
        Kind::ModelRegistered,
        Kind::GatePassed,
        Kind::GateFailed,
        Kind::ShadowStarted,
        Kind::ShadowPassed,
        Kind::ShadowRejected,
        Kind::ApprovalRequested,
        Kind::ApprovalGranted,
        Kind::ApprovalDenied,
        Kind::CanaryRamped,
        Kind::CanaryHeld,
        Kind::RollbackAuto,
        Kind::RollbackManual,
        Kind::Promoted,
        Kind::Superseded,
        Kind::Archived,
        Kind::RegistryRequested,
        Kind::StateChanged,
        Kind::ConfigChanged,
        Kind::ThresholdChanged,
        Kind::FilesChanged,
        Kind::Override,
        Kind::Frozen,
        Kind::Paused,
        Kind::Resumed,
        Kind::Cleared,
        Kind::LeadForgotten,
        Kind::Checkpoint,
    ];

    /// The record's `type`.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::ModelRegistered => "model.registered",
            Kind::GatePassed => "gate.passed",
            Kind::GateFailed => "gate.failed",
            Kind::ShadowStarted => "shadow.started",
            Kind::ShadowPassed => "shadow.passed",
            Kind::ShadowRejected => "shadow.rejected",
            Kind::ApprovalRequested => "approval.requested",
            Kind::ApprovalGranted => "approval.granted",
            Kind::ApprovalDenied => "approval.denied",
            Kind::CanaryRamped => "canary.ramped",
            Kind::CanaryHeld => "canary.held",
            Kind::RollbackAuto => "rollback.auto",
            Kind::RollbackManual => "rollback.manual",
            Kind::Promoted => "promoted",
            Kind::Superseded => "superseded",
            Kind::Archived => "archived",
            Kind::RegistryRequested => "registry.requested",
            Kind::StateChanged => "state.changed",
            Kind::ConfigChanged => "config.changed",
            Kind::ThresholdChanged => "threshold.changed",
            Kind::FilesChanged => "files.changed",
            Kind::Override => "override",
            Kind::Frozen => "frozen",
            Kind::Paused => "paused",
            Kind::Resumed => "resumed",
            Kind::Cleared => "cleared",
            Kind::LeadForgotten => "lead.forgotten",
            Kind::Checkpoint => "checkpoint",
            Kind::Other(name) => name,
        }
    }

    /// Reads what [`Kind::as_str`] writes; what is not known stays as it is.
    pub fn parse(name: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|kind| kind.as_str() == name);
        known.unwrap_or_else(|| Kind::Other(name.to_owned()))
    }
}

/// A value in a record. There are no fractions: two programs may write one number in two ways, and the hashes would differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Field {
    /// A whole number, at most 2^53 - 1 either way, so that every reader of JSON has it exactly.
    Integer(i64),
    /// Text.
    Text(String),
    /// Further fields.
    Map(Fields),
}

impl Field {
    /// A rate in millionths, for a field whose name ends in `_e6`. A result that is no number is written as its name.
    pub fn micro(rate: f64) -> Self {
        match (rate * 1e6).round() {
            number if number.is_finite() => Self::Integer((number as i64).clamp(-MAX_INTEGER, MAX_INTEGER)),
            odd => Self::Text(odd.to_string()),
        }
    }

    /// The number, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Field::Integer(number) => Some(*number),
            Field::Text(_) | Field::Map(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Field::Text(text) => Some(text),
            Field::Integer(_) | Field::Map(_) => None,
        }
    }
}

impl From<i64> for Field {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<i32> for Field {
    fn from(number: i32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u32> for Field {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

/// A number beyond any count becomes the greatest that can be written.
impl From<u64> for Field {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).map_or(MAX_INTEGER, |number| number.min(MAX_INTEGER)))
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Fields> for Field {
    fn from(fields: Fields) -> Self {
        Self::Map(fields)
    }
}

/// Something to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What sort of thing.
    pub kind: Kind,
    /// The model, where it is about one.
    pub model: Option<String>,
    /// Its version, where it is about one.
    pub version: Option<String>,
    /// Who did it: a person, `leadwire` itself, or `file` for a file that was edited.
    pub actor: String,
    /// The rest.
    pub fields: Fields,
}

impl Event {
    /// An event that is about no model yet.
    pub fn new(kind: Kind, actor: impl Into<String>) -> Self {
        Self { kind, model: None, version: None, actor: actor.into(), fields: Fields::new() }
    }

    /// About this model.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// About this version of it.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// And this.
    pub fn with(mut self, name: impl Into<String>, field: impl Into<Field>) -> Self {
        self.fields.insert(name.into(), field.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in Kind::KNOWN {
            assert_eq!(Kind::parse(kind.as_str()), kind);
        }
        assert_eq!(Kind::parse("model.melted").as_str(), "model.melted");
    }

    #[test]
    fn rates_are_millionths() {
        for (rate, expected) in [
            (0.0812, Field::Integer(81_200)),
            (-0.000_000_4, Field::Integer(0)),
            (2.5, Field::Integer(2_500_000)),
            (1e300, Field::Integer(MAX_INTEGER)),
            (f64::NAN, "NaN".into()),
            (f64::NEG_INFINITY, "-inf".into()),
        ] {
            assert_eq!(Field::micro(rate), expected, "{rate}");
        }
        assert_eq!(Field::from(u64::MAX), Field::Integer(MAX_INTEGER));
    }
}
