//! A study on disk, in Optuna's journal: one JSON object a line, each a change, the oldest first.
//!
//! Every change is written before it counts, and reading them again gives the study. One process writes at a time,
//! which a lock on the file sees to. A last line that was cut off is taken away; any other line that makes no sense ends the
//! reading with its number, and the file stays as it is. A trial that was running when the process ended has failed; what it
//! was given is queued again, three times at the most.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::{
    space::Distribution,
    study::{Direction, Param, State, Study, Trial},
};

/// Longest journal in bytes; a hundred trials take a hundredth of it.
const MAX_BYTES: u64 = 64 << 20;

/// How often a trial is begun that ends with its process: one that is too much for the machine must not be tried for ever.
const MOST_TIMES: usize = 4;

/// The changes that there are.
const CREATE_STUDY: u64 = 0;
const CREATE_TRIAL: u64 = 4;
const SET_PARAM: u64 = 5;
const SET_STATE: u64 = 6;
const REPORT: u64 = 7;
const NOTE: u64 = 8;
const SYSTEM: u64 = 9;

/// Why a study cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("{}", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{}: another process works on it", path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// It is longer than any study.
    #[error("{}: longer than {MAX_BYTES} bytes", path.display())]
    Long {
        /// The journal.
        path: PathBuf,
    },
    /// A line that is no change.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The study in it looks for something else.
    #[error("{}: the study {study:?} goes the other way", path.display())]
    Direction {
        /// The journal.
        path: PathBuf,
        /// The study.
        study: String,
    },
    /// A change of a trial that is over, or is not there.
    #[error("trial {number} cannot be changed")]
    Trial {
        /// Its number.
        number: usize,
    },
}

/// A study that is written down.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    replayed: Replayed,
    /// Where the study stands in the journal.
    id: u64,
}

impl Journal {
    /// Opens the study `name` in a journal, and begins either where it is missing. What was running is queued again.
    pub fn open(path: &Path, name: &str, direction: Direction, now_ms: i64) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { path: path.into(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Busy { path: path.into() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut text = Vec::new();
        Read::by_ref(&mut file).take(MAX_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(JournalError::Long { path: path.into() });
        }
        let mut replayed = Replayed::new(name);
        let whole = replayed.read(&text).map_err(|(line, reason)| JournalError::Line {
            path: path.into(),
            line,
            reason,
        })?;
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        if text.get(..whole).is_some_and(|text| !text.is_empty() && !text.ends_with(b"\n")) {
            file.write_all(b"\n").map_err(failed)?;
        }
        let mut journal = Self { path: path.into(), file, replayed, id: 0 };
        journal.begin_study(name, direction)?;
        journal.queue_what_ran(now_ms)?;
        Ok(journal)
    }

    /// The study as it is.
    pub fn study(&self) -> &Study {
        &self.replayed.study
    }

    /// Begins a new trial. Returns its number.
    pub fn begin(&mut self, now_ms: i64) -> Result<usize, JournalError> {
        let started = time(now_ms);
        self.write(json!({"op_code": CREATE_TRIAL, "study_id": self.id, "datetime_start": started}))?;
        Ok(self.study().trials.len().saturating_sub(1))
    }

    /// Begins a trial that is queued.
    pub fn claim(&mut self, number: usize, now_ms: i64) -> Result<(), JournalError> {
        let id = self.in_state(number, State::Waiting)?;
        self.write(json!({
            "op_code": SET_STATE, "trial_id": id, "state": State::Running as u64, "values": null,
            "datetime_start": time(now_ms),
        }))
    }

    /// Queues a trial that is to be given these values, as people write them.
    pub fn enqueue(&mut self, fixed: &BTreeMap<String, Json>) -> Result<(), JournalError> {
        self.create_waiting(&json!({"fixed_params": fixed}))
    }

    /// A running trial was given a value.
    pub fn give(
        &mut self,
        number: usize,
        name: &str,
        value: f64,
        distribution: &Distribution,
    ) -> Result<(), JournalError> {
        let text = serde_json::to_string(distribution).unwrap_or_default();
        let value = match distribution {
            // Its place, which Optuna takes for an index.
            Distribution::Category { .. } => json!(value as u64),
            _ => json!(value),
        };
        let id = self.in_state(number, State::Running)?;
        self.write(json!({
            "op_code": SET_PARAM, "trial_id": id, "param_name": name, "param_value_internal": value, "distribution": text,
        }))
    }

    /// A running trial tells how good it is so far.
    pub fn report(&mut self, number: usize, step: u64, value: f64) -> Result<(), JournalError> {
        let id = self.in_state(number, State::Running)?;
        self.write(json!({"op_code": REPORT, "trial_id": id, "step": step, "intermediate_value": value}))
    }

    /// Something worth knowing about a running trial.
    pub fn note(&mut self, number: usize, name: &str, value: &Json) -> Result<(), JournalError> {
        let id = self.in_state(number, State::Running)?;
        self.write(json!({"op_code": NOTE, "trial_id": id, "user_attr": {name: value}}))
    }

    /// A running trial is over. One that came to no number has failed.
    pub fn finish(
        &mut self,
        number: usize,
        state: State,
        value: Option<f64>,
        now_ms: i64,
    ) -> Result<(), JournalError> {
        let id = self.in_state(number, State::Running)?;
        let value = value.filter(|value| value.is_finite());
        let state = if state == State::Complete && value.is_none() { State::Fail } else { state };
        if !state.is_over() {
            return Err(JournalError::Trial { number });
        }
        let values = value.filter(|_| state != State::Fail).map(|value| [value]);
        self.write(json!({
            "op_code": SET_STATE, "trial_id": id, "state": state as u64, "values": values,
            "datetime_complete": time(now_ms),
        }))
    }

    fn begin_study(&mut self, name: &str, direction: Direction) -> Result<(), JournalError> {
        match self.replayed.id {
            None => {
                let code = if direction == Direction::Maximize { 2 } else { 1 };
                self.write(json!({"op_code": CREATE_STUDY, "study_name": name, "directions": [code]}))?;
                self.id = self.replayed.id.unwrap_or_default();
            }
            Some(id) if self.study().direction == direction => self.id = id,
            Some(_) => {
                return Err(JournalError::Direction { path: self.path.clone(), study: name.into() });
            }
        }
        Ok(())
    }

    fn queue_what_ran(&mut self, now_ms: i64) -> Result<(), JournalError> {
        let ran = self.study().trials.iter().filter(|trial| trial.state == State::Running);
        let ran: Vec<Trial> = ran.cloned().collect();
        for trial in ran {
            let times = self.study().times(&trial);
            if times.len() < MOST_TIMES {
                let fixed = if trial.params.is_empty() { trial.fixed.clone() } else { trial.outside() };
                // Before it fails: cut off in between, it would be queued a second time, and not be lost.
                if times.last() == Some(&trial.number) {
                    let first = times.first();
                    let system =
                        json!({"fixed_params": fixed, "failed_trial": first, "retry_history": times});
                    self.create_waiting(&system)?;
                }
            }
            self.finish(trial.number, State::Fail, None, now_ms)?;
        }
        Ok(())
    }

    fn create_waiting(&mut self, system: &Json) -> Result<(), JournalError> {
        self.write(json!({
            "op_code": CREATE_TRIAL, "study_id": self.id, "datetime_start": null, "state": State::Waiting as u64,
            "value": null, "values": null, "distributions": {}, "params": {}, "user_attrs": {}, "system_attrs": system,
            "intermediate_values": {},
        }))
    }

    fn trial_id(&self, number: usize) -> Result<usize, JournalError> {
        let ids = &self.replayed.numbers;
        ids.iter().position(|known| *known == Some(number)).ok_or(JournalError::Trial { number })
    }

    fn in_state(&self, number: usize, state: State) -> Result<usize, JournalError> {
        match self.study().trials.get(number).is_some_and(|trial| trial.state == state) {
            true => self.trial_id(number),
            false => Err(JournalError::Trial { number }),
        }
    }

    /// Writes a change, and makes it. A trial's end is on the disk before it counts; what leads up to it may be lost with the
    /// machine, and is done again.
    fn write(&mut self, mut change: Json) -> Result<(), JournalError> {
        let is_end = change.get("op_code") == Some(&json!(SET_STATE));
        if let Some(change) = change.as_object_mut() {
            change.insert("worker_id".into(), "leadwire-0".into());
        }
        // What is no number is a word in Python, and nothing in JSON.
        let line =
            format!("{change}\n").replace(r#""intermediate_value":null"#, r#""intermediate_value":NaN"#);
        let sync = |()| if is_end { self.file.sync_data() } else { Ok(()) };
        let written = (&self.file).write_all(line.as_bytes()).and_then(sync);
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })?;
        self.replayed.apply(line.trim_end()).map_err(|reason| JournalError::Line {
            path: self.path.clone(),
            line: 0,
            reason,
        })
    }
}

/// What the lines so far come to.
#[derive(Debug)]
struct Replayed {
    study: Study,
    /// The study's place among those of the journal.
    id: Option<u64>,
    studies: u64,
    /// The trials of all studies in their order; of this one their numbers.
    numbers: Vec<Option<usize>>,
}

/// A line. What is not named here is of no use to us.
#[derive(Deserialize)]
struct Change {
    op_code: u64,
    study_name: Option<String>,
    directions: Option<Vec<u64>>,
    study_id: Option<u64>,
    trial_id: Option<usize>,
    state: Option<u64>,
    values: Option<Vec<Option<f64>>>,
    system_attrs: Option<System>,
    system_attr: Option<System>,
    param_name: Option<String>,
    param_value_internal: Option<f64>,
    distribution: Option<String>,
    step: Option<u64>,
    /// Null where it is no number.
    intermediate_value: Option<f64>,
}

#[derive(Default, Deserialize)]
struct System {
    #[serde(default)]
    fixed_params: BTreeMap<String, Json>,
    failed_trial: Option<u64>,
}

impl Replayed {
    fn new(name: &str) -> Self {
        Self { study: Study::new(name, Direction::Minimize), id: None, studies: 0, numbers: Vec::new() }
    }

    /// Reads all lines, and says how many bytes are whole; or the line that is wrong, and why.
    fn read(&mut self, text: &[u8]) -> Result<usize, (usize, String)> {
        let mut whole = 0;
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            let is_last = lines.peek().is_none() && !line.ends_with(b"\n");
            let made = std::str::from_utf8(line).map_err(|error| error.to_string());
            match made.and_then(|line| self.apply(line.trim_end())) {
                Ok(()) => whole += line.len(),
                // What was no journal before is not made one by cutting it off.
                Err(_) if is_last && (whole > 0 || may_begin(line)) => break,
                Err(reason) => return Err((number, reason)),
            }
        }
        Ok(whole)
    }

    fn apply(&mut self, line: &str) -> Result<(), String> {
        // Python writes what is no number as a word that JSON does not have.
        let plain =
            line.replace(":NaN", ":null").replace(":-Infinity", ":null").replace(":Infinity", ":null");
        let change: Change = serde_json::from_str(&plain).map_err(|error| error.to_string())?;
        match change.op_code {
            CREATE_STUDY => self.create_study(&change),
            CREATE_TRIAL => self.create_trial(change),
            SET_PARAM => self.set_param(&change),
            SET_STATE => self.set_state(&change),
            REPORT => self.trial(&change, |trial| {
                let step = change.step.ok_or("no step")?;
                trial.steps.insert(step, change.intermediate_value.unwrap_or(f64::NAN));
                Ok(())
            }),
            SYSTEM => self.trial(&change, |trial| {
                let system = change.system_attr.as_ref();
                trial.repeats = trial.repeats.or(system.and_then(|system| system.failed_trial));
                trial.fixed.extend(system.map(|system| system.fixed_params.clone()).unwrap_or_default());
                Ok(())
            }),
            // Notes of trials and studies, which nothing here reads.
            _ => Ok(()),
        }
    }

    fn create_study(&mut self, change: &Change) -> Result<(), String> {
        let id = self.studies;
        self.studies += 1;
        if change.study_name.as_ref() != Some(&self.study.name) || self.id.is_some() {
            return Ok(());
        }
        self.study.direction = match change.directions.as_deref() {
            Some([1]) => Direction::Minimize,
            Some([2]) => Direction::Maximize,
            _ => return Err("not one direction".into()),
        };
        self.id = Some(id);
        Ok(())
    }

    fn create_trial(&mut self, change: Change) -> Result<(), String> {
        if change.study_id != self.id || self.id.is_none() {
            self.numbers.push(None);
            return Ok(());
        }
        let state = State::of(change.state.unwrap_or(State::Running as u64)).ok_or("no such state")?;
        let system = change.system_attrs.unwrap_or_default();
        let number = self.study.trials.len();
        let trial = Trial::new(number, state);
        self.numbers.push(Some(number));
        self.study.trials.push(Trial { fixed: system.fixed_params, repeats: system.failed_trial, ..trial });
        Ok(())
    }

    fn set_param(&mut self, change: &Change) -> Result<(), String> {
        let name = change.param_name.clone().ok_or("no name")?;
        let text = change.distribution.as_deref().ok_or("no distribution")?;
        let distribution: Distribution = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let value = change.param_value_internal.ok_or("no value")?;
        if !distribution.is_sound() {
            return Err("a distribution without values".into());
        }
        self.trial(change, |trial| {
            trial.params.insert(name, Param { value, distribution });
            Ok(())
        })
    }

    fn set_state(&mut self, change: &Change) -> Result<(), String> {
        let state = change.state.and_then(State::of).ok_or("no such state")?;
        let value = change.values.as_ref().and_then(|values| values.first().copied().flatten());
        self.trial(change, |trial| {
            // Whoever claims a queued trial second has lost it.
            if state != State::Running || trial.state == State::Waiting {
                trial.state = state;
            }
            trial.value = value.or(trial.value);
            if state == State::Pruned && trial.value.is_none() {
                trial.value = trial.steps.last_key_value().map(|(_, value)| *value);
            }
            Ok(())
        })
    }

    /// Changes a trial of this study. One that is over stays as it is, as in Optuna.
    fn trial(
        &mut self,
        change: &Change,
        make: impl FnOnce(&mut Trial) -> Result<(), &'static str>,
    ) -> Result<(), String> {
        let number = change.trial_id.and_then(|id| self.numbers.get(id)).ok_or("no such trial")?;
        match number.and_then(|number| self.study.trials.get_mut(number)) {
            Some(trial) if !trial.state.is_over() => make(trial).map_err(str::to_owned),
            _ => Ok(()),
        }
    }
}

/// Whether a line that was cut off may have been a journal's first.
fn may_begin(line: &[u8]) -> bool {
    let begins = [&br#"{"directions":["#[..], br#"{"op_code""#];
    begins.iter().any(|begin| line.starts_with(begin) || begin.starts_with(line))
}

/// `2026-11-22T08:06:05.905400+00:00`, as Python reads it.
fn time(ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second) = at.to_hms();
    let micro = ms.rem_euclid(1_000) * 1_000;
    format!("{}T{hour:02}:{minute:02}:{second:02}.{micro:06}+00:00", at.date())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        goldens,
        train::search::{Space, Tpe},
    };

    const NOW: i64 = 1_795_334_765_905;

    fn open(path: &Path) -> Result<Journal, JournalError> {
        Journal::open(path, "lw", Direction::Maximize, NOW)
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.log");
        (folder, path)
    }

    /// A trial that has been given what it needs and reported once.
    fn begun(journal: &mut Journal) -> usize {
        let space = space();
        let waiting = journal.study().trials.iter().find(|trial| trial.state == State::Waiting);
        let number = match waiting.map(|trial| trial.number) {
            Some(number) => journal.claim(number, NOW).map(|()| number).unwrap(),
            None => journal.begin(NOW).unwrap(),
        };
        for (name, value) in Tpe::new(7).suggest(journal.study(), number, &space) {
            journal.give(number, &name, value, &space[&name]).unwrap();
        }
        journal.report(number, 0, 0.5).unwrap();
        number
    }

    fn space() -> Space {
        Space::from([
            ("act".to_owned(), Distribution::words(["relu", "gelu"])),
            ("hidden".to_owned(), Distribution::int(16, 128, 16)),
            ("lr".to_owned(), Distribution::float(1e-4, 0.1, true)),
        ])
    }

    #[test]
    fn what_was_written_is_read_again() {
        let (_folder, path) = place();
        let mut journal = open(&path).unwrap();
        for (state, value) in [
            (State::Complete, Some(0.75)),
            (State::Pruned, Some(0.5)),
            (State::Fail, Some(0.25)),
            (State::Complete, Some(f64::NAN)),
        ] {
            let number = begun(&mut journal);
            journal.note(number, "n_params", &json!(1280)).unwrap();
            journal.finish(number, state, value, NOW).unwrap();
        }
        journal
            .enqueue(&[("lr".to_owned(), json!(0.003)), ("act".to_owned(), json!("gelu"))].into())
            .unwrap();
        let study = journal.study().clone();
        drop(journal);
        assert_eq!(open(&path).unwrap().study(), &study);
        let states: Vec<State> = study.trials.iter().map(|trial| trial.state).collect();
        assert_eq!(states, [State::Complete, State::Pruned, State::Fail, State::Fail, State::Waiting]);
        let values: Vec<Option<f64>> = study.trials.iter().map(|trial| trial.value).collect();
        assert_eq!(values, [Some(0.75), Some(0.5), None, None, None]);
        let mut journal = open(&path).unwrap();
        let number = begun(&mut journal);
        let outside = journal.study().trials[number].outside();
        assert_eq!((number, &outside["lr"], &outside["act"]), (4, &json!(0.003), &json!("gelu")));
    }

    #[test]
    fn what_was_running_has_failed_and_is_queued_again() {
        let (_folder, path) = place();
        let mut journal = open(&path).unwrap();
        let given = begun(&mut journal);
        let given = journal.study().trials[given].outside();
        drop(journal);
        let mut journal = open(&path).unwrap();
        let states = |journal: &Journal| -> Vec<State> {
            journal.study().trials.iter().map(|trial| trial.state).collect()
        };
        assert_eq!(states(&journal), [State::Fail, State::Waiting]);
        assert_eq!(begun(&mut journal), 1);
        assert_eq!(journal.study().trials[1].outside(), given, "the same once more");
        drop(journal);
        for _ in 2..MOST_TIMES {
            begun(&mut open(&path).unwrap());
        }
        let journal = open(&path).unwrap();
        assert_eq!(states(&journal), [State::Fail; MOST_TIMES], "and not for ever");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""system_attrs":{"failed_trial":0,"fixed_params":{"act":"#), "{text}");
    }

    #[test]
    fn a_study_may_be_cut_off_anywhere() {
        let (_folder, path) = place();
        let mut journal = open(&path).unwrap();
        let number = begun(&mut journal);
        journal.finish(number, State::Complete, Some(0.75), NOW).unwrap();
        begun(&mut journal);
        drop(journal);
        drop(open(&path).unwrap());
        let text = fs::read(&path).unwrap();
        // At the ends of lines, just beside them, and inside.
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(end, _)| end);
        for cut in ends.flat_map(|end| [end - 20, end - 1, end, end + 1]) {
            fs::write(&path, &text[..cut]).unwrap();
            let journal = open(&path).unwrap_or_else(|error| panic!("{cut}: {error}"));
            let study = journal.study().clone();
            assert!(study.trials.iter().all(|trial| trial.state != State::Running), "{cut}");
            let repeats: Vec<u64> = study.trials.iter().filter_map(|trial| trial.repeats).collect();
            assert!(repeats.len() <= 2 && repeats.array_windows().all(|[a, b]| a != b), "{cut}: {repeats:?}");
            drop(journal);
            assert_eq!(open(&path).unwrap().study(), &study, "{cut}");
        }
    }

    #[test]
    fn optunas_own_journal_is_read() {
        let Some(text) = goldens::bytes("captures/optuna/optuna-journal.log") else { return };
        let (_folder, path) = place();
        fs::write(&path, &text).unwrap();
        let mut journal = Journal::open(&path, "retrain-2026-11", Direction::Maximize, NOW).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text, "nothing was running");
        let study = journal.study();
        let count = |state: State| study.trials.iter().filter(|trial| trial.state == state).count();
        let counts = [State::Complete, State::Pruned, State::Fail, State::Running, State::Waiting].map(count);
        assert_eq!((study.trials.len(), counts), (21, [12, 8, 1, 0, 0]));
        let queued = study.trials[20].outside();
        assert_eq!(
            queued,
            [("act", json!("relu")), ("hidden", json!(64)), ("lr", json!(0.003))]
                .map(|(name, value)| (name.to_owned(), value))
                .into()
        );
        assert_eq!(study.trials[0].steps.len(), 6);
        let next = journal.begin(NOW).unwrap();
        let values = Tpe::new(1).suggest(journal.study(), next, &space());
        assert!(next == 21 && values.iter().all(|(name, value)| space()[name].contains(*value)));
    }

    #[test]
    fn a_hand_written_journal_and_other_studies_are_read() {
        let Some(text) = goldens::bytes("captures/optuna/leadwire-journal.log") else { return };
        let (_folder, path) = place();
        fs::write(&path, &text).unwrap();
        let journal = open(&path).unwrap();
        let states: Vec<State> = journal.study().trials.iter().map(|trial| trial.state).collect();
        assert_eq!(states, [State::Complete, State::Pruned]);
        drop(journal);
        let mut other = Journal::open(&path, "other", Direction::Minimize, NOW).unwrap();
        assert_eq!(begun(&mut other), 0);
        other.finish(0, State::Complete, Some(1.0), NOW).unwrap();
        drop(other);
        let journal = open(&path).unwrap();
        assert_eq!((journal.study().trials.len(), journal.study().best().unwrap().number), (2, 0));
    }

    #[test]
    fn lines_that_make_no_sense_are_named() {
        let study = r#"{"op_code":0,"study_name":"lw","directions":[2]}"#;
        let trial = r#"{"op_code":4,"study_id":0}"#;
        let param = |value: &str, distribution: &str| {
            format!(
                r#"{{"op_code":5,"trial_id":0,"param_name":"x","param_value_internal":{value},"distribution":{distribution:?}}}"#
            )
        };
        let zero = r#"{"name":"IntDistribution","attributes":{"log":false,"step":0,"low":0,"high":1}}"#;
        for (lines, expected) in [
            (vec!["a note"], "line 1: expected value"),
            (vec![r#"{"budget":1"#], "line 1: EOF while parsing"),
            (vec!["{}"], "line 1: missing field `op_code`"),
            (vec![study, "x"], "line 2: expected value at line 1 column 1"),
            (vec![study, r#"{"op_code":7,"trial_id":0,"step":1}"#], "line 2: no such trial"),
            (vec![study, trial, r#"{"op_code":7,"trial_id":0}"#], "line 3: no step"),
            (vec![study, trial, r#"{"op_code":6,"trial_id":0,"state":9}"#], "line 3: no such state"),
            (vec![study, trial, &param("1", zero)], "line 3: a distribution without values"),
            (vec![study, trial, &param("1", "{}")], "line 3: missing field `name`"),
            (vec![r#"{"op_code":0,"study_name":"lw","directions":[1,2]}"#], "line 1: not one direction"),
        ] {
            let (_folder, path) = place();
            let text = format!("{}\n{{\"op_code\":99}}\n", lines.join("\n"));
            fs::write(&path, &text).unwrap();
            let error = open(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "it stays as it is");
        }
    }

    #[test]
    fn what_is_no_number_in_python_is_none_here() {
        let (_folder, path) = place();
        let lines = [
            r#"{"op_code":0,"study_name":"lw","directions":[2]}"#,
            r#"{"op_code":4,"study_id":0}"#,
            r#"{"op_code":7,"trial_id":0,"step":3,"intermediate_value":NaN}"#,
            r#"{"op_code":6,"trial_id":0,"state":2,"values":null}"#,
        ];
        fs::write(&path, lines.join("\n")).unwrap();
        let mut journal = open(&path).unwrap();
        let trial = &journal.study().trials[0];
        assert!(trial.steps[&3].is_nan() && trial.value.is_some_and(f64::is_nan));
        let number = journal.begin(NOW).unwrap();
        journal.report(number, 0, f64::INFINITY).unwrap();
        assert!(journal.study().trials[number].steps[&0].is_nan());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""intermediate_value":NaN,"op_code":7"#), "{text}");
    }

    #[test]
    fn only_one_works_on_a_journal_and_only_on_what_runs() {
        let (_folder, path) = place();
        let mut journal = open(&path).unwrap();
        assert!(matches!(open(&path), Err(JournalError::Busy { .. })));
        let number = begun(&mut journal);
        assert!(matches!(journal.claim(number, NOW), Err(JournalError::Trial { number: 0 })));
        assert!(matches!(
            journal.finish(number, State::Waiting, None, NOW),
            Err(JournalError::Trial { number: 0 })
        ));
        journal.finish(number, State::Pruned, None, NOW).unwrap();
        assert_eq!(journal.study().trials[0].value, Some(0.5), "what it reported last");
        assert!(matches!(journal.report(number, 1, 0.5), Err(JournalError::Trial { number: 0 })));
        assert!(matches!(journal.report(7, 1, 0.5), Err(JournalError::Trial { number: 7 })));
        drop(journal);
        let other = Journal::open(&path, "lw", Direction::Minimize, NOW);
        assert!(matches!(other, Err(JournalError::Direction { .. })));
        let folder = path.parent().unwrap();
        assert!(matches!(open(folder), Err(JournalError::Io { .. })));
    }

    #[test]
    fn times_are_pythons() {
        assert_eq!(time(NOW), "2026-11-22T08:06:05.905000+00:00");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999000+00:00");
    }
}
