//! All that is known of a lead's score, one step after another.

use super::{
    Ask, Feedback, InvestigateError, Investigation, Opinion, Recomputed, Scoring, answer,
    cause::{self, Case, CauseKind},
    compare::{self, Change},
    drift::{self, Drift},
    features::{self, Features},
    find::Found,
    peers::{self, Asked},
    shown,
    steps::Steps,
    versions::{Guard, Versions},
};
use crate::{
    lead::{Grade, Reason, Score, Trend},
    leadlog::{GivenShadow, Store, StoreError, StoredScore, ToldOutcome},
    rollout::Desk,
};

/// Verdicts of people that are shown, the last ones.
const MOST_FEEDBACK: usize = 100;

/// Why a lead got the score it got. The lead log and the versions are read; nothing is written.
pub fn investigate(desk: &Desk, ask: &Ask, now_ms: i64) -> Result<Investigation, InvestigateError> {
    let mut steps = Steps::new(now_ms);
    let store = Store::open_read_only(&desk.state)?;
    let found = Found::of(&store, ask)?;
    let feedback = feedback(&store, &found.ids)?;
    steps.push("history", Ok(history_note(&found)));
    let mut work = Work {
        store: &store,
        versions: Versions::new(desk),
        guard: Guard::of(desk, &found.model),
        found: &found,
    };
    let scores = work.scores()?;
    steps.push("recomputed", recomputed_note(&scores));
    let change = work.change();
    steps.push("compared", change_note(change.as_ref()));
    let Features { features, hidden, what_if } = work.features();
    let drift = work.drift()?;
    steps.push("drift", drift_note(&drift));
    let score = work.judged();
    let horizon_ms = i64::try_from(desk.policy.horizon.as_millis()).unwrap_or(i64::MAX);
    let asked = Asked { ids: &found.ids, days: ask.days, horizon_ms, now_ms };
    let peers = peers::peers(&store, score, asked)?;
    let outcome = peers::became(&work.outcomes()?, score, horizon_ms);
    let mut told = Investigation {
        asked: shown::line(&ask.lead),
        ids: found.ids.clone(),
        via_deal: found.via_deal.clone(),
        model: found.model.clone(),
        other_models: found.other_models.clone(),
        now_ms,
        answer: String::new(),
        cause: CauseKind::AsTrained,
        findings: Vec::new(),
        at: found.at,
        against: found.against,
        has_older: found.has_older,
        scores,
        change,
        features,
        hidden,
        what_if,
        drift,
        peers,
        outcome,
        feedback,
        steps: Vec::new(),
    };
    told.judge();
    steps.push("answered", Ok(format!("suggested cause: {}", told.cause.words())));
    let complaint = told.feedback.iter().rev().find(|said| said.verdict == "down");
    match complaint {
        Some(said) => steps.received(said.time_ms, "a person's complaint".into()),
        None => steps.received(now_ms, "asked now; no complaint is recorded".into()),
    }
    told.steps = steps.steps;
    Ok(told)
}

impl Investigation {
    /// The score that is looked into.
    pub(super) fn scoring(&self) -> Option<&Scoring> {
        self.scores.get(self.at)
    }

    fn judge(&mut self) {
        let Some(scoring) = self.scores.get(self.at) else { return };
        let (features, change) = (self.features.as_slice(), self.change.as_ref());
        self.findings = cause::findings(&Case { scoring, features, change, drift: &self.drift });
        let first = self.findings.iter().find(|finding| finding.holds);
        self.cause = first.map_or(CauseKind::AsTrained, |finding| finding.kind);
        self.answer = answer::answer(self);
    }
}

/// What the steps share.
struct Work<'w> {
    store: &'w Store,
    versions: Versions<'w>,
    guard: Guard,
    found: &'w Found,
}

impl<'w> Work<'w> {
    fn row(&self, place: usize) -> Option<&'w StoredScore> {
        self.found.rows.get(place).map(|row| &row.given)
    }

    /// The score that is looked into.
    fn judged(&self) -> &'w StoredScore {
        match self.found.rows.get(self.found.at) {
            Some(row) => &row.given,
            #[expect(clippy::unreachable, reason = "a lead without scores is refused before")]
            None => unreachable!("no score is looked into"),
        }
    }

    fn scores(&mut self) -> Result<Vec<Scoring>, InvestigateError> {
        // Each is loaded before anything is shown: what one of them protects is not shown of the others.
        for row in &self.found.rows {
            if let Ok(version) = self.versions.of(&row.given) {
                self.guard.learn(&version.version().manifest);
            }
        }
        let mut scores = Vec::with_capacity(self.found.rows.len());
        for (place, row) in self.found.rows.iter().enumerate() {
            let before = place.checked_sub(1).and_then(|before| self.row(before));
            scores.push(self.scoring(place, &row.given, before)?);
        }
        Ok(scores)
    }

    fn scoring(
        &mut self,
        place: usize,
        given: &StoredScore,
        before: Option<&StoredScore>,
    ) -> Result<Scoring, InvestigateError> {
        let (score, earlier) = (score(given), before.and_then(score));
        let is_compared = place == self.found.at || Some(place) == self.found.against;
        let changed = match (before, self.versions.of(given)) {
            (Some(before), Ok(version)) => compare::changed(version, &self.guard, [before, given]),
            _ => Vec::new(),
        };
        Ok(Scoring {
            time_ms: given.time_ms,
            time: shown::rfc3339(given.time_ms),
            route: given.route.clone(),
            arm: given.arm.clone(),
            version: given.version.clone(),
            digest: super::super::rescore::short(&given.digest),
            score: given.score,
            points: score.map_or(0, Score::points),
            grade: given.grade.clone(),
            decision: given.decision.clone(),
            trend: earlier.zip(score).map(|(earlier, score)| Trend::between(earlier, score).as_str()),
            experiment: given.experiment.clone(),
            shadows: self.shadows(given)?,
            changed,
            recomputed: self.recompute(given),
            reasons: if is_compared { self.reasons(given) } else { Vec::new() },
        })
    }

    fn shadows(&self, given: &StoredScore) -> Result<Vec<Opinion>, InvestigateError> {
        let mut told = Vec::new();
        for id in &self.found.ids {
            told.extend(self.store.shadows_of(id, &given.model, given.time_ms)?);
        }
        Ok(told.into_iter().map(opinion).collect())
    }

    /// Equal to the bit, or what differs.
    fn recompute(&mut self, given: &StoredScore) -> Recomputed {
        let scored = self
            .versions
            .of(given)
            .and_then(|version| version.score(&given.features).map_err(|error| error.to_string()));
        match scored {
            Ok(scored) => {
                let (found, recorded) = (scored.score.probability(), given.score as f32);
                let equal = found.to_bits() == recorded.to_bits() && scored.grade.as_str() == given.grade;
                Recomputed { equal: Some(equal), score: Some(found.into()), why: None }
            }
            Err(why) => Recomputed { why: Some(why), ..Recomputed::default() },
        }
    }

    fn reasons(&mut self, given: &StoredScore) -> Vec<Reason> {
        let explained =
            self.versions.of(given).ok().and_then(|version| version.explain(&given.features).ok());
        let mut reasons = explained.map(|explained| explained.reasons).unwrap_or_default();
        reasons.retain(|reason| !self.guard.hides(&reason.feature));
        reasons
    }

    fn change(&mut self) -> Option<Change> {
        let rows = [self.row(self.found.against?)?, self.judged()];
        Some(compare::change(&mut self.versions, &self.guard, rows))
    }

    /// The features of the score that is looked into, how many are not shown, and other values for the weightiest.
    fn features(&mut self) -> Features {
        let (given, last) = (self.judged(), self.found.rows.len() - 1);
        let others = [self.found.against.and_then(|place| self.row(place)), self.row(last)];
        match self.versions.of(given) {
            Ok(version) => features::features(version, &self.guard, given, others),
            Err(_) => features::bare(&self.guard, given),
        }
    }

    fn drift(&mut self) -> Result<Drift, StoreError> {
        let given = self.judged();
        match self.versions.of(given) {
            Ok(version) => drift::drift(self.store, version, &self.guard, given),
            Err(why) => Ok(Drift { to_ms: given.time_ms, note: Some(why), ..Drift::default() }),
        }
    }

    fn outcomes(&self) -> Result<Vec<ToldOutcome>, StoreError> {
        let mut told = Vec::new();
        for id in &self.found.ids {
            told.extend(self.store.outcomes_of(id)?);
        }
        let order =
            |told: &ToldOutcome| (told.revision.unwrap_or(0), told.occurred_ms.unwrap_or(told.time_ms));
        // Stable: of each id they come in order.
        told.sort_by_key(|told| std::cmp::Reverse(order(told)));
        Ok(told)
    }
}

fn feedback(store: &Store, ids: &[String]) -> Result<Vec<Feedback>, InvestigateError> {
    let mut said = Vec::new();
    for id in ids {
        said.extend(store.feedback_of(id)?);
    }
    said.sort_by_key(|said| said.time_ms);
    said.drain(..said.len().saturating_sub(MOST_FEEDBACK));
    let told = said.into_iter().map(|said| Feedback {
        time_ms: said.time_ms,
        time: shown::rfc3339(said.time_ms),
        source: said.source,
        verdict: said.verdict,
        reason: said.reason,
        who: said.who,
        note: said.note,
    });
    Ok(told.collect())
}

fn score(given: &StoredScore) -> Option<Score> {
    Score::new(given.score as f32)
}

fn opinion(told: GivenShadow) -> Opinion {
    let score = told.score.and_then(|score| Score::new(score as f32));
    let grade = told.grade.as_deref().and_then(Grade::parse).map(|grade| grade.to_string());
    Opinion {
        version: told.version,
        slot: told.slot,
        points: score.map(Score::points),
        grade,
        error: told.error,
    }
}

fn history_note(found: &Found) -> String {
    let (more, count) = (if found.has_older { "more than " } else { "" }, found.rows.len());
    format!("{more}{count} score{} by model {}", if count == 1 { "" } else { "s" }, shown::line(&found.model))
}

fn recomputed_note(scores: &[Scoring]) -> Result<String, String> {
    let equal = |wanted| scores.iter().filter(|scoring| scoring.recomputed.equal == Some(wanted)).count();
    let (same, other) = (equal(true), equal(false));
    let why = scores.iter().rev().find_map(|scoring| scoring.recomputed.why.clone());
    let told = match (other, same == scores.len()) {
        (0, true) => format!("all {same} equal to the bit"),
        (0, false) => format!("{same} of {} equal to the bit", scores.len()),
        _ => format!("{same} of {} equal to the bit, {other} differ", scores.len()),
    };
    match why {
        Some(why) if same + other == 0 => Err(why),
        Some(why) => Ok(format!("{told}; not tried: {why}")),
        None => Ok(told),
    }
}

fn change_note(change: Option<&Change>) -> Result<String, String> {
    let Some(change) = change else { return Err("there is one score only".into()) };
    match &change.note {
        Some(why) => Err(why.clone()),
        None => Ok(format!("{} points, parts: {}", shown::signed(change.points), change.parts.len())),
    }
}

fn drift_note(drift: &Drift) -> Result<String, String> {
    match (&drift.note, drift.is_enough) {
        (Some(why), _) => Err(why.clone()),
        (None, false) => Err(format!("too few leads in the week before: {}, and 200 are needed", drift.rows)),
        (None, true) => {
            let (moved, all) = (drift.moved().count(), drift.features.len());
            let few = if moved > drift.alarms().count() { "; too few to raise an alarm" } else { "" };
            Ok(format!("{moved} of {all} features drifted over {} leads{few}", drift.rows))
        }
    }
}
