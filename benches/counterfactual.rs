//! Counterfactual: what it costs to score a log of a million leads again, reading included.
//!
//! `cargo bench --bench counterfactual -- --leads 1000000`
//!
//! The leads are those of the replay, over and over, each time under other ids; the two versions are LightGBM's. Both replay the
//! log in a process of their own: the one that gave the scores must change none of them. Exits with 1 where it does, where a
//! million leads take ten seconds of processor time or more, or where the process grows past 250 MB. `--keep DIR` leaves the log
//! and the models in that directory for a look with `leadwire replay -c DIR/leadwire.yaml`. Without the reference data there is
//! nothing to measure.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that cannot be set up has failed")]

#[path = "../tests/it/goldens.rs"]
mod goldens;

use std::{
    fmt::Write,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use leadwire::{
    config::Config,
    lead::{Arm, ModelId, Outcome, Score, Value},
    leadlog::{Decision, Entry, OutcomeRecord, Packed, ScoreRecord, Store},
    monitor::{self, Replay, ReplayOptions},
    registry::Version,
    score::{Scored, Scratch},
    telemetry::now_ms,
};
use serde_json::{Value as Json, json};

/// Most processor time for a million leads, and most memory.
const LIMIT: Duration = Duration::from_secs(10);
const MEMORY_MB: u64 = 250;

/// Entries that are written together.
const BATCH: usize = 4_096;

#[derive(Debug, Parser)]
struct Options {
    /// Leads in the log.
    #[arg(long, default_value_t = 1_000_000)]
    leads: usize,
    /// Where to leave the log.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Replay a log that is there with this version, and tell what that took.
    #[arg(long, hide = true, requires = "keep")]
    with: Option<String>,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    if let (Some(with), Some(folder)) = (&options.with, &options.keep) {
        return measured(folder, with);
    }
    let Some(events) = events() else { return };
    let beside = tempfile::tempdir().unwrap();
    let folder = options.keep.clone().unwrap_or_else(|| beside.path().to_owned());
    fs::create_dir_all(&folder).unwrap();
    let started = Instant::now();
    let leads = set_up(&folder, &events, options.leads);
    println!("{leads} leads written in {:.1?}", started.elapsed());
    let mut is_fine = true;
    for with in ["1", "2"] {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--with", with, "--keep"]).arg(&folder).output().unwrap();
        let told: Json = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| Json::from(String::from_utf8_lossy(&output.stderr)));
        println!("lead/{with}: {told}");
        let (Some(cpu), Some(memory)) = (told["cpu_seconds"].as_f64(), told["peak_mb"].as_u64()) else {
            std::process::exit(1);
        };
        is_fine &= cpu < LIMIT.as_secs_f64() * (leads as f64 / 1e6).max(0.1) && memory < MEMORY_MB;
        is_fine &= with != "1" || told["changed"] == json!([0, 0]) && told["own_same"] == told["leads"];
    }
    std::process::exit(i32::from(!is_fine));
}

/// Replays a log, and prints what that took.
fn measured(folder: &Path, with: &str) {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: ReplayOptions,
    }
    let line = ["replay", "--with", with, "--since", "1970-01-01", "--json"];
    let config = Config::load(&folder.join("leadwire.yaml")).unwrap();
    let (started, before) = (Instant::now(), cpu_time());
    let replay: Replay = monitor::replay(&Line::parse_from(line).options, &config, now_ms()).unwrap();
    let (elapsed, cpu) = (started.elapsed(), cpu_time() - before);
    let told = json!({
        "leads": replay.leads, "changed": [replay.changed_scores, replay.changed_grades], "own_same": replay.own_same,
        "cpu_seconds": cpu.as_secs_f64(), "seconds": elapsed.as_secs_f64(), "peak_mb": peak_mb(),
    });
    println!("{told}");
}

/// Of all threads of this process, so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

/// The most memory that this process ever had; 0 where the system does not tell.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// The replay's events.
fn events() -> Option<Vec<Json>> {
    let path = goldens::path("replay/events.jsonl.gz")?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A configuration, two versions, and a log of so many leads and what became of them.
fn set_up(folder: &Path, events: &[Json], leads: usize) -> usize {
    let (models, state) = (folder.join("models"), folder.join("state"));
    let yaml = format!(
        "upstream: http://127.0.0.1:1\nmodels: {}\nstate: {}\nrollout: {{horizon: 90d}}\n",
        models.display(),
        state.display()
    );
    fs::write(folder.join("leadwire.yaml"), yaml).unwrap();
    import(folder, events, "lgb_bank_cat.txt");
    import(folder, events, "lgb_static_w12.txt");
    let log = Log::new(&Version::load(&models.join("lead/1")).unwrap(), events, leads);
    log.write(&mut Store::open(&state).unwrap(), events);
    log.copies * log.created
}

/// The names of the columns, in the models' order, and the words of those that are categories.
fn columns() -> Vec<(String, Json)> {
    let bank = goldens::json("goldens/encoders.json").unwrap()["bank"].take();
    let names = bank["features"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    names.map(|name| (name.replace('.', "_"), bank["categorical_vocab"][name].clone())).collect()
}

/// Makes a version of a model whose columns have no names, with the first of the replay's leads for a sample.
fn import(folder: &Path, events: &[Json], model: &str) {
    let columns = columns();
    let feature = |(name, words): &(String, Json)| match words {
        Json::Null => json!({"name": name, "type": "number"}),
        words => json!({"name": name, "type": "category", "vocabulary": words}),
    };
    let features: Vec<Json> = columns.iter().map(feature).collect();
    fs::write(folder.join("schema.json"), json!({"features": features}).to_string()).unwrap();
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut sample = names.join(",");
    for event in events.iter().filter(|event| event["type"] == "lead.created").take(4_000) {
        let cell = |name: &&str| event["body"][format!("{name}__c")].to_string().replace('"', "");
        write!(sample, "\n{}", names.iter().map(cell).collect::<Vec<_>>().join(",")).unwrap();
    }
    fs::write(folder.join("sample.csv"), sample).unwrap();
    let text = fs::read_to_string(goldens::path(&format!("goldens/models/{model}")).unwrap()).unwrap();
    let line = |line: &str| match line.strip_prefix("feature_names=") {
        Some(_) => format!("feature_names={}\n", names.join(" ")),
        None => format!("{line}\n"),
    };
    fs::write(folder.join(model), text.lines().map(line).collect::<String>()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadwire"));
    command.arg("import").arg(folder.join(model)).arg("--sample").arg(folder.join("sample.csv"));
    command.arg("--schema").arg(folder.join("schema.json")).arg("--out").arg(folder.join("models/lead"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is written, over and over.
struct Log {
    id: Arc<ModelId>,
    names: Arc<[Arc<str>]>,
    /// For each event that is a lead its features, and its score.
    scored: Vec<Option<(Packed, Scored)>>,
    created: usize,
    copies: usize,
    /// Brings the last lead to an hour ago.
    shift_ms: i64,
}

impl Log {
    fn new(version: &Version, events: &[Json], leads: usize) -> Self {
        let features = version.model.features();
        let mut scratch = Scratch::default();
        let mut score = |event: &Json| {
            let value = |name: &str| match &event["body"][format!("{name}__c")] {
                Json::Number(number) => Value::Number(number.as_f64().unwrap()),
                Json::String(word) => Value::Text(word.clone().into()),
                _ => Value::Missing,
            };
            let values: Vec<Value<'_>> = features.iter().map(|feature| value(&feature.name)).collect();
            let scored = version.model.score(|i| &values[i], &mut scratch).unwrap();
            (Packed::new(&values), scored)
        };
        let is_lead = |event: &&Json| event["type"] == "lead.created";
        let created = events.iter().filter(is_lead).count();
        let last = events.iter().rfind(is_lead).unwrap();
        Self {
            id: Arc::new(version.id.clone()),
            names: features.iter().map(|feature| Arc::from(feature.name.as_str())).collect(),
            scored: events.iter().map(|event| is_lead(&event).then(|| score(event))).collect(),
            created,
            copies: leads.div_ceil(created),
            shift_ms: now_ms() - 3_600_000 - passed_ms(last),
        }
    }

    fn write(&self, store: &mut Store, events: &[Json]) {
        let mut batch = Vec::with_capacity(BATCH);
        let now_ms = now_ms();
        for (event, scored) in events.iter().zip(&self.scored) {
            let time_ms = passed_ms(event) + self.shift_ms;
            if time_ms > now_ms {
                continue;
            }
            for copy in 0..self.copies {
                let lead = event["lead_id"].as_str().unwrap().replace("00Q8d", &format!("00Q{copy:02x}"));
                batch.push(match scored {
                    Some(scored) => self.score(time_ms, &lead, scored),
                    None => self.outcome(time_ms, &lead, event),
                });
                if batch.len() == BATCH {
                    store.write(&batch).unwrap();
                    batch.clear();
                }
            }
        }
        store.write(&batch).unwrap();
    }

    fn score(&self, time_ms: i64, lead: &str, (features, scored): &(Packed, Scored)) -> Entry {
        Entry::Score(ScoreRecord {
            time_ms,
            route: "lead.create".into(),
            lead: Some(lead.into()),
            arm: Arm::Champion,
            model: Arc::clone(&self.id),
            names: Arc::clone(&self.names),
            features: features.clone(),
            score: Score::new(scored.score.probability()).unwrap(),
            grade: scored.grade,
            latency_ns: 4_000,
            decision: Decision::Response,
            exposure: None,
            fell: None,
        })
    }

    /// A won lead brings something between 1,000 and 10,000, by its id.
    fn outcome(&self, time_ms: i64, lead: &str, event: &Json) -> Entry {
        let won = event["body"]["IsConverted"] == true;
        let revenue = won.then(|| lead.bytes().fold(0u32, |sum, byte| (sum * 31 + u32::from(byte)) % 9_000));
        let outcome = Outcome {
            event: event["event_id"].as_str().map(Into::into),
            revision: event["revision"].as_i64(),
            time_ms: Some(millis(&event["outcome_time"]) + self.shift_ms),
            revenue: revenue.map(|revenue| f64::from(revenue + 1_000)),
            ..Outcome::new(lead, won)
        };
        Entry::Outcome(OutcomeRecord { time_ms, route: "lead.update".into(), outcome })
    }
}

fn passed_ms(event: &Json) -> i64 {
    millis(&event["t"])
}

fn millis(time: &Json) -> i64 {
    leadwire::ledger::millis(time.as_str().unwrap()).unwrap()
}
