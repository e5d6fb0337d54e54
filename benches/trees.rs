//! Boosted trees beside the library they come from: `cargo bench --bench trees`. Where `$PYTHON`, or `python3`, has
//! LightGBM and NumPy, `trees_reference.py` scores the same leads with the same model in the same minute; and says whether
//! both get the same sums.

use std::{fs, hint::black_box, process::Command};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leadwire::score::trees::{TreeScratch, Trees};

#[path = "cases/forest.rs"]
mod forest;

fn trees(criterion: &mut Criterion) {
    let (text, leads) = (forest::text(), forest::leads());
    let trees = Trees::read(text.as_bytes()).expect("a model");
    let (mut scratch, mut out) = (TreeScratch::default(), [0.0]);
    let mut group = criterion.benchmark_group("trees");
    group.throughput(Throughput::Elements(leads.len() as u64));
    group.bench_function("lead by lead", |bencher| {
        bencher.iter(|| {
            for lead in &leads {
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
    reference(&text, &leads, &raw);
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
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/trees_reference.py");
    match Command::new(python).arg(script).arg(folder.path()).status() {
        Ok(status) if status.success() => {}
        other => println!("LightGBM itself: skipped, {other:?}"),
    }
}

criterion_group!(benches, trees);
criterion_main!(benches);
