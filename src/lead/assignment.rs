//! A lead's place in an experiment: champion against challenger.

use std::sync::Arc;

use super::model::Arm;

/// What an assignment goes by: the first of these that a lead has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The CRM's record id.
    Id,
    /// The e-mail address.
    Email,
    /// The phone number.
    Phone,
    /// Nothing of the lead, only the request: the next request may be assigned otherwise.
    Request,
}

impl KeyKind {
    /// All of them, in the order of the variants.
    pub const ALL: [KeyKind; 4] = [KeyKind::Id, KeyKind::Email, KeyKind::Phone, KeyKind::Request];

    /// The word in the lead log.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyKind::Id => "id",
            KeyKind::Email => "email",
            KeyKind::Phone => "phone",
            KeyKind::Request => "request",
        }
    }

    /// Reads what [`KeyKind::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether the same lead is assigned the same way again. Analyses leave the others out.
    pub fn is_sticky(self) -> bool {
        self != KeyKind::Request
    }
}

/// Where a lead fell in an experiment. The bucket stays as the challenger's share grows; the key itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The challenger's version, which names the experiment of its model.
    pub experiment: Arc<str>,
    /// 0..10,000.
    pub bucket: u16,
    /// What it was computed from.
    pub key: KeyKind,
}

/// An assignment under the share of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposure {
    /// The lead's bucket.
    pub assignment: Assignment,
    /// The arm it was assigned to, whoever answered.
    pub arm: Arm,
    /// How likely that arm was, 0..=1.
    pub propensity: f64,
}
