//! Rules: when an exchange tells what became of leads, and which deals they became.

use super::{
    condition::{Scope, at, predicates},
    masking,
    merge::Merged,
    routes::Source,
    text,
};
use crate::config::{
    at::{Lookup, Selector, Side},
    findings::{Complaint, Findings, KeyPath},
    problem::nearest_or_all,
    raw::{RawAlias, RawOutcome, RawOutcomeId},
    route::Action,
    settings::{AliasRule, Mask, OutcomeRule, Phase},
};

/// The outcome rules that make sense.
pub(super) fn outcomes(merged: &Merged, findings: &mut Findings) -> Vec<OutcomeRule> {
    let rules = merged.outcomes.iter().filter_map(|(path, raw)| {
        let source = route(&raw.route, path, merged, findings)?;
        let side = match raw.phase {
            Phase::Request => Side::Request,
            Phase::Response => Side::Response,
        };
        let names = source.path_names();
        let scope = Scope::rule(side, &names);
        Places { masks: &merged.masks, scope: &scope, path, findings }.outcome(raw, source)
    });
    rules.collect()
}

/// The alias rules that make sense.
pub(super) fn aliases(merged: &Merged, findings: &mut Findings) -> Vec<AliasRule> {
    let rules = merged.aliases.iter().filter_map(|(path, raw)| {
        let names = route(&raw.route, path, merged, findings)?.path_names();
        let scope = Scope::rule(Side::Request, &names);
        Places { masks: &merged.masks, scope: &scope, path, findings }.alias(raw)
    });
    rules.collect()
}

/// The route a rule is about.
pub(super) fn route<'m>(
    name: &str,
    path: &KeyPath,
    merged: &'m Merged,
    findings: &mut Findings,
) -> Option<&'m Source> {
    let known = merged.routes.iter().find(|source| source.raw.name == name);
    if known.is_none() {
        let hint = nearest_or_all(name, merged.routes.iter().map(|source| source.raw.name.as_str()));
        findings.wrong(&path.key("route"), Complaint::new(format!("no route is called {name:?}"), hint));
    }
    known
}

/// Reads the places of one rule.
struct Places<'p, 'f> {
    masks: &'p [Mask],
    scope: &'p Scope<'p>,
    path: &'p KeyPath,
    findings: &'f mut Findings,
}

impl Places<'_, '_> {
    fn outcome(mut self, raw: &RawOutcome, route: &Source) -> Option<OutcomeRule> {
        self.contradictions(raw, route);
        let when = predicates(&raw.when, &self.path.key("when"), self.scope, self.findings);
        let each = self.query(raw.each.as_deref(), "each");
        let ids = self.query(raw.ids.as_deref(), "ids");
        let id_path = self.path.key("id");
        let (id, via_alias) = match &raw.id {
            None => (Some(None), false),
            Some(RawOutcomeId::Place(text)) => (self.place(text, &id_path).map(Some), false),
            Some(RawOutcomeId::Of { from, via, .. }) => {
                (self.place(from, &id_path.key("from")).map(Some), via.is_some())
            }
        };
        let id_regex = match &raw.id {
            Some(RawOutcomeId::Of { regex: Some(regex), .. }) => {
                self.findings.take(&id_path.key("regex"), text::pattern(regex)).map(Some)
            }
            _ => Some(None),
        };
        let mut place = |text: &Option<String>, key| self.optional(text.as_deref(), key);
        let (event, revision) = (place(&raw.event, "event"), place(&raw.revision, "revision"));
        let (time, revenue) = (place(&raw.time, "time"), place(&raw.revenue, "revenue"));
        Some(OutcomeRule {
            route: raw.route.as_str().into(),
            phase: raw.phase,
            each: each?,
            ids: ids?,
            when: when?,
            id: id?,
            id_regex: id_regex?,
            via_alias,
            event: event?,
            revision: revision?,
            time: time?,
            won: raw.label == 1,
            revenue: revenue?,
        })
    }

    /// Keys that have no meaning beside each other, and a rule that does not say whose outcome it tells.
    fn contradictions(&mut self, raw: &RawOutcome, route: &Source) {
        let mut wrong = |key: &str, message: &str| self.findings.wrong(&self.path.key(key), message);
        match raw.phase {
            Phase::Request if raw.each.is_some() => {
                wrong("each", "only an answer has items; write phase: response");
            }
            Phase::Response if raw.ids.is_some() => {
                wrong("ids", "the request's ids; not for phase: response");
            }
            _ => {}
        }
        if raw.id.is_some() && raw.ids.is_some() {
            wrong("ids", "there is an id too; one of both says whose outcome this is");
        }
        let of_route =
            route.raw.id.is_some() && raw.phase == Phase::Request && route.raw.action != Action::Read;
        if raw.id.is_none() && raw.ids.is_none() && !of_route {
            let message = match route.raw.id {
                None => format!("route {:?} has no id, so nothing says whose outcome this is", raw.route),
                Some(_) => "an item of an answer needs an id of its own".to_owned(),
            };
            let key = if route.raw.id.is_none() { "route" } else { "phase" };
            self.findings
                .wrong(&self.path.key(key), Complaint::new(message, Some("give the rule an id".to_owned())));
        }
    }

    fn alias(mut self, raw: &RawAlias) -> Option<AliasRule> {
        let when = predicates(&raw.when, &self.path.key("when"), self.scope, self.findings);
        let lead = self.place(&raw.lead, &self.path.key("lead"));
        let deal = self.place(&raw.deal, &self.path.key("deal"));
        Some(AliasRule { route: raw.route.as_str().into(), when: when?, lead: lead?, deal: deal? })
    }

    fn query(&mut self, text: Option<&str>, key: &str) -> Option<Option<Selector>> {
        match text {
            None => Some(None),
            Some(text) => self.findings.take(&self.path.key(key), text::query(text)).map(Some),
        }
    }

    fn optional(&mut self, text: Option<&str>, key: &str) -> Option<Option<Lookup>> {
        match text {
            None => Some(None),
            Some(text) => self.place(text, &self.path.key(key)).map(Some),
        }
    }

    /// A place whose value may be recorded.
    fn place(&mut self, text: &str, path: &KeyPath) -> Option<Lookup> {
        let at = self.findings.take(path, at(text, self.scope))?;
        if self.masks.iter().any(|mask| masking::hides_place(mask, &at)) {
            self.findings.wrong(path, masking::MASKED);
            return None;
        }
        Some(at)
    }
}
