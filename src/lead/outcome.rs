//! What became of a lead.

/// The CRM's id of the record, as the CRM writes it. Never empty.
pub type LeadId = Box<str>;

/// A label that arrived after the score.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whose outcome it is: a lead, or a deal that a lead became.
    pub of: Record,
    /// Won or lost.
    pub won: bool,
    /// What the deal was worth, in the CRM's currency, where the CRM said.
    pub revenue: Option<f64>,
    /// The outcome's own id: the same one again says nothing new.
    pub event: Option<Box<str>>,
    /// Of several outcomes the one of the highest revision counts.
    pub revision: Option<i64>,
    /// When it happened, in milliseconds since 1970, where the CRM said.
    pub occurred_ms: Option<i64>,
}

/// A record of the CRM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The lead itself.
    Lead(LeadId),
    /// A deal; which lead it was, the conversion tells.
    Deal(LeadId),
}

/// A lead became a deal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The lead.
    pub lead: LeadId,
    /// The deal, under an id of its own.
    pub deal: LeadId,
}
