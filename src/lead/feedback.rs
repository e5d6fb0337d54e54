//! What a person said of a lead's score. It is an opinion, and never a label.

use super::outcome::LeadId;

/// A person's verdict on a lead's score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Whose score it is about.
    pub lead: LeadId,
    /// Whether the score helped.
    pub verdict: Verdict,
    /// What is wrong, or right, with it, where that was said.
    pub reason: Option<FeedbackReason>,
    /// Who said it, where that was told: at most [`MAX_WHO`] bytes.
    pub who: Option<Box<str>>,
    /// In their own words: at most [`MAX_NOTE`] bytes. Kept for people to read, never a feature.
    pub note: Option<Box<str>>,
}

/// Bytes of a name.
pub const MAX_WHO: usize = 128;

/// Bytes of a note: longer ones are cut, since whole mails do not belong in the log.
pub const MAX_NOTE: usize = 1024;

impl Feedback {
    /// A verdict of which nothing is known but whose score it is about.
    pub fn new(lead: impl Into<LeadId>, verdict: Verdict) -> Self {
        Self { lead: lead.into(), verdict, reason: None, who: None, note: None }
    }

    /// The same, said by somebody. Control characters become spaces, and what is too long is cut.
    #[must_use]
    pub fn by(self, who: Option<&str>) -> Self {
        Self { who: who.and_then(|who| plain(who, MAX_WHO)), ..self }
    }

    /// The same, in somebody's own words. Control characters become spaces, and what is too long is cut.
    #[must_use]
    pub fn noted(self, note: Option<&str>) -> Self {
        Self { note: note.and_then(|note| plain(note, MAX_NOTE)), ..self }
    }
}

/// A text without control characters and white space around it, of `most` bytes at most; `None` where nothing is left.
fn plain(text: &str, most: usize) -> Option<Box<str>> {
    // What comes after twice as much would be cut anyway: the work is bounded whatever was sent.
    let text = text.trim_start();
    let text = text.get(..text.floor_char_boundary(most * 2)).unwrap_or_default();
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    let text = text.get(..text.floor_char_boundary(most)).unwrap_or_default().trim_end();
    (!text.is_empty()).then(|| text.into())
}

/// Whether a score helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did.
    Up,
    /// It did not: a complaint.
    Down,
}

impl Verdict {
    /// Both, in the order of the variants.
    pub const ALL: [Verdict; 2] = [Verdict::Up, Verdict::Down];

    /// The word in the lead log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Up => "up",
            Verdict::Down => "down",
        }
    }

    /// Reads what [`Verdict::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text)
    }
}

/// The closed set of reasons: a label in metrics, so no text of a person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackReason {
    /// The score is too high for this lead.
    WrongScoreHigh,
    /// The score is too low for this lead.
    WrongScoreLow,
    /// What the CRM knows of the lead is wrong.
    BadData,
    /// The lead is there twice.
    Duplicate,
    /// It is no lead: spam, an applicant, a supplier.
    NotALead,
    /// They buy already.
    AlreadyCustomer,
    /// Anything else.
    Other,
}

impl FeedbackReason {
    /// Every reason, in the order of the variants.
    pub const ALL: [FeedbackReason; 7] = [
        FeedbackReason::WrongScoreHigh,
        FeedbackReason::WrongScoreLow,
        FeedbackReason::BadData,
        FeedbackReason::Duplicate,
        FeedbackReason::NotALead,
        FeedbackReason::AlreadyCustomer,
        FeedbackReason::Other,
    ];

    /// The word in the lead log, in metrics and in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            FeedbackReason::WrongScoreHigh => "wrong_score_high",
            FeedbackReason::WrongScoreLow => "wrong_score_low",
            FeedbackReason::BadData => "bad_data",
            FeedbackReason::Duplicate => "duplicate",
            FeedbackReason::NotALead => "not_a_lead",
            FeedbackReason::AlreadyCustomer => "already_customer",
            FeedbackReason::Other => "other",
        }
    }

    /// Reads what [`FeedbackReason::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::parse(verdict.as_str()), Some(verdict));
        }
        for reason in FeedbackReason::ALL {
            assert_eq!(FeedbackReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!((Verdict::parse("Up"), FeedbackReason::parse("")), (None, None));
    }

    #[test]
    fn a_text_is_plain_and_short() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(plain(text, 8).as_deref(), expected, "{text:?}");
        };
        check("", None);
        check(" \n\t\u{0} ", None);
        check(" Ada ", Some("Ada"));
        check("a\nb\u{7f}c", Some("a b c"));
        check("123456789", Some("12345678"));
        check("1234567é", Some("1234567"));
        check("1234567 9", Some("1234567"));
        check(&"é".repeat(100_000), Some("éééé"));
    }
}
