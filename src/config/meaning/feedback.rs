//! Feedback: when a request tells what a person says of a score.
//!
//! What people write of a score must not become what the next score is made of, so no field of a rule may be one that a
//! feature reads.

use serde_json::Value as Json;

use super::{
    condition::{Scope, at, predicates, scalar},
    masking,
    merge::Merged,
    rules::route,
};
use crate::{
    config::{
        at::{Base, Lookup, Place, Predicate, Test},
        findings::{Complaint, Findings, KeyPath},
        raw::{RawFeedback, RawReason, RawVerdict},
        settings::{Feature, FeedbackRule, Mask},
    },
    lead::{FeedbackReason, Verdict},
};

/// The rules that make sense.
pub(super) fn rules(
    raw: &[RawFeedback],
    merged: &Merged,
    features: &[Feature],
    findings: &mut Findings,
) -> Vec<FeedbackRule> {
    let rules = raw.iter().enumerate().filter_map(|(index, raw)| {
        let path = KeyPath::default().key("feedback").item(index);
        let source = route(&raw.route, &path, merged, findings)?;
        if source.raw.id.is_none() && raw.id.is_none() {
            let message =
                format!("route {:?} has no id, so nothing says whose score this is about", raw.route);
            let hint = Some("give the rule an id".to_owned());
            findings.wrong(&path.key("route"), Complaint::new(message, hint));
        }
        let names = source.path_names();
        let scope = Scope::told(&names);
        Fields { masks: &merged.masks, features, scope: &scope, path: &path, findings }.rule(raw)
    });
    rules.collect()
}

/// Reads the fields of one rule.
struct Fields<'p, 'f> {
    masks: &'p [Mask],
    features: &'p [Feature],
    scope: &'p Scope<'p>,
    path: &'p KeyPath,
    findings: &'f mut Findings,
}

impl Fields<'_, '_> {
    fn rule(mut self, raw: &RawFeedback) -> Option<FeedbackRule> {
        let when = predicates(&raw.when, &self.path.key("when"), self.scope, self.findings);
        let id = raw.id.as_deref().map(|text| self.place(text, &self.path.key("id")));
        let verdicts = self.verdicts(&raw.verdict);
        let reasons = raw.reason.as_ref().map(|raw| self.reasons(raw));
        let who = raw.who.as_deref().map(|text| {
            let path = self.path.key("who");
            self.place(text, &path).filter(|at| self.is_no_feature(at, &path))
        });
        let note = raw.note.as_deref().map(|text| self.field(text, &self.path.key("note")));
        let (reason, reasons) = match reasons {
            Some(reasons) => reasons.map(|(at, reasons)| (Some(at), reasons))?,
            None => (None, Vec::new()),
        };
        Some(FeedbackRule {
            route: raw.route.as_str().into(),
            when: when?,
            id: whole(id)?,
            verdicts: verdicts?,
            reason,
            reasons,
            who: whole(who)?,
            note: whole(note)?,
        })
    }

    fn verdicts(&mut self, raw: &RawVerdict) -> Option<Vec<(Verdict, Predicate)>> {
        let path = self.path.key("verdict");
        let words = [(Verdict::Up, &raw.up), (Verdict::Down, &raw.down)];
        if words.iter().all(|(_, values)| values.is_empty()) {
            self.findings.wrong(&path, "names no value of the field, under up or under down");
        }
        let keyed = words.map(|(verdict, values)| (verdict, verdict.as_str(), values));
        let at = self.field(&raw.at, &path.key("at"));
        self.tests(at.as_ref(), &keyed, &path)
    }

    fn reasons(&mut self, raw: &RawReason) -> Option<(Lookup, Vec<(FeedbackReason, Predicate)>)> {
        let path = self.path.key("reason");
        let words = [
            (FeedbackReason::WrongScoreHigh, &raw.wrong_score_high),
            (FeedbackReason::WrongScoreLow, &raw.wrong_score_low),
            (FeedbackReason::BadData, &raw.bad_data),
            (FeedbackReason::Duplicate, &raw.duplicate),
            (FeedbackReason::NotALead, &raw.not_a_lead),
            (FeedbackReason::AlreadyCustomer, &raw.already_customer),
        ];
        let keyed = words.map(|(reason, values)| (reason, reason.as_str(), values));
        let at = self.field(&raw.at, &path.key("at"));
        let tests = self.tests(at.as_ref(), &keyed, &path);
        at.zip(tests)
    }

    /// What is meant where the field has one of which values. A value means one thing.
    fn tests<T: Copy>(
        &mut self,
        at: Option<&Lookup>,
        words: &[(T, &str, &Vec<Json>)],
        path: &KeyPath,
    ) -> Option<Vec<(T, Predicate)>> {
        for (index, (_, key, values)) in words.iter().enumerate() {
            for (other, value) in values.iter().enumerate() {
                let earlier = words.iter().take(index).find(|(_, _, earlier)| earlier.contains(value));
                if let Some((_, earlier, _)) = earlier {
                    let message = format!("stands under {earlier} too");
                    self.findings.wrong(&path.key(key).item(other), message);
                }
            }
        }
        let test = |(word, _, values): &(T, &str, &Vec<Json>)| {
            let test = Test::In(values.iter().map(scalar).collect());
            Some((*word, Predicate { at: at?.clone(), test }))
        };
        words.iter().filter(|(_, _, values)| !values.is_empty()).map(test).collect()
    }

    /// A field of the lead object that no feature reads.
    fn field(&mut self, text: &str, path: &KeyPath) -> Option<Lookup> {
        let at = self.place(text, path)?;
        if !matches!((&at.place, at.base), (Place::Body(_), Base::Item)) {
            let message = format!("{text:?} is no JSON Pointer from the lead object, such as /LW_Verdict__c");
            self.findings.wrong(path, message);
            return None;
        }
        self.is_no_feature(&at, path).then_some(at)
    }

    /// A place whose value may be recorded.
    fn place(&mut self, text: &str, path: &KeyPath) -> Option<Lookup> {
        let at = self.findings.take(path, at(text, self.scope))?;
        if self.masks.iter().any(|mask| masking::hides_place(mask, &at)) {
            self.findings.wrong(path, masking::MASKED);
            return None;
        }
        if matches!(at.place, Place::Select(_)) {
            self.findings.wrong(path, "a query could find what a feature reads; write a pointer");
            return None;
        }
        Some(at)
    }

    fn is_no_feature(&mut self, at: &Lookup, path: &KeyPath) -> bool {
        let reads = |feature: &&Feature| feature.from.iter().any(|from| overlap(at, from));
        let reader = self.features.iter().find(reads);
        if let Some(feature) = reader {
            let message = format!(
                "feature {:?} reads this field; what people say of scores goes into none",
                &*feature.name
            );
            self.findings.wrong(path, message);
        }
        reader.is_none()
    }
}

/// Whether a place and a feature's pointer can lead to the same value, or one to a part of the other's.
fn overlap(at: &Lookup, from: &crate::config::at::Pointer) -> bool {
    match (&at.place, at.base) {
        (Place::Body(pointer), Base::Item) => {
            pointer.steps.starts_with(&from.steps) || from.steps.starts_with(&pointer.steps)
        }
        // The lead object is somewhere on the way.
        (Place::Body(pointer), Base::Root) => masking::hides_relative(&Mask::Body(pointer.clone()), from),
        _ => false,
    }
}

/// None where there is nothing to read, or what there is makes no sense.
fn whole<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}
