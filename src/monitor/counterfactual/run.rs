//! The log becomes pairs of scores: as given, and as the version gives them.

use std::{collections::HashSet, io, path::PathBuf, sync::Arc};

use super::{
    options::ReplayOptions,
    report::Replay,
    tally::{Fate, Given, Tally},
    version,
};
use crate::{
    config::Config,
    lead::{Grade, Score, Value},
    leadlog::{Ending, Endings, GivenScore, Scan, Store, StoreError},
    monitor::rescore::{RescoreError, Rescorer},
    registry::{KeyError, Trust, VersionError},
    telemetry::Progress,
};

/// Leads that are scored together.
const CHUNK: usize = 512;

/// Leads in which features are looked for that the log may not hold at all.
const LOOKED_AT: u64 = 1_000;

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The version cannot be read, or would not serve.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A key that signs versions cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A folder cannot be read.
    #[error("cannot read {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such version.
    #[error("no version {what:?} in {}", models.display())]
    Nothing {
        /// The directory of models.
        models: PathBuf,
        /// What was asked for.
        what: String,
    },
    /// More than one model has it.
    #[error("several models have a version {with:?} ({found}): name one with --model")]
    Several {
        /// What was asked for.
        with: String,
        /// The models.
        found: String,
    },
    /// The log tells nothing of the model in that time.
    #[error("the log in {} holds no score of {model:?} in that time", state.display())]
    Empty {
        /// The directory of the log.
        state: PathBuf,
        /// The model.
        model: String,
    },
}

/// Scores the log's leads again and compares. Progress is told on stderr.
pub fn replay(options: &ReplayOptions, config: &Config, now_ms: i64) -> Result<Replay, ReplayError> {
    let trust = Trust::load(&config.model_keys)?;
    let (version, model) = version::find(&config.models, &trust, &options.with, options.model.as_deref())?;
    let store = Store::open_read_only(&config.state)?;
    let horizon_ms = i64::try_from(config.rollout.horizon.as_millis()).unwrap_or(i64::MAX);
    let to_ms = options.until.map_or(now_ms.saturating_add(1), |until| until.ms(now_ms));
    let span = Scan { model: &model, from_ms: options.since.ms(now_ms), to_ms };
    let mut run = Run {
        rescorer: Rescorer::new(Arc::new(version)),
        endings: store.endings(to_ms.saturating_add(horizon_ms).min(now_ms))?,
        horizon_ms,
        now_ms,
        all: options.all,
        seen: HashSet::new(),
        pending: Vec::new(),
        filled: 0,
        looked_at: 0,
        absent: Vec::new(),
        tally: Tally::of(options.movers.into()),
    };
    run.absent = (0..run.rescorer.version().model.features().len()).collect();
    run.read(&store, span, options.json)?;
    if run.tally.read == 0 {
        return Err(ReplayError::Empty { state: config.state.clone(), model });
    }
    let absent = run.absent_names();
    let Run { rescorer, tally, endings, seen, .. } = run;
    // What comes now needs the room.
    drop((endings, seen));
    Ok(Replay { absent, ..Replay::new(&rescorer.version().id, span, (options, horizon_ms), tally) })
}

struct Run {
    rescorer: Rescorer,
    endings: Endings,
    horizon_ms: i64,
    now_ms: i64,
    all: bool,
    /// Leads whose last score has been read.
    seen: HashSet<u64>,
    /// Leads in the batch: the first `filled`.
    pending: Vec<Given>,
    filled: usize,
    looked_at: u64,
    /// Features, by their places in the schema, that no lead has had so far.
    absent: Vec<usize>,
    tally: Tally,
}

impl Run {
    fn read(&mut self, store: &Store, span: Scan<'_>, quiet: bool) -> Result<(), ReplayError> {
        let mut reading = store.reading(span)?;
        let (mut progress, rows) = (Progress::new(quiet), reading.rows());
        while reading.slice(|given| {
            self.take(given);
            Ok::<_, StoreError>(())
        })? {
            let read = rows - reading.left();
            progress.tell(read as f64 / rows.max(1) as f64, || format!("{read} of {rows} rows"));
        }
        self.flush();
        Ok(())
    }

    fn take(&mut self, row: &GivenScore<'_>) {
        self.tally.read += 1;
        let key = row.lead.map(|lead| self.endings.key(lead));
        let ending = key.map_or(Ending::Open, |key| self.endings.after(key, row.time_ms, self.horizon_ms));
        if ending == Ending::Before {
            self.tally.skipped.after += 1;
        } else if !self.all && key.is_none() {
            self.tally.skipped.nameless += 1;
        } else if !self.all && !key.is_some_and(|key| self.seen.insert(key)) {
            self.tally.skipped.earlier += 1;
        } else {
            self.push(row, ending);
        }
    }

    fn push(&mut self, row: &GivenScore<'_>, ending: Ending) {
        let skipped = &mut self.tally.skipped;
        let Some(score) = Score::new(row.score as f32).zip(Grade::parse(row.grade)) else {
            return skipped.unreadable += 1;
        };
        match self.rescorer.push(row.features) {
            Ok(()) => {}
            Err(RescoreError::Features(_)) => return skipped.unreadable += 1,
            Err(RescoreError::Required { .. }) => return skipped.required += 1,
            Err(RescoreError::Withheld { .. }) => return skipped.withheld += 1,
            Err(RescoreError::Score(_)) => return skipped.not_finite += 1,
        }
        self.look_for_absent(row.features);
        if self.filled == self.pending.len() {
            self.pending.push(Given::default());
        }
        let matured = row.time_ms.saturating_add(self.horizon_ms) <= self.now_ms;
        if let Some(given) = self.pending.get_mut(self.filled) {
            given.keep(row, score);
            given.own = row.digest == &*self.rescorer.version().id.digest;
            given.matured = matured;
            (given.fate, given.revenue) = match ending {
                Ending::Known { won: true, revenue } => (Fate::Won, revenue),
                Ending::Known { .. } => (Fate::Lost, None),
                // Nobody who had his time and did not convert is open any more.
                _ if matured => (Fate::Lost, None),
                _ => (Fate::Open, None),
            };
        }
        self.filled += 1;
        if self.filled == CHUNK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Self { rescorer, pending, tally, filled, .. } = self;
        let mut pending = pending.iter().take(*filled);
        rescorer.flush(|scored| match (pending.next(), scored) {
            (Some(given), Ok(scored)) => tally.add(given, &scored),
            _ => tally.skipped.not_finite += 1,
        });
        *filled = 0;
    }

    /// Crosses out what a lead has. A feature that the configuration never had is in no row at all, and a few tell.
    fn look_for_absent(&mut self, features: &str) {
        if self.looked_at == LOOKED_AT || self.absent.is_empty() {
            return;
        }
        self.looked_at += 1;
        if let Ok(row) = self.rescorer.row(features) {
            self.absent.retain(|place| row.values.get(*place).is_none_or(Value::is_missing));
        }
    }

    fn absent_names(&self) -> Vec<String> {
        if self.looked_at == 0 {
            return Vec::new();
        }
        let features = self.rescorer.version().model.features();
        self.absent.iter().filter_map(|place| Some(features.get(*place)?.name.clone())).collect()
    }
}

impl Given {
    fn keep(&mut self, row: &GivenScore<'_>, score: (Score, Grade)) {
        self.lead.clear();
        self.lead.push_str(row.lead.unwrap_or_default());
        self.version.clear();
        self.version.push_str(row.version);
        (self.time_ms, self.score) = (row.time_ms, Some(score));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        lead::{Arm, Outcome},
        leadlog::{Decision, Entry, OutcomeRecord, Packed, ScoreRecord},
        registry::{Version, fixture},
        score::Scratch,
    };

    const DAY: i64 = 86_400_000;

    /// The log's leads are scored on day 0 and later; the horizon is 30 days.
    const NOW: i64 = 100 * DAY;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: ReplayOptions,
    }

    /// A state and models with lead/1, which gave all scores, and lead/2.
    struct Scene {
        root: tempfile::TempDir,
        version: Version,
        entries: Vec<Entry>,
    }

    impl Scene {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let folder = fixture::write(&root.path().join("models"), "lead", "1", 0.5);
            fixture::write(&root.path().join("models"), "lead", "2", -0.25);
            Self { version: Version::load(&folder).unwrap(), root, entries: Vec::new() }
        }

        /// A lead is scored by lead/1, as the sidecar would.
        fn scored(&mut self, day: i64, lead: &str, budget: f64) {
            let values = [Value::Number(budget), Value::Text("web".into()), Value::Text("é\"\\".into())];
            let scored = self.version.model.score(|i| &values[i], &mut Scratch::default()).unwrap();
            let model = Arc::new(self.version.id.clone());
            self.entries.push(Entry::Score(ScoreRecord {
                time_ms: day * DAY,
                route: "r".into(),
                lead: Some(lead).filter(|lead| !lead.is_empty()).map(Into::into),
                arm: Arm::Champion,
                model,
                names: ["budget", "channel", "city"].map(Into::into).into(),
                features: Packed::new(&values),
                score: scored.score,
                grade: scored.grade,
                latency_ns: 1,
                decision: Decision::Recorded,
                exposure: None,
                fell: None,
            }));
        }

        fn ended(&mut self, day: i64, lead: &str, won: bool, revenue: Option<f64>) {
            let outcome = Outcome { revenue, ..Outcome::new(lead, won) };
            self.entries.push(Entry::Outcome(OutcomeRecord {
                time_ms: day * DAY,
                route: "r".into(),
                outcome,
            }));
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        /// Writes what there is to write, and replays it.
        fn replay(&mut self, arguments: &str) -> Result<Replay, ReplayError> {
            let state = self.path("state");
            let mut store = Store::open(&state).unwrap();
            store.write(&std::mem::take(&mut self.entries)).unwrap();
            let yaml = format!(
                "upstream: http://127.0.0.1:1\nmodels: {}\nstate: {}\nrollout: {{horizon: 30d}}\n",
                self.path("models").display(),
                state.display()
            );
            let config = Config::parse(&yaml, &|_| None).unwrap();
            let since = if arguments.contains("--since") { "" } else { " --since 1970-01-01" };
            let line = format!("replay --json {arguments}{since}");
            let options = Line::try_parse_from(line.split(' ')).unwrap().options;
            replay(&options, &config, NOW)
        }
    }

    #[test]
    fn a_version_replayed_against_its_own_scores_changes_nothing() {
        let mut scene = Scene::new();
        for n in 0..1_500 {
            scene.scored(n / 20, &format!("lead {n}"), f64::from(n as i32).mul_add(0.017, -3.3));
        }
        let replay = scene.replay("--with 1").unwrap();
        assert_eq!((replay.leads, replay.own, replay.own_same), (1_500, 1_500, 1_500));
        assert_eq!((replay.changed_scores, replay.changed_grades, replay.movers.len()), (0, 0, 0));
        assert_eq!((replay.mean_distance, replay.expected[0]), (0.0, replay.expected[1]));
        assert_eq!(replay.skipped, super::super::Skipped::default());
        let grades: u64 = replay.grade_changes.as_flattened().iter().sum();
        let diagonal: u64 = (0..4).map(|i| replay.grade_changes[i][i]).sum();
        assert_eq!((grades, diagonal), (1_500, 1_500));
        assert!(
            replay
                .to_string()
                .contains("1,500 scores were given by lead/1 itself: 1,500 come out the same to the bit")
        );
        let other = scene.replay("--with 2").unwrap();
        assert_eq!((other.own, other.leads), (0, 1_500));
        assert!(other.changed_scores > 1_000 && other.changed_grades > 100 && other.movers.len() == 10);
    }

    #[test]
    fn of_each_lead_the_last_score_before_its_end_counts() {
        let mut scene = Scene::new();
        for (day, lead, budget) in
            [(1, "a", 1.0), (2, "a", 2.0), (3, "", 3.0), (5, "a", 4.0), (6, "b", 5.0), (90, "c", 6.0)]
        {
            scene.scored(day, lead, budget);
        }
        scene.ended(4, "a", true, Some(500.0));
        scene.ended(95, "c", false, None);
        let check = |replay: &Replay, [leads, after, earlier, nameless]: [u64; 4]| {
            let skipped = replay.skipped;
            assert_eq!(
                [replay.leads, skipped.after, skipped.earlier, skipped.nameless],
                [leads, after, earlier, nameless]
            );
            assert_eq!(replay.scores, leads + after + earlier + nameless);
        };
        let last = scene.replay("--with 2").unwrap();
        check(&last, [3, 1, 1, 1]);
        assert!(last.movers.iter().any(|mover| mover.lead == "a" && mover.time_ms == 2 * DAY));
        // b had its time and did not convert, c was lost before its time.
        assert_eq!(
            (last.matured.leads, last.matured.won, last.provisional.leads, last.provisional.won),
            (2, 1, 1, 0)
        );
        let revenue = last.revenue.unwrap();
        assert_eq!((revenue.deals, revenue.mean, revenue.expected[1]), (1, 500.0, last.expected[1] * 500.0));
        let all = scene.replay("--with 2 --all").unwrap();
        check(&all, [5, 1, 0, 0]);
        let some = scene.replay("--with 2 --until 1970-01-03").unwrap();
        check(&some, [1, 0, 0, 0]);
        assert_eq!(some.movers[0].time_ms, DAY);
    }

    #[test]
    fn what_cannot_be_scored_is_counted_by_its_reason() {
        let mut scene = Scene::new();
        (0..7).for_each(|n| scene.scored(n, &n.to_string(), 3.0));
        scene.replay("--with 1").unwrap();
        let edit = "UPDATE scores SET features = '{\"channel\":\"web\"}' WHERE lead = '0';
            UPDATE scores SET features = '[' WHERE lead = '1';
            UPDATE scores SET grade = 'E' WHERE lead = '2';
            UPDATE scores SET features = '{\"budget\":3.0,\"channel\":null}' WHERE lead = '4';
            UPDATE scores SET features = '{\"budget\":\"hash:0123456789abcdef\"}' WHERE lead = '5';
            UPDATE scores SET features = '{\"budget\":1e300}' WHERE lead = '3'";
        let log = scene.path("state").join(Store::FILE);
        rusqlite::Connection::open(log).unwrap().execute_batch(edit).unwrap();
        let replay = scene.replay("--with 1").unwrap();
        let skipped = replay.skipped;
        assert_eq!(
            (skipped.required, skipped.unreadable, skipped.not_finite, skipped.withheld),
            (1, 2, 1, 2)
        );
        assert_eq!(replay.leads, 1);
        let text = replay.to_string();
        assert!(text.contains("left out: 2 scores cannot be read any more\n"), "{text}");
        assert!(text.contains("left out: 1 scores lack a feature that the version requires\n"), "{text}");
    }

    #[test]
    fn a_feature_that_no_lead_has_is_named() {
        let mut scene = Scene::new();
        scene.scored(0, "a", 3.0);
        assert_eq!(scene.replay("--with 1").unwrap().absent, [] as [&str; 0]);
        let log = scene.path("state").join(Store::FILE);
        let edit = "UPDATE scores SET features = '{\"budget\":3.0}'";
        rusqlite::Connection::open(log).unwrap().execute_batch(edit).unwrap();
        let replay = scene.replay("--with 1").unwrap();
        assert_eq!(replay.absent, ["channel"]);
        assert!(replay.to_string().contains("no lead has channel: lead/1 reads that as missing\n"));
    }

    #[test]
    fn a_replay_of_nothing_says_so() {
        let mut scene = Scene::new();
        let error = scene.replay("--with 1").unwrap_err().to_string();
        assert!(error.ends_with("holds no score of \"lead\" in that time"), "{error}");
        scene.scored(3, "a", 3.0);
        assert!(matches!(scene.replay("--with 1 --since 1970-01-05"), Err(ReplayError::Empty { .. })));
        assert!(matches!(scene.replay("--with 7"), Err(ReplayError::Nothing { .. })));
    }

    #[test]
    fn a_page_keeps_hostile_ids_as_text() {
        let mut scene = Scene::new();
        scene.scored(3, "<script>\u{1b}[2J", 3.0);
        let replay = scene.replay("--with 2").unwrap();
        let html = replay.html();
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script") && html.contains("<svg"));
        assert!(!replay.to_string().contains('\u{1b}'));
    }
}
