//! The search: a family's recipes are tried in batches, those that do worse than most are ended early, and the best is kept.
//!
//! What a trial is given and when it is ended depends on the batches before it only, so neither the number of threads nor
//! their luck changes anything; a search that was cut off and goes on from its journal finds what an unbroken one finds.
//! The family's own recipe is tried first. A trial that breaks has failed, and the search goes on.

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value as Json;

use super::{
    Epoch, Progress, TrainError,
    family::{Family, Forms, Tried},
    input::now_ms,
    search::{Journal, MedianPruner, Param, State, Study, Tpe, Trial},
};
use crate::registry::Search;

/// Trials that know nothing of each other. Not the number of cores: what is found must not depend on the machine.
const BATCH: usize = 4;

/// A search ends after so many trials in a row that brought nothing better.
const PATIENCE: usize = 20;

/// How long settings are searched for.
#[derive(Clone, Debug, Default, Args)]
pub struct SearchOptions {
    /// Settings to try for each kind; 0 fits it once, as it is. 0 for `train` and 50 for `retrain` without it.
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1000))]
    pub trials: Option<usize>,
    /// After so long, such as 30m, no more are tried than the first four of each kind. What is found then depends on the machine.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub within: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, &'static str> {
    crate::config::time(text).filter(|time| !time.is_zero()).ok_or("expected 90s, 30m or 2h")
}

/// `rate 0.0148, leaves 31`
pub(super) fn settings(settings: &BTreeMap<String, Json>) -> String {
    let one = |(name, value): (&String, &Json)| match value.as_f64() {
        Some(number) if value.is_f64() => format!("{name} {number:.4}"),
        _ => format!("{name} {value}"),
    };
    settings.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A trial is over, as it is reported.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    /// The family whose recipes are tried.
    pub network: &'static str,
    /// Its trials that are over.
    pub done: usize,
    /// Of so many at the most.
    pub trials: usize,
    /// What it came to; `None` where it failed.
    pub auc: Option<f64>,
    /// It was ended early.
    pub pruned: bool,
    /// The family's best validation AUC so far.
    pub best: Option<f64>,
}

/// What is searched.
pub(super) struct Plan<'p> {
    pub(super) forms: &'p Forms<'p>,
    pub(super) family: Family,
    pub(super) seed: u64,
    /// At most so many.
    pub(super) trials: usize,
    /// When there are no more batches than the first.
    pub(super) until: Option<Instant>,
    /// Changes how long it takes, and nothing else.
    pub(super) threads: usize,
}

/// What came of it.
pub(super) struct Found {
    pub(super) best: Tried,
    pub(super) search: Search,
}

/// One trial that is to be run.
struct Attempt {
    /// Its number in the journal.
    number: usize,
    /// Its place among all trials, which is its number unless a search was cut off.
    place: usize,
    values: Vec<(String, f64)>,
}

/// What a thread tells.
enum Told {
    Step { number: usize, epoch: Epoch },
    End { attempt: usize, end: End },
}

enum End {
    Complete(Tried),
    Pruned,
    Failed(TrainError),
}

/// What is known while trials run.
struct Running<'r> {
    journal: &'r mut Journal,
    progress: &'r mut dyn FnMut(Progress<'_>),
    plan: &'r Plan<'r>,
    done: usize,
    /// The best that was fitted in this process, and its place.
    best: Option<(usize, Tried)>,
    /// Why the last trial that failed did.
    failure: Option<TrainError>,
}

impl Plan<'_> {
    /// Searches, or goes on with the journal's search.
    pub(super) fn search(
        &self,
        journal: &mut Journal,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Found, TrainError> {
        if journal.study().trials.is_empty() {
            journal.enqueue(&self.family.settings())?;
        }
        let done = journal.study().unbroken().0.trials.iter().filter(|trial| trial.state.is_over()).count();
        let mut running = Running { journal, progress, plan: self, done, best: None, failure: None };
        for first in (0..self.trials).step_by(BATCH) {
            let is_late = first > 0 && self.until.is_some_and(|until| Instant::now() >= until);
            let before = history(running.journal.study(), first);
            if is_late || before.since_best() >= PATIENCE {
                break;
            }
            let attempts = self.attempts(first..self.trials.min(first + BATCH), &before, running.journal)?;
            self.run(&attempts, &before, &mut running)?;
        }
        self.found(running)
    }

    /// The trials of a batch that are not over, each with what it is given.
    fn attempts(
        &self,
        batch: Range<usize>,
        before: &Study,
        journal: &mut Journal,
    ) -> Result<Vec<Attempt>, TrainError> {
        let (study, numbers) = journal.study().unbroken();
        let space = self.family.space();
        // Those of the batch stand beside them as running, also where they are over.
        let mut seen = before.clone();
        let mut attempts = Vec::new();
        for place in batch {
            let known = study.trials.get(place);
            let fixed = known.map(|trial| trial.fixed.clone()).unwrap_or_default();
            seen.trials.push(Trial { fixed, ..Trial::new(place, State::Running) });
            let values = Tpe::new(self.seed).suggest(&seen, place, &space);
            if let Some(trial) = seen.trials.last_mut() {
                let param = |(name, value): &(String, f64)| {
                    Some((name.clone(), Param { value: *value, distribution: space.get(name)?.clone() }))
                };
                trial.params = values.iter().filter_map(param).collect();
            }
            let number = match (known, numbers.get(place)) {
                (Some(trial), _) if trial.state.is_over() => continue,
                (Some(_), Some(number)) => {
                    journal.claim(*number, now_ms())?;
                    *number
                }
                _ => journal.begin(now_ms())?,
            };
            for (name, value) in &values {
                if let Some(distribution) = space.get(name) {
                    journal.give(number, name, *value, distribution)?;
                }
            }
            attempts.push(Attempt { number, place, values });
        }
        Ok(attempts)
    }

    /// Runs a batch.
    fn run(&self, attempts: &[Attempt], before: &Study, running: &mut Running<'_>) -> Result<(), TrainError> {
        let (next, stops) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, attempts.len().max(1)) {
                let (tell, next, stops) = (tell.clone(), &next, &stops);
                scope.spawn(move || {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(attempt) = attempts.get(at).filter(|_| !stops.load(Ordering::Relaxed))
                        else {
                            break;
                        };
                        let end = self.attempt(attempt, before, stops, &tell);
                        // Nobody listens any more once something is wrong with the journal.
                        _ = tell.send(Told::End { attempt: at, end });
                    }
                });
            }
            drop(tell);
            let heard = told.into_iter().try_for_each(|told| running.hear(told, attempts));
            stops.store(true, Ordering::Relaxed);
            heard
        })
    }

    fn attempt(&self, attempt: &Attempt, before: &Study, stops: &AtomicBool, tell: &Sender<Told>) -> End {
        let Attempt { number, place, values } = attempt;
        let (recipe, seed) = (self.family.varied(values), Tpe::new(self.seed).seed_of(*place));
        let (mut own, mut pruned) = (Trial::new(*place, State::Running), false);
        let fitted = catch_unwind(AssertUnwindSafe(|| {
            self.forms.fit(&recipe, seed, &mut |epoch| {
                own.steps.insert(epoch.epoch as u64, epoch.auc);
                pruned = MedianPruner::default().prunes(before, &own);
                let goes_on = tell.send(Told::Step { number: *number, epoch }).is_ok();
                match pruned || !goes_on || stops.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })
        }));
        match fitted {
            Ok(Ok(_)) if pruned => End::Pruned,
            Ok(Ok(tried)) => End::Complete(tried),
            Ok(Err(error)) => End::Failed(error),
            Err(panic) => {
                let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
                let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                End::Failed(TrainError::Fit(format!("a trial panicked: {said}")))
            }
        }
    }

    /// The best trial's model: what was fitted just now, or the same once more where a process before fitted it.
    fn found(&self, running: Running<'_>) -> Result<Found, TrainError> {
        let (study, _) = running.journal.study().unbroken();
        let nothing = || TrainError::Fit("every trial failed".into());
        let Some(best) = study.best() else { return Err(running.failure.unwrap_or_else(nothing)) };
        let tried = match running.best {
            Some((place, tried)) if place == best.number => tried,
            _ => {
                let values: Vec<(String, f64)> =
                    best.params.iter().map(|(name, param)| (name.clone(), param.value)).collect();
                let seed = Tpe::new(self.seed).seed_of(best.number);
                let tried =
                    self.forms.fit(&self.family.varied(&values), seed, &mut |_| ControlFlow::Continue(()))?;
                if best.value != Some(tried.candidate.auc) {
                    return Err(TrainError::Changed { study: study.name.clone(), trial: best.number });
                }
                tried
            }
        };
        let count = |state: State| study.trials.iter().filter(|trial| trial.state == state).count();
        let space = self.family.space().into_iter();
        let space = space.filter_map(|(name, values)| Some((name, serde_json::to_value(values).ok()?)));
        let trials = study.trials.iter().filter(|trial| trial.state.is_over()).count();
        let search = Search {
            study: study.name.clone(),
            compared: trials,
            trials,
            complete: count(State::Complete),
            pruned: count(State::Pruned),
            best: best.number,
            settings: best.outside(),
            space: space.collect(),
        };
        Ok(Found { best: tried, search })
    }
}

/// What a batch that begins at a place learns from.
fn history(study: &Study, first: usize) -> Study {
    let (mut study, _) = study.unbroken();
    study.trials.truncate(first);
    study
}

impl Running<'_> {
    fn hear(&mut self, told: Told, attempts: &[Attempt]) -> Result<(), TrainError> {
        match told {
            Told::Step { number, epoch } => {
                self.journal.report(number, epoch.epoch as u64, epoch.auc)?;
                Ok(())
            }
            Told::End { attempt, end } => match attempts.get(attempt) {
                Some(attempt) => self.end(attempt, end),
                None => Ok(()),
            },
        }
    }

    fn end(&mut self, attempt: &Attempt, end: End) -> Result<(), TrainError> {
        let Attempt { number, place, .. } = attempt;
        let (state, auc) = match &end {
            End::Complete(Tried { candidate, .. }) => {
                // The best round is not always one that was told of.
                self.journal.report(*number, candidate.epoch as u64, candidate.auc)?;
                (State::Complete, Some(candidate.auc))
            }
            End::Pruned => (State::Pruned, None),
            End::Failed(error) => {
                self.journal.note(*number, "why", &error.to_string().into())?;
                (State::Fail, None)
            }
        };
        self.journal.finish(*number, state, auc, now_ms())?;
        match end {
            End::Complete(tried) if self.is_best(*place, &tried) => self.best = Some((*place, tried)),
            End::Failed(error) => self.failure = Some(error),
            _ => {}
        }
        self.done += 1;
        let trial = self.journal.study().trials.get(*number);
        let told = trial.and_then(|trial| auc.or(trial.steps.last_key_value().map(|(_, value)| *value)));
        let best = self.journal.study().best().and_then(|best| best.value);
        (self.progress)(Progress::Trial(Sought {
            network: self.plan.family.name(),
            done: self.done,
            trials: self.plan.trials,
            auc: told.filter(|_| state != State::Fail),
            pruned: state == State::Pruned,
            best,
        }));
        Ok(())
    }

    /// Of equal ones the first, whichever ended first.
    fn is_best(&self, place: usize, tried: &Tried) -> bool {
        self.best.as_ref().is_none_or(|(known, best)| {
            tried.candidate.auc > best.candidate.auc
                || (tried.candidate.auc == best.candidate.auc && place < *known)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write, fs, path::Path};

    use clap::Parser;

    use super::*;
    use crate::{
        stats::SplitMix,
        train::{
            ColumnOptions, InputOptions, KindChoice,
            input::{self, Prepared},
            search::Direction,
        },
    };

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        input: InputOptions,
    }

    /// Leads that convert for three reasons, and often for none.
    fn prepared() -> Prepared {
        let (folder, mut random) = (tempfile::tempdir().unwrap(), SplitMix::new(5));
        let mut csv = "budget,size,channel,won\n".to_owned();
        for _ in 0..1_200 {
            let (budget, size, channel) = (random.unit(), random.unit(), random.below(4));
            let logit =
                3.0 * (budget - 0.5) + 4.0 * (size - 0.5) * (budget - 0.5) + [0.0, 1.0, -1.0, 0.5][channel];
            let won = u8::from(random.unit() < 1.0 / (1.0 + (-logit).exp()));
            let size = if random.below(9) == 0 { String::new() } else { size.to_string() };
            writeln!(csv, "{budget},{size},c{channel},{won}").unwrap();
        }
        let file = folder.path().join("leads.csv");
        fs::write(&file, csv).unwrap();
        let file = file.display().to_string();
        let line = Line::parse_from(["train", "--data", &file, "--target", "won"]);
        input::prepare(&line.input, 7, ("lead", NOW)).unwrap()
    }

    const NOW: i64 = 1_795_334_765_905;

    fn journal(path: &Path) -> Journal {
        Journal::open(path, "lead", Direction::Maximize, NOW).unwrap()
    }

    fn search(
        family: Family,
        (trials, threads): (usize, usize),
        path: &Path,
    ) -> Result<(Found, Vec<Sought>), TrainError> {
        let rows = prepared();
        let forms = Forms::new(&[family], &ColumnOptions::default(), [&rows.train, &rows.valid]).unwrap();
        let plan = Plan { forms: &forms, family, seed: 7, trials, until: None, threads };
        let mut told = Vec::new();
        let mut hear = |progress: Progress<'_>| match progress {
            Progress::Trial(sought) => told.push(sought),
            other => panic!("{other:?}"),
        };
        let found = plan.search(&mut journal(path), &mut hear)?;
        Ok((found, told))
    }

    /// What each trial was given, and what it came to.
    type Trials = Vec<(State, BTreeMap<String, Json>, Option<f64>)>;

    fn trials(path: &Path) -> Trials {
        let study = journal(path).study().unbroken().0;
        study.trials.iter().map(|trial| (trial.state, trial.outside(), trial.value)).collect()
    }

    #[test]
    fn threads_change_nothing_and_neither_does_being_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (serial, told) = search(Family::Trees, (14, 1), &path("serial")).unwrap();
        let (parallel, _) = search(Family::Trees, (14, 4), &path("parallel")).unwrap();
        let unbroken = trials(&path("serial"));
        assert_eq!(unbroken, trials(&path("parallel")));
        assert_eq!((told.len(), told.last().map(|told| told.done)), (14, Some(14)));
        assert!(serial.best.bytes == parallel.best.bytes && serial.search == parallel.search);
        assert!(serial.search.pruned > 0 && serial.search.complete > 5, "{:?}", serial.search);
        let text = fs::read(path("parallel")).unwrap();
        let ends: Vec<usize> =
            text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(end, _)| end + 1).collect();
        for cut in ends.iter().step_by(ends.len() / 7).flat_map(|end| [*end, end - 9]) {
            fs::write(path("cut"), &text[..cut]).unwrap();
            let (resumed, _) = search(Family::Trees, (14, 2), &path("cut")).unwrap();
            assert_eq!(trials(&path("cut")), unbroken, "cut at {cut}");
            assert!(
                resumed.best.bytes == serial.best.bytes && resumed.search == serial.search,
                "cut at {cut}"
            );
        }
        // All of it is there: nothing is run but the best one, once more.
        let (again, told) = search(Family::Trees, (14, 2), &path("serial")).unwrap();
        assert!(again.best.bytes == serial.best.bytes && told.is_empty());
        let (longer, told) = search(Family::Trees, (16, 2), &path("serial")).unwrap();
        assert_eq!((longer.search.trials, told.len()), (16, 2), "and it goes on from there");
    }

    #[test]
    fn networks_are_the_same_on_any_number_of_threads() {
        let folder = tempfile::tempdir().unwrap();
        let [one, four] = [1, 4].map(|threads| {
            let path = folder.path().join(threads.to_string());
            (search(Family::Mlp, (5, threads), &path).unwrap().0, trials(&path))
        });
        assert_eq!(one.1, four.1);
        assert!(one.0.best.bytes == four.0.best.bytes);
    }

    #[test]
    fn a_study_of_another_program_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.log");
        search(Family::Linear, (2, 1), &path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let best = journal(&path).study().best().unwrap().clone();
        let auc = best.value.unwrap();
        fs::write(&path, text.replace(&format!("[{auc}]"), &format!("[{}]", auc + 0.001))).unwrap();
        let Err(error) = search(Family::Linear, (2, 1), &path) else { panic!("another AUC") };
        assert!(error.to_string().starts_with("study lead: trial "), "{error}");
    }

    #[test]
    fn every_family_begins_with_its_own_recipe() {
        let folder = tempfile::tempdir().unwrap();
        for family in KindChoice::Best.families() {
            let path = folder.path().join(family.name());
            let (found, told) = search(*family, (2, 2), &path).unwrap();
            let tried = trials(&path);
            assert_eq!((tried[0].0, &tried[0].1), (State::Complete, &family.settings()));
            assert_ne!(tried[1].1, family.settings());
            let best = tried.iter().filter_map(|(_, _, value)| *value).fold(0.0, f64::max);
            assert_eq!((found.best.candidate.auc, &*found.best.candidate.network), (best, family.name()));
            assert_eq!(told.last().map(|told| (told.network, told.best)), Some((family.name(), Some(best))));
        }
    }

    #[test]
    fn when_it_is_late_there_is_one_batch() {
        let (folder, rows) = (tempfile::tempdir().unwrap(), prepared());
        let family = Family::Linear;
        let forms = Forms::new(&[family], &ColumnOptions::default(), [&rows.train, &rows.valid]).unwrap();
        let plan =
            Plan { forms: &forms, family, seed: 7, trials: 50, until: Some(Instant::now()), threads: 2 };
        let found = plan.search(&mut journal(&folder.path().join("study.log")), &mut |_| {}).unwrap();
        assert_eq!(found.search.trials, BATCH);
    }

    #[test]
    fn a_search_that_brings_nothing_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.log");
        let auc = search(Family::Linear, (1, 1), &path).unwrap().0.best.candidate.auc;
        // Nothing is better than the first: all others are told to be worse.
        let (mut study, own, space) = (journal(&path), Family::Linear.settings(), Family::Linear.space());
        for number in 1..24 {
            study.enqueue(&own).unwrap();
            study.claim(number, NOW).unwrap();
            for (name, values) in &space {
                study.give(number, name, values.internal(&own[name]).unwrap(), values).unwrap();
            }
            study.finish(number, State::Complete, Some(auc - number as f64 / 1e3), NOW).unwrap();
        }
        drop(study);
        let (found, told) = search(Family::Linear, (100, 2), &path).unwrap();
        assert_eq!((found.search.trials, found.search.best, told.len()), (24, 0, 0));
    }

    #[test]
    fn a_trial_that_breaks_has_failed_and_the_search_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.log");
        let (rows, columns) = (prepared(), ColumnOptions::default());
        let plan =
            |forms, trials| Plan { forms, family: Family::Linear, seed: 7, trials, until: None, threads: 2 };
        // Leads in the form of trees only: everything else breaks.
        let trees = Forms::new(&[Family::Trees], &columns, [&rows.train, &rows.valid]).unwrap();
        let mut told = Vec::new();
        let mut hear = |progress: Progress<'_>| told.push(format!("{progress:?}"));
        let Err(error) = plan(&trees, 3).search(&mut journal(&path), &mut hear) else { panic!("all fail") };
        assert_eq!(error.to_string(), "fitting: the leads are not there in this form");
        assert!(told.iter().all(|told| told.contains("auc: None")) && told.len() == 3, "{told:?}");
        let linear = Forms::new(&[Family::Linear], &columns, [&rows.train, &rows.valid]).unwrap();
        let Ok(found) = plan(&linear, 4).search(&mut journal(&path), &mut |_| {}) else {
            panic!("one does not")
        };
        assert_eq!((found.search.trials, found.search.complete, found.search.best), (4, 1, 3));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""user_attr":{"why":"fitting: the leads are not there in this form"}"#));
    }

    #[test]
    fn settings_are_told_in_a_line() {
        let told = settings(&Family::Trees.settings());
        assert_eq!(told, "features 0.5000, l2 1.0000, least_rows 20, leaves 15, rate 0.0500, rows 0.8000");
    }

    #[test]
    fn times_are_read() {
        for (text, expected) in [("90s", Some(90)), ("30m", Some(1800)), ("0s", None), ("soon", None)] {
            assert_eq!(time(text).ok().map(|time| time.as_secs()), expected, "{text}");
        }
    }
}
