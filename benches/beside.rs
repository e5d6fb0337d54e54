//! One lead at a time, beside the libraries models come from, in one run: `cargo bench --bench beside`.
//!
//! Boosted trees as rows, as a version serves them and with reasons; 64-32-1 as a version serves it and with reasons, and
//! candle-nn's forward pass of the same network, which begins with encoded columns. Where `$PYTHON`, or `python3`, has
//! LightGBM and NumPy, `reference/single_lead.py` scores the same leads with the same trees in the same minute by
//! LightGBM's own C API, and says whether both get the same sums. `$LEADWIRE_BESIDE` names a folder with other trees and leads. All of it is CPU time, or neighbours would count.

mod cases;

use std::{fs, hint::black_box, path::PathBuf, process::Command, time::Duration};

use cases::forest;
use criterion::{
    Criterion, Throughput, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use leadwire::score::trees::{TreeScratch, Trees};
use rustix::time::{ClockId, clock_gettime};

/// The cases of `hot_path` that stand beside something: how their names start.
const LEADS: [&str; 4] =
    ["score: ", "reasons: ", "candle-nn as one writes it, batch 1", "kernel as a candle op, batch 1"];

fn beside(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("a lead");
    let chosen = |name: &str| LEADS.iter().any(|start| name.starts_with(start));
    for case in cases::all().into_iter().filter(|case| case.leads == 1 && chosen(&case.name)) {
        let (name, mut run) = (case.name.clone(), case.ready());
        group.bench_function(name, |bencher| bencher.iter(&mut run));
    }
    group.finish();
    let (text, leads) = saved().unwrap_or_else(|| (forest::text(), forest::leads()));
    let raw = trees(criterion, &text, &leads);
    reference(&text, &leads, &raw);
}

/// A model and encoded leads of somebody's own: `model.txt` and `leads.json` in `$LEADWIRE_BESIDE`.
fn saved() -> Option<(String, Vec<Vec<f64>>)> {
    let folder = PathBuf::from(std::env::var_os("LEADWIRE_BESIDE")?);
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file of the folder");
    let leads: Vec<Vec<Option<f64>>> = serde_json::from_str(&read("leads.json")).expect("rows of numbers");
    let row = |row: Vec<Option<f64>>| row.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect();
    Some((read("model.txt"), leads.into_iter().map(row).collect()))
}

/// Encoded rows to sums; the sums.
fn trees(criterion: &mut Criterion<CpuTime>, text: &str, leads: &[Vec<f64>]) -> Vec<f64> {
    let trees = Trees::read(text.as_bytes()).expect("a model");
    let (mut scratch, mut out) = (TreeScratch::default(), [0.0]);
    let mut group = criterion.benchmark_group("trees over encoded leads");
    group.throughput(Throughput::Elements(leads.len() as u64));
    group.bench_function("lead by lead", |bencher| {
        bencher.iter(|| {
            for lead in leads {
                trees.raw(lead, &mut scratch, &mut out).expect("a row of the model's width");
                black_box(&out);
            }
        });
    });
    let (rows, mut raw) = (leads.concat(), vec![0.0; leads.len()]);
    group.bench_function("batch", |bencher| {
        bencher.iter(|| trees.raw_batch(&rows, &mut scratch, &mut raw).expect("rows of the model's width"));
    });
    group.finish();
    trees.raw_batch(&rows, &mut scratch, &mut raw).expect("rows of the model's width");
    raw
}

fn reference(text: &str, leads: &[Vec<f64>], raw: &[f64]) {
    let folder = tempfile::tempdir().expect("a directory");
    // NaN has no JSON of its own; serde_json writes null.
    let json = |value| serde_json::to_string(value).expect("numbers");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    write("model.txt", text);
    write("leads.json", &serde_json::to_string(leads).expect("numbers"));
    write("raw.json", &json(raw));
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/reference/single_lead.py");
    match Command::new(python).arg(script).arg(folder.path()).status() {
        Ok(status) if status.success() => {}
        other => println!("LightGBM itself: skipped, {other:?}"),
    }
}

/// Time of this thread on a processor.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        clock_gettime(ClockId::ThreadCPUTime).try_into().expect("a time since the start")
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = beside
}
criterion_main!(benches);
