//! The request's side of rules: what is noted until the answer is there.

use super::{AliasNote, AliasProgram, Notes, OutcomeNote, OutcomeProgram, Shared, Subject};
use crate::{
    config::{Phase, Side},
    lead::LeadId,
    recognise::{
        doc::Duplicate,
        place::{Lookup, Message, id_at},
        request::{Found, MAX_LEADS},
        routes::Route,
        select::{Program, Selected},
    },
};

/// One request, as its rules look at it.
pub(in crate::recognise) struct Witness<'r, 'a, 't> {
    pub(in crate::recognise) route: &'r Route,
    pub(in crate::recognise) message: Message<'a, 't>,
}

impl Witness<'_, '_, '_> {
    /// Everything that the request's side of the rules says.
    pub(in crate::recognise) fn notes(&self, leads: &[Found]) -> Result<Notes, Duplicate> {
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
        for rule in &self.route.feedback {
            rule.note(self.message, subjects, &mut notes.feedback)?;
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
