//! Rules: what an exchange tells beside its leads' features. What became of leads, which deals they became, and what
//! people say of scores.
//!
//! A rule may look at both messages. Its request side is read when the request is inspected and noted, owned, since the
//! body may be gone when the answer comes; its response side is read from the answer. What is the same for all items of a
//! message is looked up once, so that the work grows with the body and not with its square.

mod said; // what people say of scores
mod noted; // the request's side
mod heard; // the answer's side
mod records; // the records in the answer to a read

use regex::Regex;

pub(super) use self::noted::Witness;
pub use self::records::Record;
use self::said::FeedbackNote;
pub(super) use self::said::FeedbackProgram;
use super::{
    doc::Duplicate,
    place::{Lookup, Message, short, taken},
    predicate::Predicate,
    request::Found,
    select::Program,
};
use crate::{
    config::{self, AliasRule, OutcomeRule, Phase, Side},
    lead::{LeadId, Outcome},
};

/// Conditions, by the message they look at.
#[derive(Debug)]
struct When(Vec<Predicate>);

impl When {
    fn new(predicates: &[config::Predicate]) -> Self {
        Self(predicates.iter().map(Predicate::new).collect())
    }

    /// Whether those of one message hold that are shared by its items, or those that are not.
    fn holds(&self, side: Side, shared: bool, message: Message<'_, '_>) -> Result<bool, Duplicate> {
        for predicate in &self.0 {
            let asked = predicate.side() == side && predicate.is_shared() == shared;
            if asked && !predicate.holds(message)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn reads_body(&self, side: Side) -> bool {
        self.0.iter().any(|predicate| predicate.side() == side && predicate.reads_body())
    }
}

/// A compiled [`OutcomeRule`].
#[derive(Debug)]
pub(super) struct OutcomeProgram {
    phase: Phase,
    each: Option<Program>,
    ids: Option<Program>,
    when: When,
    id: Option<Lookup>,
    id_regex: Option<Regex>,
    via_alias: bool,
    won: bool,
    event: Option<Lookup>,
    revision: Option<Lookup>,
    time: Option<Lookup>,
    revenue: Option<Lookup>,
}

/// A compiled [`AliasRule`].
#[derive(Debug)]
pub(super) struct AliasProgram {
    when: When,
    lead: Lookup,
    deal: Lookup,
}

/// What a request says beside its leads, kept until the answer is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    outcomes: Vec<OutcomeNote>,
    aliases: Vec<AliasNote>,
    feedback: Vec<FeedbackNote>,
    /// The record's id, where the path holds it and the answer the record.
    pub(super) path_id: Option<LeadId>,
    /// Messages in it, where it is a batch of them.
    pub(super) messages: Option<usize>,
}

impl Notes {
    /// Whether the answer has nothing to add.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule whose request side holds, for one lead object or for the whole exchange.
#[derive(Clone, Debug, PartialEq)]
struct OutcomeNote {
    rule: usize,
    subject: Subject,
    /// Whose outcome it is, where the request says so.
    id: Option<LeadId>,
    told: Told,
}

#[derive(Clone, Debug, PartialEq)]
struct AliasNote {
    rule: usize,
    subject: Subject,
    lead: Option<LeadId>,
    deal: Option<LeadId>,
}

/// What a note is about: where its share of the answer is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Subject {
    item: Option<usize>,
    key: Option<Box<str>>,
}

impl Subject {
    fn of(found: &Found) -> Self {
        Self { item: found.item, key: found.key.clone() }
    }
}

/// What is said of an outcome, by either message.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    event: Option<LeadId>,
    revision: Option<i64>,
    time_ms: Option<i64>,
    revenue: Option<f64>,
}

impl Told {
    /// The same, with what `other` says where this says nothing.
    fn or(self, other: &Told) -> Told {
        Told {
            event: self.event.or_else(|| other.event.clone()),
            revision: self.revision.or(other.revision),
            time_ms: self.time_ms.or(other.time_ms),
            revenue: self.revenue.or(other.revenue),
        }
    }
}

/// What a message says of all its items alike.
#[derive(Clone, Debug, Default)]
struct Shared {
    told: Told,
    id: Option<LeadId>,
}

impl OutcomeProgram {
    pub(super) fn new(rule: &OutcomeRule) -> Self {
        let lookup = |at: &Option<config::Lookup>| at.as_ref().map(Lookup::new);
        let program = |query: &Option<config::Selector>| query.as_ref().map(Program::new);
        Self {
            phase: rule.phase,
            each: program(&rule.each),
            ids: program(&rule.ids),
            when: When::new(&rule.when),
            id: lookup(&rule.id),
            id_regex: rule.id_regex.clone(),
            via_alias: rule.via_alias,
            won: rule.won,
            event: lookup(&rule.event),
            revision: lookup(&rule.revision),
            time: lookup(&rule.time),
            revenue: lookup(&rule.revenue),
        }
    }

    /// Whether a message's body is looked at.
    pub(super) fn reads_body(&self, side: Side) -> bool {
        let places = [&self.id, &self.event, &self.revision, &self.time, &self.revenue];
        let looked_at = places.into_iter().flatten().any(|at| at.side == side && at.reads_body());
        let queried = match side {
            Side::Request => self.ids.is_some(),
            Side::Response => self.phase == Phase::Response,
        };
        queried || looked_at || self.when.reads_body(side)
    }

    /// Adds what one message says, shared by its items or not.
    fn tell(
        &self,
        side: Side,
        shared: bool,
        message: Message<'_, '_>,
        told: &mut Told,
    ) -> Result<(), Duplicate> {
        let asked = |at: &&Lookup| at.side == side && at.is_shared() == shared;
        if let Some(at) = self.event.as_ref().filter(asked) {
            told.event = at.id(message)?;
        }
        if let Some(at) = self.revision.as_ref().filter(asked) {
            told.revision = at.whole(message)?;
        }
        if let Some(at) = self.time.as_ref().filter(asked) {
            told.time_ms = at.time(message)?;
        }
        if let Some(at) = self.revenue.as_ref().filter(asked) {
            told.revenue = at.number(message)?;
        }
        Ok(())
    }

    /// What one message says that is the same for all its items; `None` where the rule holds for none of them.
    fn shared(&self, side: Side, message: Message<'_, '_>) -> Result<Option<Shared>, Duplicate> {
        if !self.when.holds(side, true, message)? {
            return Ok(None);
        }
        let mut told = Told::default();
        self.tell(side, true, message, &mut told)?;
        let at = self.id.as_ref().filter(|at| at.side == side && at.is_shared());
        let id = match at {
            Some(at) => self.id_at(at, message)?,
            None => None,
        };
        Ok(Some(Shared { told, id }))
    }

    /// The id that one message gives an item.
    fn id_in(
        &self,
        side: Side,
        message: Message<'_, '_>,
        shared: &Shared,
    ) -> Result<Option<LeadId>, Duplicate> {
        match self.id.as_ref().filter(|at| at.side == side) {
            Some(at) if !at.is_shared() => self.id_at(at, message),
            Some(_) => Ok(shared.id.clone()),
            None => Ok(None),
        }
    }

    fn id_at(&self, at: &Lookup, message: Message<'_, '_>) -> Result<Option<LeadId>, Duplicate> {
        Ok(at.id(message)?.and_then(|id| taken(&id, self.id_regex.as_ref())))
    }

    fn outcome(&self, lead: LeadId, told: Told) -> Outcome {
        let Told { event, revision, time_ms, revenue } = told;
        Outcome { lead, via_alias: self.via_alias, won: self.won, revenue, event, revision, time_ms }
    }
}

impl AliasProgram {
    pub(super) fn new(rule: &AliasRule) -> Self {
        Self { when: When::new(&rule.when), lead: Lookup::new(&rule.lead), deal: Lookup::new(&rule.deal) }
    }

    /// Whether a message's body is looked at.
    pub(super) fn reads_body(&self, side: Side) -> bool {
        let looked_at = [&self.lead, &self.deal].into_iter().any(|at| at.side == side && at.reads_body());
        looked_at || self.when.reads_body(side)
    }
}
