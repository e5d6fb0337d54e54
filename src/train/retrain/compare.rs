//! The comparison with the champion, on the newest leads.

use super::run::{RetrainError, Run, run_mode};
use crate::{
    lead::Sides,
    ledger::{Field, Kind, Record},
    registry::{GateCheck, GateVerdict, Version},
    train::{
        Exam, GatePolicy, TrainOptions,
        dataset::Dataset,
        gate,
        holdout::Compared,
        input::{self, Prepared},
        judged::{self, View},
        publish::Draft,
    },
};

/// What the gate found, and whether scoring is fast enough.
pub(super) type Judged = Option<(GateVerdict, GateCheck)>;

/// The newest leads, which neither the new version nor its calibration saw.
#[derive(Clone, Copy)]
pub(super) struct Newest<'p> {
    pub(super) leads: &'p Dataset,
    known: &'p input::Newest,
}

impl<'p> Newest<'p> {
    pub(super) fn of(prepared: &'p Prepared) -> Result<Self, RetrainError> {
        let parts = prepared.test.as_ref().zip(prepared.newest.as_ref());
        let nothing = || RetrainError::NoHoldout { like: prepared.told.time_like.clone() };
        parts.map(|(leads, known)| Self { leads, known }).ok_or_else(nothing)
    }
}

impl Run<'_> {
    /// Versions that were compared on the same leads, as the ledger tells, and this one.
    fn comparisons(&self, leads: &str) -> Result<u64, RetrainError> {
        let own = self.own();
        let tells = |record: &&Record| {
            let is_gate = matches!(record.kind, Kind::GatePassed | Kind::GateFailed);
            let on = record.fields.get("holdout").and_then(Field::text);
            is_gate && on == Some(leads) && record.version.as_deref() != own
        };
        Ok(1 + self.records()?.iter().filter(tells).count() as u64)
    }

    /// Refuses leads without columns that the champion reads: whatever is compared with half a champion looks good.
    pub(super) fn is_fair(&self, champion: &Version, newest: Newest<'_>) -> Result<(), RetrainError> {
        match absent(champion, newest).filter(|_| !self.job.options.force) {
            Some(names) => Err(RetrainError::Absent { champion: champion.id.version.to_string(), names }),
            None => Ok(()),
        }
    }

    /// Compares with the champion, where there is one, and puts the verdict into the manifest.
    pub(super) fn judge(
        &mut self,
        options: &TrainOptions,
        draft: &mut Draft<'_>,
        champion: Option<&Version>,
        newest: Newest<'_>,
    ) -> Result<Judged, RetrainError> {
        self.still()?;
        self.step("comparing with the champion");
        let version = draft.version(&options.out)?;
        let (leads, labels) = (newest.leads, &newest.leads.labels);
        let own = View::new(&version.model, leads);
        let kinds = judged::kinds(&draft.manifest.schema, leads);
        let scores = own.scores()?;
        draft.manifest.segments = judged::segments(&kinds, &scores, labels);
        draft.manifest.judged_on.iter_mut().for_each(|on| on.segments = "newest rows".to_owned());
        let Some(champion) = champion else { return Ok(None) };
        let policy = GatePolicy { mode: run_mode(self.job.options.mode), ..self.job.policy.clone() };
        let mut compared = Compared::new(newest.known, labels, champion, policy.positives);
        compared.again(self.comparisons(&newest.known.digest)?, &policy);
        compared.holdout.notes.extend(absent(champion, newest).map(|names| without(champion, &names)));
        let theirs = View::of_texts(&champion.model, &newest.known.table);
        let p99 = Sides { champion: theirs.p99(), challenger: own.p99() };
        let named = kinds.into_iter();
        let segments: Vec<_> = named
            .map(|(feature, word, rows)| (format!("{feature}={word}"), compared.places(&rows)))
            .collect();
        let names = draft.manifest.schema.features.iter().map(|spec| spec.name.clone());
        let unmapped: Vec<String> = names.filter(|name| !self.job.live.contains(name)).collect();
        let exam = Exam {
            champion: &champion.id.version,
            labels: &compared.of(labels),
            scores: Sides { champion: &compared.of(&theirs.scores()?), challenger: &compared.of(&scores) },
            segments: &segments,
            unmapped: &unmapped,
        };
        let verdict = GateVerdict { holdout: Some(compared.holdout.clone()), ..gate(&exam, &policy) };
        draft.manifest.gate = Some(verdict.clone());
        Ok(Some((verdict, gate::latency(p99, &policy))))
    }
}

/// What the champion reads and these leads do not have.
fn absent(champion: &Version, newest: Newest<'_>) -> Option<String> {
    let names = champion.model.features().iter().map(|spec| spec.name.as_str());
    let absent: Vec<&str> = names.filter(|name| newest.known.table.lacks(name)).collect();
    (!absent.is_empty()).then(|| absent.join(", "))
}

fn without(champion: &Version, names: &str) -> String {
    format!(
        "version {} reads {names}, which these leads do not have: it is scored without, and looks worse than it is \
         unless live leads lack them too",
        champion.id.version
    )
}
