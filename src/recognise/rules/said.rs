//! What people say of scores in fields of the CRM: all of it stands in the request, and waits for the CRM's answer.

use super::{Subject, When};
use crate::{
    config::{self, FeedbackRule, Side},
    lead::{Feedback, FeedbackReason, LeadId, Verdict},
    recognise::{
        doc::Duplicate,
        place::{Lookup, Message},
        predicate::Predicate,
        request::{Found, MAX_LEADS},
    },
};

/// A compiled [`FeedbackRule`].
#[derive(Debug)]
pub(in crate::recognise) struct FeedbackProgram {
    when: When,
    id: Option<Lookup>,
    verdicts: Vec<(Verdict, Predicate)>,
    reason: Option<Lookup>,
    reasons: Vec<(FeedbackReason, Predicate)>,
    who: Option<Lookup>,
    note: Option<Lookup>,
}

/// A verdict on one lead.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FeedbackNote {
    pub(super) subject: Subject,
    /// Whose score it is about, where the request says so.
    pub(super) id: Option<LeadId>,
    pub(super) said: Said,
}

/// A verdict on a lead that is not known yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    verdict: Verdict,
    reason: Option<FeedbackReason>,
    who: Option<Box<str>>,
    note: Option<Box<str>>,
}

impl Said {
    /// The same, now that the lead is known.
    pub(super) fn of(&self, lead: LeadId) -> Feedback {
        let Self { verdict, reason, who, note } = self.clone();
        Feedback { lead, verdict, reason, who, note }
    }
}

impl FeedbackProgram {
    pub(in crate::recognise) fn new(rule: &FeedbackRule) -> Self {
        let lookup = |at: &Option<config::Lookup>| at.as_ref().map(Lookup::new);
        let verdicts = rule.verdicts.iter().map(|(verdict, test)| (*verdict, Predicate::new(test)));
        let reasons = rule.reasons.iter().map(|(reason, test)| (*reason, Predicate::new(test)));
        Self {
            when: When::new(&rule.when),
            id: lookup(&rule.id),
            verdicts: verdicts.collect(),
            reason: lookup(&rule.reason),
            reasons: reasons.collect(),
            who: lookup(&rule.who),
            note: lookup(&rule.note),
        }
    }

    /// Notes what is said of each lead object. A share of the body that holds a key twice says nothing.
    pub(super) fn note(
        &self,
        message: Message<'_, '_>,
        subjects: &[Found],
        notes: &mut Vec<FeedbackNote>,
    ) -> Result<(), Duplicate> {
        if !self.when.holds(Side::Request, true, message)? {
            return Ok(());
        }
        // What is the same for all of them is looked up once.
        let shared = |at: &Option<Lookup>| match at {
            Some(at) if at.is_shared() => at.text(message),
            _ => Ok(None),
        };
        let (id, who) = (shared(&self.id)?, shared(&self.who)?);
        for found in subjects {
            let message = Message { from: found.at, item: found.item, ..message };
            let Some(said) = self.said(message, who.as_deref()).unwrap_or(None) else { continue };
            for id in self.whose(found, message, id.as_deref())? {
                if notes.len() == MAX_LEADS {
                    return Ok(());
                }
                notes.push(FeedbackNote { subject: Subject::of(found), id, said: said.clone() });
            }
        }
        Ok(())
    }

    fn said(&self, message: Message<'_, '_>, who: Option<&str>) -> Result<Option<Said>, Duplicate> {
        if !self.when.holds(Side::Request, false, message)? {
            return Ok(None);
        }
        let Some(verdict) = first(&self.verdicts, message)? else { return Ok(None) };
        let own = |at: &Option<Lookup>| match at {
            Some(at) if !at.is_shared() => at.text(message),
            _ => Ok(None),
        };
        let is_given = own(&self.reason)?.is_some_and(|text| !text.trim().is_empty());
        let reason = first(&self.reasons, message)?.or(is_given.then_some(FeedbackReason::Other));
        let (own_who, note) = (own(&self.who)?, own(&self.note)?);
        // The lead is known only with the answer; until then nobody reads this one.
        let said = Feedback::new("", verdict).by(own_who.as_deref().or(who)).noted(note.as_deref());
        Ok(Some(Said { verdict, reason, who: said.who, note: said.note }))
    }

    /// Whose score it is: nobody's where the rule's place holds no id, somebody's that the answer tells where none is
    /// known yet.
    fn whose(
        &self,
        found: &Found,
        message: Message<'_, '_>,
        shared: Option<&str>,
    ) -> Result<Vec<Option<LeadId>>, Duplicate> {
        Ok(match &self.id {
            Some(at) if at.is_shared() => shared.and_then(super::short).map(Some).into_iter().collect(),
            Some(at) => at.id(message)?.map(Some).into_iter().collect(),
            None if found.id.is_some() => found.id.iter().chain(&found.more_ids).cloned().map(Some).collect(),
            None => vec![None],
        })
    }
}

/// The first word whose condition holds.
fn first<T: Copy>(words: &[(T, Predicate)], message: Message<'_, '_>) -> Result<Option<T>, Duplicate> {
    for (word, test) in words {
        if test.holds(message)? {
            return Ok(Some(*word));
        }
    }
    Ok(None)
}
