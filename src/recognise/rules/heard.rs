//! The answer's side of rules: what the notes come to.

use std::collections::HashSet;

use super::{AliasNote, AliasProgram, Notes, OutcomeNote, OutcomeProgram, Shared, Subject};
use crate::{
    config::{Phase, Side},
    lead::{Alias, Feedback, LeadId, Outcome},
    recognise::{
        answer::{Answer, Pairs},
        doc::{Doc, Duplicate},
        place::{Head, Hidden, Lookup, Message},
        request::MAX_LEADS,
        routes::{Captures, Route},
        scan::Tape,
        select::Selected,
    },
};

/// Items of an answer that are looked at; the largest page of any CRM is a fifth of it.
pub(super) const MAX_ITEMS: usize = 10_000;

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
            let hearing = Hearing { route: self, answer, message, pairs: self.pairs(notes, answer) };
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
        let hearing = Hearing { route: self, answer, message, pairs: self.pairs(notes, answer) };
        let mut aliases = Vec::new();
        for of_rule in notes.aliases.chunk_by(|one, next| one.rule == next.rule) {
            _ = hearing.aliases(of_rule, &mut aliases);
        }
        aliases
    }

    /// What people said of scores, now that the CRM accepted it.
    pub fn feedback(&self, notes: &Notes, answer: Answer<'_, '_>) -> Vec<Feedback> {
        if notes.feedback.is_empty() {
            return Vec::new();
        }
        let (empty, mut hidden) = (Tape::default(), Hidden::default());
        let Some(message) = self.heard(answer, &empty, &mut hidden) else { return Vec::new() };
        let hearing = Hearing { route: self, answer, message, pairs: self.pairs(notes, answer) };
        let said = notes.feedback.iter().filter_map(|note| {
            let item = hearing.share(&note.subject)?.item;
            let lead = note.id.clone().or_else(|| self.answered_id(answer, item))?;
            Some(note.said.of(lead))
        });
        said.collect()
    }

    /// The answer as rules look at it; `None` where a masked key stands twice, since nobody can say what is masked then.
    pub(super) fn heard<'a, 't>(
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
