//! What became of a lead.

/// The CRM's id of the record, as the CRM writes it. Never empty.
pub type LeadId = Box<str>;

/// A label that arrived after the score.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whose outcome it is: a lead, or the deal it became.
    pub lead: LeadId,
    /// `lead` is a deal's id; the [`Alias`] of that deal says which lead it was.
    pub via_alias: bool,
    /// Won or lost.
    pub won: bool,
    /// What the deal was worth, in the CRM's currency, where the CRM said.
    pub revenue: Option<f64>,
    /// The CRM's id of the event, where it gives one: the same event again is not another outcome.
    pub event: Option<Box<str>>,
    /// Which state of the record this is, where the CRM counts them: the higher one holds.
    pub revision: Option<i64>,
    /// When it happened, in milliseconds since 1970, where the CRM said.
    pub time_ms: Option<i64>,
}

impl Outcome {
    /// An outcome of which nothing is known but whose it is.
    pub fn new(lead: impl Into<LeadId>, won: bool) -> Self {
        Self {
            lead: lead.into(),
            via_alias: false,
            won,
            revenue: None,
            event: None,
            revision: None,
            time_ms: None,
        }
    }
}

/// The deal that a lead became: seen once, in the answer to the conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The deal's id.
    pub deal: LeadId,
    /// The lead's.
    pub lead: LeadId,
}
