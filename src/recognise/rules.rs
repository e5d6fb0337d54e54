//! Rules: what an exchange tells beside its leads' features. What became of leads, and which deals they became.
//!
//! A rule may look at both messages. Its request side is read when the request is inspected and noted, owned, since the
//! body may be gone when the answer comes; its response side is read from the answer. What is the same for all items of a
//! message is looked up once, so that the work grows with the body and not with its square.

use std::collections::HashSet;

use regex::Regex;

use super::{
    answer::{Answer, Pairs},
    doc::{At, Doc, Duplicate},
    place::{Head, Hidden, Lookup, Message, id_at, taken},
    predicate::Predicate,
    request::{Found, MAX_LEADS},
    routes::{Captures, Route},
    scan::{Kind, Tape},
    select::{Program, Selected},
};
use crate::{
    config::{self, AliasRule, OutcomeRule, Phase, Side},
    lead::{Alias, LeadId, Outcome},
};

/// Items of an answer that are looked at; the largest page of any CRM is a fifth of it.
const MAX_ITEMS: usize = 10_000;

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
    /// The record's id, where the path holds it and the answer the record.
    pub(super) path_id: Option<LeadId>,
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

/// One request, as its rules look at it.
pub(super) struct Witness<'r, 'a, 't> {
    pub(super) route: &'r Route,
    pub(super) message: Message<'a, 't>,
}

impl Witness<'_, '_, '_> {
    /// Everything that the request's side of the rules says.
    pub(super) fn notes(&self, leads: &[Found]) -> Result<Notes, Duplicate> {
        let mut notes = Notes::default();
        let alone = [Found::default()];
        // A request without lead objects, such as a GET, can still say what the path or a header says.
        let subjects = if leads.is_empty() { alone.as_slice() } else { leads };
        for (index, rule) in self.route.outcomes.iter().enumerate() {
            self.outcome((index, rule), subjects, &mut notes.outcomes)?;
        }
        for (index, rule) in self.route.aliases.iter().enumerate() {
            self.alias((index, rule), subjects, &mut notes.aliases)?;
        }
        Ok(notes)
    }

    fn outcome(
        &self,
        (index, rule): (usize, &OutcomeProgram),
        subjects: &[Found],
        notes: &mut Vec<OutcomeNote>,
    ) -> Result<(), Duplicate> {
        let Some(shared) = rule.shared(Side::Request, self.message)? else { return Ok(()) };
        let alone = [Found::default()];
        let is_whole = rule.ids.is_some() || rule.phase == Phase::Response;
        for found in if is_whole { alone.as_slice() } else { subjects } {
            let message = Message { from: found.at, item: found.item, ..self.message };
            if !rule.when.holds(Side::Request, false, message)? {
                continue;
            }
            let mut told = shared.told.clone();
            rule.tell(Side::Request, false, message, &mut told)?;
            for (subject, id) in self.whose(rule, found, message, &shared)? {
                if notes.len() == MAX_LEADS {
                    return Ok(());
                }
                notes.push(OutcomeNote { rule: index, subject, id, told: told.clone() });
            }
        }
        Ok(())
    }

    /// Whose outcome a rule tells: nobody's where the request should say it and does not; nobody known yet where the
    /// answer will.
    fn whose(
        &self,
        rule: &OutcomeProgram,
        found: &Found,
        message: Message<'_, '_>,
        shared: &Shared,
    ) -> Result<Vec<(Subject, Option<LeadId>)>, Duplicate> {
        if let Some(program) = &rule.ids {
            return self.ids(program);
        }
        let subject = Subject::of(found);
        Ok(match &rule.id {
            Some(at) if at.side == Side::Request => {
                let id = rule.id_in(Side::Request, message, shared)?;
                id.map(|id| (subject, Some(id))).into_iter().collect()
            }
            None if found.id.is_some() => {
                let all = found.id.iter().chain(&found.more_ids);
                all.map(|id| (subject.clone(), Some(id.clone()))).collect()
            }
            _ => vec![(subject, None)],
        })
    }

    /// What a rule's query for ids finds.
    fn ids(&self, program: &Program) -> Result<Vec<(Subject, Option<LeadId>)>, Duplicate> {
        let Message { doc, hidden, .. } = self.message;
        let mut selected = Vec::new();
        program.select(doc, &mut selected)?;
        let seen = selected.iter().filter(|selected| !hidden.holds(selected.at));
        let ids = seen.filter_map(|Selected { at, item }| {
            Some((Subject { item: *item, key: None }, Some(id_at(doc, *at)?)))
        });
        Ok(ids.take(MAX_LEADS).collect())
    }

    fn alias(
        &self,
        (index, rule): (usize, &AliasProgram),
        subjects: &[Found],
        notes: &mut Vec<AliasNote>,
    ) -> Result<(), Duplicate> {
        if !rule.when.holds(Side::Request, true, self.message)? {
            return Ok(());
        }
        let lead = Noted::of(&rule.lead, self.message)?;
        let deal = Noted::of(&rule.deal, self.message)?;
        for found in subjects {
            let message = Message { from: found.at, item: found.item, ..self.message };
            if notes.len() == MAX_LEADS || !rule.when.holds(Side::Request, false, message)? {
                continue;
            }
            let (Some(lead), Some(deal)) = (lead.read(message)?, deal.read(message)?) else { continue };
            notes.push(AliasNote { rule: index, subject: Subject::of(found), lead: lead.0, deal: deal.0 });
        }
        Ok(())
    }
}

/// One id of an alias rule in the request: shared by all items, an item's own, or in the answer.
enum Noted<'r> {
    Shared(Option<LeadId>),
    Own(&'r Lookup),
    Answered,
}

/// What is known of an id; nothing yet where the answer holds it.
struct Known(Option<LeadId>);

impl<'r> Noted<'r> {
    fn of(at: &'r Lookup, message: Message<'_, '_>) -> Result<Self, Duplicate> {
        Ok(match (at.side, at.is_shared()) {
            (Side::Response, _) => Noted::Answered,
            (Side::Request, true) => Noted::Shared(at.id(message)?),
            (Side::Request, false) => Noted::Own(at),
        })
    }

    /// `None` where the request should hold the id and does not.
    fn read(&self, message: Message<'_, '_>) -> Result<Option<Known>, Duplicate> {
        Ok(match self {
            Noted::Answered => Some(Known(None)),
            Noted::Shared(id) => id.clone().map(|id| Known(Some(id))),
            Noted::Own(at) => at.id(message)?.map(|id| Known(Some(id))),
        })
    }
}

impl Route {
    /// What became of leads, now that the answer is there: only what the CRM accepted, 1,000 at most. For one lead the first
    /// rule that holds counts, with all events it tells.
    pub fn outcomes(&self, notes: &Notes, answer: Answer<'_, '_>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if notes.outcomes.is_empty() {
            return outcomes;
        }
        let (empty, mut hidden) = (Tape::default(), Hidden::default());
        if let Some(message) = self.heard(answer, &empty, &mut hidden) {
            let hearing = Hearing { route: self, answer, message, pairs: self.pairs(answer) };
            let whose = |outcome: &Outcome| (outcome.lead.clone(), outcome.via_alias);
            let mut earlier = HashSet::new();
            for of_rule in notes.outcomes.chunk_by(|one, next| one.rule == next.rule) {
                let (mut told, mut events) = (Vec::new(), HashSet::new());
                // A key that stands twice makes one rule unreadable, not the others.
                _ = hearing.outcomes(of_rule, &mut told);
                told.retain(|outcome| {
                    let whose = whose(outcome);
                    !earlier.contains(&whose) && events.insert((whose, outcome.event.clone()))
                });
                earlier.extend(told.iter().map(whose));
                outcomes.append(&mut told);
            }
        }
        outcomes.truncate(MAX_LEADS);
        outcomes
    }

    /// Which deals leads became, now that the answer is there.
    pub fn aliases(&self, notes: &Notes, answer: Answer<'_, '_>) -> Vec<Alias> {
        if notes.aliases.is_empty() {
            return Vec::new();
        }
        let (empty, mut hidden) = (Tape::default(), Hidden::default());
        let Some(message) = self.heard(answer, &empty, &mut hidden) else { return Vec::new() };
        let hearing = Hearing { route: self, answer, message, pairs: self.pairs(answer) };
        let mut aliases = Vec::new();
        for of_rule in notes.aliases.chunk_by(|one, next| one.rule == next.rule) {
            _ = hearing.aliases(of_rule, &mut aliases);
        }
        aliases
    }

    /// The answer as rules look at it; `None` where a masked key stands twice, since nobody can say what is masked then.
    fn heard<'a, 't>(
        &self,
        answer: Answer<'a, 't>,
        empty: &'t Tape,
        hidden: &'t mut Hidden,
    ) -> Option<Message<'a, 't>> {
        let doc = answer.doc.unwrap_or_else(|| Doc::new("", empty));
        hidden.find(&self.masks, doc).ok()?;
        let head = Head { headers: answer.headers, captures: Captures::NONE, query: None };
        Some(Message { head, doc, hidden, from: Doc::ROOT, item: None })
    }
}

/// One answer, as rules look at it.
struct Hearing<'r, 'a, 't> {
    route: &'r Route,
    answer: Answer<'a, 't>,
    message: Message<'a, 't>,
    pairs: Pairs,
}

impl<'a, 't> Hearing<'_, 'a, 't> {
    /// What the notes of one rule come to.
    fn outcomes(&self, notes: &[OutcomeNote], outcomes: &mut Vec<Outcome>) -> Result<(), Duplicate> {
        let rule = notes.first().and_then(|note| self.route.outcomes.get(note.rule));
        let Some(rule) = rule else { return Ok(()) };
        let Some(shared) = rule.shared(Side::Response, self.message)? else { return Ok(()) };
        for note in notes {
            match rule.phase {
                // One lead whose share holds a key twice says nothing; the others do.
                Phase::Request => outcomes.extend(self.of_request(rule, note, &shared).unwrap_or(None)),
                Phase::Response => self.of_items(rule, note, &shared, outcomes)?,
            }
        }
        Ok(())
    }

    /// The share of the answer that belongs to a note, where the CRM accepted what it is about.
    fn share(&self, subject: &Subject) -> Option<Message<'a, 't>> {
        let item = self.pairs.of(subject.item, subject.key.as_deref()).ok()?;
        self.route.accepted(self.answer, item).then_some(Message { item, ..self.message })
    }

    fn of_request(
        &self,
        rule: &OutcomeProgram,
        note: &OutcomeNote,
        shared: &Shared,
    ) -> Result<Option<Outcome>, Duplicate> {
        let Some(message) = self.share(&note.subject) else { return Ok(None) };
        if !rule.when.holds(Side::Response, false, message)? {
            return Ok(None);
        }
        let mut told = note.told.clone().or(&shared.told);
        rule.tell(Side::Response, false, message, &mut told)?;
        let id = match (&note.id, &rule.id) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(_)) => rule.id_in(Side::Response, message, shared)?,
            (None, None) => self.route.answered_id(self.answer, message.item),
        };
        Ok(id.map(|id| rule.outcome(id, told)))
    }

    /// Each item of the answer for which the rule holds.
    fn of_items(
        &self,
        rule: &OutcomeProgram,
        note: &OutcomeNote,
        shared: &Shared,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Duplicate> {
        let message = self.message;
        if !self.route.accepted(self.answer, None) {
            return Ok(());
        }
        let mut items = Vec::new();
        match &rule.each {
            Some(program) => program.select(message.doc, &mut items)?,
            None => items.push(Selected { at: Doc::ROOT, item: None }),
        }
        for Selected { at: from, item } in items.into_iter().take(MAX_ITEMS) {
            if outcomes.len() < MAX_LEADS && !message.hidden.holds(from) {
                let message = Message { from, item, ..message };
                // As for leads: one item with a key twice says nothing.
                outcomes.extend(self.of_item(rule, note, shared, message).unwrap_or(None));
            }
        }
        Ok(())
    }

    fn of_item(
        &self,
        rule: &OutcomeProgram,
        note: &OutcomeNote,
        shared: &Shared,
        message: Message<'_, '_>,
    ) -> Result<Option<Outcome>, Duplicate> {
        if !rule.when.holds(Side::Response, false, message)? {
            return Ok(None);
        }
        let mut told = note.told.clone().or(&shared.told);
        rule.tell(Side::Response, false, message, &mut told)?;
        let id = match &note.id {
            Some(id) => Some(id.clone()),
            None => rule.id_in(Side::Response, message, shared)?,
        };
        Ok(id.map(|id| rule.outcome(id, told)))
    }

    /// What the notes of one alias rule come to.
    fn aliases(&self, notes: &[AliasNote], aliases: &mut Vec<Alias>) -> Result<(), Duplicate> {
        let rule = notes.first().and_then(|note| self.route.aliases.get(note.rule));
        let Some(rule) = rule else { return Ok(()) };
        if !rule.when.holds(Side::Response, true, self.message)? {
            return Ok(());
        }
        for note in notes {
            aliases.extend(self.alias(rule, note).unwrap_or(None));
        }
        Ok(())
    }

    fn alias(&self, rule: &AliasProgram, note: &AliasNote) -> Result<Option<Alias>, Duplicate> {
        let Some(message) = self.share(&note.subject) else { return Ok(None) };
        if !rule.when.holds(Side::Response, false, message)? {
            return Ok(None);
        }
        let read = |noted: &Option<LeadId>, at: &Lookup| match noted {
            Some(id) => Ok(Some(id.clone())),
            None => at.id(message),
        };
        let (lead, deal) = (read(&note.lead, &rule.lead)?, read(&note.deal, &rule.deal)?);
        Ok(lead.zip(deal).map(|(lead, deal)| Alias { deal, lead }))
    }
}

/// A record in the answer to a route that reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where the record is.
    pub at: At,
    /// Its index in the answer's array; `None` where it stands alone.
    pub item: Option<usize>,
    /// Its id.
    pub id: LeadId,
}

impl Route {
    /// The records in the answer to a read, those that say their id: 1,000 at most. None on any other route, nor where the
    /// CRM refused.
    pub fn records(&self, notes: &Notes, answer: Answer<'_, '_>) -> Vec<Record> {
        let empty = Tape::default();
        let mut hidden = Hidden::default();
        let reads = self.action == config::Action::Read && self.id.is_some();
        match self.heard(answer, &empty, &mut hidden) {
            Some(message) if reads && self.accepted(answer, None) => self
                .objects(message)
                .filter_map(|found| self.record(notes, message, found))
                .take(MAX_LEADS)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The objects that `leads` finds in an answer; a list counts as its items.
    fn objects<'m>(&self, message: Message<'m, 'm>) -> impl Iterator<Item = Selected> + use<'m> {
        let Message { doc, hidden, .. } = message;
        let mut selected = Vec::new();
        // Where a key stands twice there is no telling which records are meant.
        if self.leads.select(doc, &mut selected).is_err() {
            selected.clear();
        }
        let objects = selected.into_iter().flat_map(move |found| {
            let items = doc.elements(found.at).enumerate();
            let items = items.map(|(index, at)| Selected { at, item: Some(index) });
            std::iter::once(found).chain(items)
        });
        let is_record =
            move |found: &Selected| doc.kind(found.at) == Some(Kind::Object) && !hidden.holds(found.at);
        objects.filter(is_record).take(MAX_ITEMS)
    }

    fn record(&self, notes: &Notes, message: Message<'_, '_>, found: Selected) -> Option<Record> {
        let id = match &self.id.as_ref()?.from {
            config::IdSource::Response(pointer) => {
                let at = message.doc.resolve(found.at, pointer, found.item).ok()??;
                self.id_of(&message.doc.string(message.doc.node(at)?))
            }
            // A path names one record, not each of a list.
            _ if found.item.is_none() => notes.path_id.clone(),
            _ => None,
        };
        Some(Record { at: found.at, item: found.item, id: id? })
    }
}
