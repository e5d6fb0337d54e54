//! What became of a lead.

/// The CRM's id of the record, as the CRM writes it. Never empty.
pub type LeadId = Box<str>;

/// A label that arrived after the score.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whose outcome it is.
    pub lead: LeadId,
    /// Won or lost.
    pub won: bool,
    /// What the deal was worth, in the CRM's currency, where the CRM said.
    pub revenue: Option<f64>,
}
