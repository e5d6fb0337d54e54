//! A search for settings is killed, and goes on as if nothing had happened.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value as Json;

use crate::support::{leadwire, text, wait};

/// Leads that convert for two reasons, and often for none.
fn leads() -> String {
    let mut csv = "day,budget,channel,won\n".to_owned();
    for i in 0..1_500u32 {
        let noise = i.wrapping_mul(2_654_435_761) >> 8;
        let (budget, channel, luck) = (noise % 97, noise % 5, (noise >> 7) % 101);
        let won = budget + 9 * channel + luck > 130;
        writeln!(csv, "{},{budget},c{channel},{}", i / 3, u8::from(won)).unwrap();
    }
    csv
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(place.path("leads.csv"), leads()).unwrap();
        let named = |name: &str| place.path(name).display().to_string();
        let config = format!(
            "listen: 127.0.0.1:0\nupstream: http://127.0.0.1:1\nadmin: 127.0.0.1:0\nmodels: {}\nstate: {}\n\
             features:\n  budget: {{from: [/budget], type: number}}\n  channel: {{from: [/channel], type: category}}\n\
             routes: []\n",
            named("models"),
            named("state")
        );
        fs::write(place.path("leadwire.yaml"), config).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `leadwire retrain`, or `train` into the same folder.
    fn line(&self, command: &str) -> Vec<String> {
        let named = |name: &str| self.path(name).display().to_string();
        let (data, config, out) = (named("leads.csv"), named("leadwire.yaml"), named("models/lead"));
        let study = named("study.log");
        let own: &[&str] = match command {
            "retrain" => &["lead", "-c", &config, "--who", "jo"],
            _ => &["--out", &out, "--study", &study],
        };
        let line = [command, "--data", &data, "--target", "won", "--time", "day", "--json"];
        let search = ["--kind", "trees", "--trials", "10"];
        line.iter().chain(&search).chain(own).map(|word| (*word).to_owned()).collect()
    }

    fn run(&self, command: &str) -> Json {
        let line = self.line(command);
        let done = leadwire(&line.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(done.status.success(), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    fn start(&self, command: &str) -> Child {
        let mut process = Command::new(env!("CARGO_BIN_EXE_leadwire"));
        process.args(self.line(command)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

fn lines(file: &Path) -> usize {
    fs::read(file).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
}

/// What a version is, without what it is called and when it was made.
fn version(place: &Place) -> (Vec<u8>, Json) {
    let folder = place.path("models/lead/1");
    let manifest: Json = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    (fs::read(folder.join("model.txt")).unwrap(), manifest)
}

#[test]
fn a_killed_search_finds_what_an_unbroken_one_finds() {
    for command in ["train", "retrain"] {
        let (unbroken, killed) = (Place::new(), Place::new());
        let expected = unbroken.run(command);
        let journal = if command == "train" { "study.log" } else { "state/retrain/lead/study.log" };
        // In the first batch, which a second process takes up, and somewhere later, where a third does.
        for least in [30, 90] {
            let mut process = killed.start(command);
            wait("the search", || lines(&killed.path(journal)) >= least);
            process.kill().unwrap();
            process.wait().unwrap();
            assert!(!killed.path("models/lead/1").exists(), "{command} was killed too late to tell anything");
        }
        let found = killed.run(command);
        assert_eq!(found["search"], expected["search"], "{command}");
        assert_eq!(found["metrics"], expected["metrics"], "{command}");
        assert!(version(&killed) == version(&unbroken), "{command}");
        let study = killed.path("models/lead/1/study.log");
        let text = fs::read_to_string(&study).unwrap();
        assert!(text.contains("failed_trial"), "{command}: nothing was running when it was killed");
        assert_eq!(version(&killed).1["lineage"]["search"]["trials"], 10, "{command}");
        assert!(!killed.path("state/retrain/lead/study.log").exists(), "{command}");
    }
}

#[test]
fn a_journal_that_is_none_is_refused_and_stays() {
    let place = Place::new();
    for note in ["not a journal\n\n", "not a journal", r#"{"a":1}"#] {
        fs::write(place.path("study.log"), note).unwrap();
        let line = place.line("train");
        let done = leadwire(&line.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(done.status.code(), Some(1));
        assert!(text(&done.stderr).contains("study.log: line 1: "), "{}", text(&done.stderr));
        assert_eq!(fs::read_to_string(place.path("study.log")).unwrap(), note);
    }
    assert!(!place.path("models").exists());
}

#[test]
fn options_of_a_search_are_refused_where_there_is_none() {
    let place = Place::new();
    let check = |line: &[&str], expected: &str| {
        let done = leadwire(line);
        assert!(!done.status.success());
        assert!(text(&done.stderr).contains(expected), "{}", text(&done.stderr));
    };
    let (data, study) = (place.path("leads.csv"), place.path("study.log"));
    let (data, study) = (data.to_str().unwrap(), study.to_str().unwrap());
    let train = ["train", "--data", data, "--target", "won", "--out", "unused"];
    let said = "--study and --within are for a search: say how many with --trials";
    check(&[&train[..], &["--study", study]].concat(), said);
    check(&[&train[..], &["--within", "1m"]].concat(), said);
    check(&["retrain", "--data", data, "--study", study], "it is kept with the run's other work");
    assert!(!place.path("study.log").exists());
}
