//! Fuzz corpora and past findings, replayed by every `cargo test`.

use std::{fs, path::Path};

#[path = "../../fuzz/checks.rs"]
#[expect(clippy::panic, reason = "a panic is how a check fails")]
mod checks;

/// Checks every file of the target's folders; there is a corpus, or the test would pass by finding nothing.
fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let corpus = replay_folder(&fuzz.join("corpus").join(target), check);
    assert!(corpus > 0, "fuzz/corpus/{target} is empty");
    let regressions = fuzz.join("regressions").join(target);
    if regressions.exists() {
        replay_folder(&regressions, check);
    }
}

fn replay_folder(folder: &Path, check: fn(&[u8])) -> usize {
    let files = fs::read_dir(folder).unwrap();
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        // Shown only when the check fails.
        println!("{}", path.display());
        check(&fs::read(&path).unwrap());
        count += 1;
    }
    count
}

#[test]
fn config() {
    replay("config", checks::config);
}

#[test]
fn recognise() {
    replay("recognise", checks::recognise);
}

#[test]
fn rules() {
    replay("rules", checks::rules);
}

#[test]
fn splice() {
    replay("splice", checks::splice);
}

#[test]
fn manifest() {
    replay("manifest", checks::manifest);
}

#[test]
fn lightgbm() {
    replay("lightgbm", checks::lightgbm);
}

#[test]
fn xgboost() {
    replay("xgboost", checks::xgboost);
}

#[test]
fn content() {
    replay("content", checks::content);
}

#[test]
fn differential() {
    replay("differential", checks::differential);
}

#[test]
fn pipeline() {
    replay("pipeline", checks::pipeline);
}
