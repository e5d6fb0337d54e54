//! What a rehearsal tells.

use std::fmt;

use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::Value as Json;

use crate::{
    lead::{Alias, Feedback, FeedbackReason, Outcome, Reason, Skip, Value},
    recognise::Mode,
    score::FeatureSpec,
};

/// What would have become of an exchange.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rehearsal {
    /// Method and target.
    pub(super) request: String,
    /// What came of it.
    pub(super) verdict: Verdict,
    /// The routes of its method and path, most specific first.
    pub(super) routes: Vec<Considered>,
    /// How the body was read, where it was.
    pub(super) body: Option<BodyRead>,
    /// The version that scores.
    pub(super) model: Option<String>,
    pub(super) leads: Vec<Lead>,
    #[serde(flatten)]
    pub(super) rules: Rules,
    /// No answer was recorded; ids and rules are told as if the CRM had accepted all without a word.
    pub(super) supposed: bool,
    /// What the CRM gets, as a unified diff against what the client sent; empty where that is the same.
    pub(super) sent: Option<String>,
    /// What the client gets, as a unified diff against what the CRM answered.
    pub(super) answered: Option<String>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    outcome: Came,
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Came {
    Unmatched,
    Scored,
    Passed,
    Skipped,
}

/// A route that could have taken the request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Considered {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) taken: bool,
    /// The first of its predicates that does not hold.
    pub(super) failed: Option<String>,
}

/// How a body was read.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BodyRead {
    content: &'static str,
    coding: Option<String>,
    bytes: usize,
}

/// A record to score.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Lead {
    pub(super) item: Option<usize>,
    pub(super) id: Option<String>,
    /// Whether the recorded answer accepts it; `None` without a score or without an answer.
    pub(super) accepted: Option<bool>,
    pub(super) score: Option<f32>,
    pub(super) points: Option<u8>,
    pub(super) grade: Option<&'static str>,
    pub(super) reasons: Vec<Reason>,
    pub(super) features: Vec<FeatureRead>,
}

/// A feature of the configuration or the model.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FeatureRead {
    name: String,
    value: Json,
    state: State,
    /// Whether the model requires it; `None` where the model does not know it.
    required: Option<bool>,
    /// There is a model, and it has no use for this one.
    #[serde(skip)]
    is_unused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Read,
    Missing,
    Cleared,
    Unmapped,
}

/// What rules tell.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Rules {
    outcomes: Vec<ToldOutcome>,
    aliases: Vec<ToldAlias>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    feedback: Vec<ToldFeedback>,
}

#[derive(Clone, Debug, Serialize)]
struct ToldOutcome {
    id: String,
    via_alias: bool,
    won: bool,
    revenue: Option<f64>,
    event: Option<String>,
}

/// Without who and note, which are for nobody's terminal.
#[derive(Clone, Debug, Serialize)]
struct ToldFeedback {
    lead: String,
    verdict: &'static str,
    reason: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct ToldAlias {
    lead: String,
    deal: String,
}

impl Rehearsal {
    /// Whether a route matched and the request was scored, or passed on purpose.
    pub fn is_ok(&self) -> bool {
        matches!(self.verdict.outcome, Came::Scored | Came::Passed)
    }
}

impl Default for Verdict {
    fn default() -> Self {
        Self { outcome: Came::Unmatched, reason: None }
    }
}

impl Verdict {
    pub(super) fn scored() -> Self {
        Self { outcome: Came::Scored, reason: None }
    }

    pub(super) fn passed() -> Self {
        Self { outcome: Came::Passed, reason: None }
    }

    pub(super) fn skipped(reason: Skip) -> Self {
        Self { outcome: Came::Skipped, reason: Some(reason.as_str().to_owned()) }
    }

    /// What the header `Leadwire` of an answer says.
    pub(super) fn of_header(value: &str) -> Self {
        match value.split_once(";reason=") {
            Some((_, reason)) => Self { outcome: Came::Skipped, reason: Some(reason.to_owned()) },
            None if value == "scored" => Self::scored(),
            None => Self::passed(),
        }
    }
}

impl BodyRead {
    pub(super) fn new(headers: &HeaderMap, bytes: usize, mode: Mode<'_>) -> Self {
        let coding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        Self { content: mode.as_str(), coding: coding.map(str::to_owned), bytes }
    }
}

impl FeatureRead {
    /// What was read of a feature of the configuration, and what the model says of it, if there is one.
    pub(super) fn new(
        name: &str,
        value: Option<&Value<'_>>,
        (spec, no_model): (Option<&FeatureSpec>, bool),
    ) -> Self {
        let (state, value) = match value {
            Some(Value::Number(number)) => (State::Read, Json::from(*number)),
            Some(Value::Text(text)) => (State::Read, Json::from(text.as_ref())),
            Some(Value::Boolean(yes)) => (State::Read, Json::from(*yes)),
            Some(Value::Cleared) => (State::Cleared, Json::Null),
            Some(Value::Missing) | None => (State::Missing, Json::Null),
        };
        let is_unused = spec.is_none() && !no_model;
        Self { name: name.to_owned(), value, state, required: spec.map(|spec| spec.required), is_unused }
    }

    fn is_idle(&self) -> bool {
        self.is_unused && self.state == State::Missing
    }

    /// A feature of the model that the configuration does not map.
    pub(super) fn unmapped(spec: &FeatureSpec) -> Self {
        let FeatureSpec { name, required, .. } = spec;
        let (value, state, required) = (Json::Null, State::Unmapped, Some(*required));
        Self { name: name.clone(), value, state, required, is_unused: false }
    }
}

impl Rules {
    pub(super) fn new(outcomes: Vec<Outcome>, aliases: Vec<Alias>) -> Self {
        let outcome = |outcome: Outcome| ToldOutcome {
            id: outcome.lead.into(),
            via_alias: outcome.via_alias,
            won: outcome.won,
            revenue: outcome.revenue,
            event: outcome.event.map(Into::into),
        };
        let alias = |alias: Alias| ToldAlias { lead: alias.lead.into(), deal: alias.deal.into() };
        Self {
            outcomes: outcomes.into_iter().map(outcome).collect(),
            aliases: aliases.into_iter().map(alias).collect(),
            feedback: Vec::new(),
        }
    }

    /// The same, with what people said of scores.
    pub(super) fn with_feedback(self, feedback: &[Feedback]) -> Self {
        let said = |said: &Feedback| ToldFeedback {
            lead: said.lead.to_string(),
            verdict: said.verdict.as_str(),
            reason: said.reason.map(FeedbackReason::as_str),
        };
        Self { feedback: feedback.iter().map(said).collect(), ..self }
    }
}

impl fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.request, self.verdict)?;
        if self.routes.is_empty() {
            writeln!(f, "  no route has this method and path")?;
        }
        self.routes.iter().try_for_each(|route| write!(f, "{route}"))?;
        if let Some(body) = &self.body {
            writeln!(f, "{body}")?;
        }
        if let Some(model) = self.model.as_ref().filter(|_| !self.leads.is_empty()) {
            writeln!(f, "  model   {model}")?;
        }
        for (index, lead) in self.leads.iter().enumerate() {
            write!(f, "lead {}{lead}", index + 1)?;
        }
        write!(f, "{}", self.rules)?;
        if self.supposed {
            writeln!(f, "no answer recorded; the rest supposes that the CRM accepts")?;
        }
        changes(f, "the CRM gets", self.sent.as_deref())?;
        changes(f, "the client gets", self.answered.as_deref())
    }
}

fn changes(f: &mut fmt::Formatter<'_>, who: &str, diff: Option<&str>) -> fmt::Result {
    match diff {
        None => Ok(()),
        Some("") => writeln!(f, "{who} the same"),
        Some(diff) => write!(f, "{who}\n{diff}"),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.outcome, &self.reason) {
            (Came::Unmatched, _) => f.write_str("not on a route, forwarded as it is"),
            (Came::Scored, _) => f.write_str("scored"),
            (Came::Passed, _) => f.write_str("passed, nothing to score"),
            (Came::Skipped, reason) => write!(f, "skipped, reason {}", reason.as_deref().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Considered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, path, taken, failed } = self;
        match (taken, failed) {
            (true, _) => writeln!(f, "  route   {name} {path}"),
            (false, Some(failed)) => writeln!(f, "  not     {name} {path}: does not hold: {failed}"),
            (false, None) => {
                writeln!(f, "  not     {name} {path}: another comes first, or it reads other bodies")
            }
        }
    }
}

impl fmt::Display for BodyRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { content, coding, bytes } = self;
        write!(f, "  body    {bytes} bytes of {content}")?;
        coding.as_ref().map_or(Ok(()), |coding| write!(f, " in {coding}"))
    }
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.item.map_or(Ok(()), |item| write!(f, " at index {item}"))?;
        self.id.as_ref().map_or(Ok(()), |id| write!(f, " with id {id}"))?;
        f.write_str(match self.accepted {
            Some(true) => ", accepted",
            Some(false) => ", not accepted",
            None => "",
        })?;
        match (self.score, self.points, self.grade) {
            (Some(score), Some(points), Some(grade)) => {
                writeln!(f, "\n  score   {score:.4}, {points} points, grade {grade}")?;
            }
            _ => writeln!(f, "\n  score   none")?,
        }
        for reason in &self.reasons {
            writeln!(f, "  {}       {} ({:.2})", reason.direction.as_str(), reason.text, reason.strength)?;
        }
        let (idle, told): (Vec<_>, Vec<_>) = self.features.iter().partition(|feature| feature.is_idle());
        told.into_iter().try_for_each(|feature| writeln!(f, "  {feature}"))?;
        let idle: Vec<&str> = idle.iter().map(|feature| feature.name.as_str()).collect();
        if idle.is_empty() {
            return Ok(());
        }
        writeln!(f, "  missing, and of no use to the model: {}", idle.join(", "))
    }
}

impl fmt::Display for FeatureRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, state, required, is_unused } = self;
        match state {
            State::Read => match value.as_f64() {
                Some(number) => write!(f, "{name} = {number}")?,
                None => write!(f, "{name} = {value}")?,
            },
            State::Missing => write!(f, "{name} is missing")?,
            State::Cleared => write!(f, "{name} is missing, emptied by the client")?,
            State::Unmapped => write!(f, "{name} is not mapped by features")?,
        }
        f.write_str(match required {
            Some(true) if *state != State::Read => ", and required of updates",
            None if *is_unused => ", of no use to the model",
            _ => "",
        })
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ToldOutcome { id, via_alias, won, revenue, event } in &self.outcomes {
            let (whose, label) =
                (if *via_alias { "deal" } else { "lead" }, if *won { "won" } else { "lost" });
            write!(f, "outcome: {whose} {id} {label}")?;
            revenue.map_or(Ok(()), |revenue| write!(f, ", revenue {revenue}"))?;
            event.as_ref().map_or(Ok(()), |event| write!(f, ", event {event}"))?;
            writeln!(f)?;
        }
        for ToldAlias { lead, deal } in &self.aliases {
            writeln!(f, "alias: lead {lead} became deal {deal}")?;
        }
        for ToldFeedback { lead, verdict, reason } in &self.feedback {
            writeln!(
                f,
                "feedback: lead {lead} {verdict}{}",
                reason.map_or(String::new(), |reason| format!(", {reason}"))
            )?;
        }
        Ok(())
    }
}
