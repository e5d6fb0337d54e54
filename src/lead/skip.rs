//! Why a request on a route went on without a score.

/// The closed set of reasons: the `reason` label in metrics and in the `Leadwire` response header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// Too many requests on routes at once: scoring is what goes first, traffic never.
    Overload,
    /// The body, or the answer's where that was to be read, is larger than `limits.body`, or would be once it is decoded.
    Body,
    /// The body, or the answer's where that was to be read, takes longer than `limits.read` to come.
    Slow,
    /// The body is compressed in a way that is not known here, or broken.
    Encoding,
    /// The body is of no form that the route reads.
    Content,
    /// The body is not well-formed.
    Parse,
    /// A mapped key stands twice in one object: scorer and CRM could read different values.
    Duplicate,
    /// No lead in the body.
    NoLead,
    /// More leads than are scored in one request.
    TooMany,
    /// A change without the features the model requires, or a lead with none at all.
    Features,
    /// No version of the route's model is loaded.
    NoModel,
    /// The model's result is not a number.
    Score,
    /// Scoring took longer than `limits.deadline`.
    Deadline,
    /// Our own code panicked.
    Panic,
    /// The model's version panicked too often, and is out of service.
    Poisoned,
    /// The CRM did not accept the write.
    Refused,
}

impl Skip {
    /// Every reason, so that each has its counter from the start.
    pub const ALL: [Skip; 16] = [
        Skip::Overload,
        Skip::Body,
        Skip::Slow,
        Skip::Encoding,
        Skip::Content,
        Skip::Parse,
        Skip::Duplicate,
        Skip::NoLead,
        Skip::TooMany,
        Skip::Features,
        Skip::NoModel,
        Skip::Score,
        Skip::Deadline,
        Skip::Panic,
        Skip::Poisoned,
        Skip::Refused,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::Overload => "overload",
            Skip::Body => "body",
            Skip::Slow => "slow",
            Skip::Encoding => "encoding",
            Skip::Content => "content",
            Skip::Parse => "parse",
            Skip::Duplicate => "duplicate",
            Skip::NoLead => "no_lead",
            Skip::TooMany => "too_many",
            Skip::Features => "features",
            Skip::NoModel => "no_model",
            Skip::Score => "score",
            Skip::Deadline => "deadline",
            Skip::Panic => "panic",
            Skip::Poisoned => "poisoned",
            Skip::Refused => "refused",
        }
    }
}
