//! Tells the ledger what changed in files beside rollouts: the configuration, and artifacts behind versions' names.
//!
//! What was recorded last stands in the ledger, so a change is found even when it was made while nothing ran. The
//! configuration itself is never recorded: its digest is, and the thresholds of a list that holds no secrets. Where the
//! ledger cannot be written, that is told once, the next look tries again, and what serves does not change.

use std::{collections::BTreeMap, path::PathBuf};

use super::thresholds::thresholds;
use crate::{
    config::Config,
    ledger::{self, Event, Field, Fields, Kind, Ledger, LedgerError, Record},
    registry::{Live, Version},
    rollout::Life,
};

/// Who changed a file is not known.
const FILE: &str = "file";

/// Compares what serves with what the ledger knows.
#[derive(Debug)]
pub struct Journal {
    /// The directory of the ledger.
    state: PathBuf,
    /// What the ledger knows for sure, so that it is not read at each look.
    known: Option<Seen>,
    /// What kept it from being written, so that it is told once.
    complaint: Option<String>,
}

/// What serves.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// The digest of the configuration's file, where there is one, and its thresholds.
    config: Option<(String, Fields)>,
    /// The digest of each version in a slot, by model and version.
    versions: BTreeMap<(String, String), String>,
}

impl Journal {
    /// A journal in the ledger of a directory.
    pub fn new(state: PathBuf) -> Self {
        Self { state, known: None, complaint: None }
    }

    /// Records what is not known yet. `file`: the digest of the file that the configuration was read from.
    pub fn look(&mut self, config: &Config, file: Option<&str>, live: &Live<Version>, now_ms: i64) {
        let config = file.map(|digest| (digest.to_owned(), thresholds(config)));
        let models = live.models();
        let versions = models.values().flat_map(|served| served.slots()).map(|(_, version)| &version.id);
        let versions =
            versions.map(|id| ((id.model.to_string(), id.version.to_string()), id.digest.to_string()));
        self.follow(Seen { config, versions: versions.collect() }, now_ms);
    }

    fn follow(&mut self, seen: Seen, now_ms: i64) {
        if self.known.as_ref() == Some(&seen) {
            return;
        }
        match self.record(&seen, now_ms) {
            Ok(()) => (self.known, self.complaint) = (Some(seen), None),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                if self.complaint.as_ref() != Some(&error) {
                    tracing::error!(error, "changed files cannot be recorded yet");
                }
                self.complaint = Some(error);
            }
        }
    }

    fn record(&self, seen: &Seen, now_ms: i64) -> Result<(), LedgerError> {
        // Most often there is nothing to write, and nothing to lock for.
        if seen.news(&ledger::read(&self.state)?).is_empty() {
            return Ok(());
        }
        let mut ledger = Ledger::open(&self.state)?;
        let mut writing = ledger.lock()?;
        for event in seen.news(writing.records()) {
            tracing::info!(kind = event.kind.as_str(), "a changed file is recorded");
            writing.append(event, now_ms)?;
        }
        Ok(())
    }
}

impl Seen {
    /// What the records do not say yet.
    fn news(&self, records: &[Record]) -> Vec<Event> {
        let mut events = self.config_news(records);
        events.extend(self.version_news(records));
        events
    }

    /// Thresholds first: cut short, all of it is recorded again rather than some of it never.
    fn config_news(&self, records: &[Record]) -> Vec<Event> {
        let Some((digest, thresholds)) = &self.config else { return Vec::new() };
        let last = records.iter().rev().find(|record| record.kind == Kind::ConfigChanged);
        let before = last.and_then(|record| record.fields.get("after")).and_then(Field::text);
        let known = last.and_then(|record| match record.fields.get("thresholds") {
            Some(Field::Map(known)) => Some(known),
            _ => None,
        });
        if before == Some(digest) && known == Some(thresholds) {
            return Vec::new();
        }
        let changed = thresholds.iter().filter_map(|(key, new)| {
            // A key that a release brought has no value before.
            let old = known?.get(key).filter(|old| *old != new)?;
            let event = Event::new(Kind::ThresholdChanged, FILE).with("key", &**key);
            Some(event.with("old", old.clone()).with("new", new.clone()))
        });
        let mut events: Vec<Event> = changed.collect();
        let event = Event::new(Kind::ConfigChanged, FILE).with("after", &**digest);
        let event = event.with("thresholds", thresholds.clone());
        events.push(match before {
            Some(before) => event.with("before", before),
            None => event,
        });
        events
    }

    /// Artifacts that are not those which the ledger knows by their names. One that it does not know has not changed.
    fn version_news(&self, records: &[Record]) -> Vec<Event> {
        let life = Life::fold(records);
        let changed = self.versions.iter().filter_map(|((model, version), digest)| {
            let noted = records.iter().rev().find(|record| {
                record.kind == Kind::FilesChanged
                    && record.model.as_ref() == Some(model)
                    && record.version.as_ref() == Some(version)
            });
            let noted = noted.and_then(|record| record.fields.get("after")).and_then(Field::text);
            let known = noted.or_else(|| life.model(model)?.digest(version))?;
            let event = Event::new(Kind::FilesChanged, FILE).model(&**model).version(&**version);
            (known != digest).then(|| event.with("before", known).with("after", &**digest))
        });
        changed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Option<(String, Fields)> {
        let (digest, thresholds) = text.split_once(' ').unwrap();
        let pairs = thresholds.split(' ').map(|pair| pair.split_once('=').unwrap());
        Some((digest.to_owned(), pairs.map(|(key, value)| (key.to_owned(), value.into())).collect()))
    }

    fn versions(pairs: &[(&str, &str)]) -> BTreeMap<(String, String), String> {
        let pairs = pairs.iter().map(|(name, digest)| {
            let (model, version) = name.split_once('/').unwrap();
            ((model.to_owned(), version.to_owned()), (*digest).to_owned())
        });
        pairs.collect()
    }

    fn told(event: &Event) -> String {
        let Event { kind, model, version, actor, fields } = event;
        let text = |name: &str| fields.get(name).and_then(Field::text).unwrap_or("-").to_owned();
        let name = [model, version].map(|part| part.clone().unwrap_or_default()).join("/");
        match kind {
            Kind::ThresholdChanged => format!("{actor} {}: {} -> {}", text("key"), text("old"), text("new")),
            kind => format!("{actor} {} {name} {} -> {}", kind.as_str(), text("before"), text("after")),
        }
    }

    /// A ledger that follows what is seen, one look after the other, each by a process of its own.
    #[test]
    fn each_change_is_recorded_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let registered =
            Event::new(Kind::ModelRegistered, "ci").model("lead").version("1").with("digest", "d1");
        ledger.lock().unwrap().append(registered, 0).unwrap();
        let mut check = |seen: Seen, expected: &[&str]| {
            let before = ledger.lock().unwrap().records().len();
            let news = seen.news(&ledger::read(folder.path()).unwrap());
            Journal::new(folder.path().to_owned()).follow(seen, 1);
            let told: Vec<String> = news.iter().map(told).collect();
            assert_eq!(told, expected);
            assert_eq!(ledger.lock().unwrap().records().len(), before + expected.len());
        };
        let seen = |text: &str| Seen { config: config(text), ..Seen::default() };
        check(Seen::default(), &[]);
        check(seen("c1 limits.body=1 rollout.window=100"), &["file config.changed / - -> c1"]);
        check(seen("c1 limits.body=1 rollout.window=100"), &[]);
        check(
            seen("c2 limits.body=1 rollout.window=50"),
            &["file rollout.window: 100 -> 50", "file config.changed / c1 -> c2"],
        );
        // A key that a release brings, and a value from the environment under the same file.
        check(seen("c2 limits.body=1 limits.new=7 rollout.window=50"), &["file config.changed / c2 -> c2"]);
        check(
            seen("c2 limits.body=2 limits.new=7 rollout.window=50"),
            &["file limits.body: 1 -> 2", "file config.changed / c2 -> c2"],
        );
        let seen = |pairs: &[(&str, &str)]| Seen { versions: versions(pairs), ..Seen::default() };
        check(seen(&[("lead/1", "d1"), ("lead/2", "x"), ("other/1", "y")]), &[]);
        check(seen(&[("lead/1", "d2")]), &["file files.changed lead/1 d1 -> d2"]);
        check(seen(&[("lead/1", "d2")]), &[]);
        check(seen(&[("lead/1", "d1")]), &["file files.changed lead/1 d2 -> d1"]);
        ledger::verify(folder.path(), None).unwrap();
    }

    #[test]
    fn a_ledger_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::write(&state, "no directory").unwrap();
        let mut journal = Journal::new(state.clone());
        let seen = Seen { config: config("c1 limits.body=1"), ..Seen::default() };
        journal.follow(seen.clone(), 1);
        assert!(journal.known.is_none() && journal.complaint.is_some());
        std::fs::remove_file(&state).unwrap();
        journal.follow(seen.clone(), 2);
        assert!(journal.complaint.is_none());
        journal.follow(seen, 3);
        assert_eq!(ledger::read(&state).unwrap().len(), 1);
    }
}
