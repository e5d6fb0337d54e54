//! The command line, as people and scripts use it: output, exit codes, JSON.

use std::{
    path::Path,
    process::{Command, Output},
};

use leadwire::registry::Version;
use serde_json::Value as Json;

use crate::support::CONFIG;

fn leadwire(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadwire"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn check_tells_every_mistake_with_its_place_and_exits_with_2() {
    let fine = leadwire(&["check"]);
    let said = "config/leadwire.yaml: ok, 3 routes, 19 features, models: lead/1\n";
    assert_eq!((text(&fine.stdout), fine.status.code()), (said, Some(0)));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(
        &file,
        CONFIG.replace("    method:", "    methd:").replace("  body: 1MiB", "  body: lots"),
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let bad = leadwire(&["check", "-c", path]);
    assert_eq!(bad.status.code(), Some(2));
    let lines: Vec<&str> = text(&bad.stderr).lines().collect();
    let place = |needle: &str| CONFIG.lines().position(|line| line.starts_with(needle)).unwrap() + 1;
    let wrong =
        format!("{path}:{}:5: routes[0].methd: unknown key; did you mean \"method\"?", place("    method:"));
    assert!(lines.contains(&wrong.as_str()), "{lines:#?}");
    assert_eq!(lines.len(), 3, "the wrong key, the missing one and the wrong size: {lines:#?}");

    let json = leadwire(&["check", "--json", "-c", path]);
    let report: Json = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((report["problems"].as_array().unwrap().len(), json.status.code()), (3, Some(2)));
    assert_eq!(report["problems"][0]["key"], "limits.body");
}

#[test]
fn check_tells_what_the_models_miss() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("years.yaml");
    std::fs::write(&file, CONFIG.replace("  age:", "  years:")).unwrap();
    let output = leadwire(&["check", "-c", file.to_str().unwrap()]);
    let said = "models: lead/1: model lead/1 requires feature \"age\", which `features` does not map\n";
    assert_eq!((text(&output.stderr), output.status.code()), (said, Some(2)));
}

#[test]
fn what_cannot_be_used_says_so_with_the_right_exit_code() {
    let code = |arguments: &[&str]| leadwire(arguments).status.code();
    assert_eq!(code(&["check", "-c", "absent.yaml"]), Some(2));
    assert_eq!(code(&["run", "-c", "absent.yaml"]), Some(2));
    assert_eq!(code(&["fly"]), Some(2));
    assert_eq!(code(&["train", "--data", "absent.csv", "--target", "y"]), Some(1));
    let schema = leadwire(&["check", "--print-schema"]);
    let schema: Json = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema["properties"]["upstream"]["description"].is_string());
}

#[test]
fn train_writes_a_version_that_loads_and_the_same_one_for_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("leads.csv");
    let row = |i: usize| {
        let (employees, source) = (i % 97, ["Web", "Phone", "Referral"][i % 3]);
        format!("{i},{employees},{source},{}\n", if employees + 20 * (i % 3) > 70 { "yes" } else { "no" })
    };
    std::fs::write(&data, format!("id,employees,source,won\n{}", (0..600).map(row).collect::<String>()))
        .unwrap();
    let train = |out: &Path| {
        let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
        let output = leadwire(&[
            "train", "--data", data, "--target", "won", "--id", "id", "--seed", "3", "--out", out, "--json",
        ]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Json>(&output.stdout).unwrap()
    };
    let (a, b) = (folder.path().join("a/lead"), folder.path().join("b/lead"));
    let report = train(&a);
    train(&b);
    assert!(report["metrics"]["auc"].as_f64().unwrap() > 0.9, "{report}");
    let version = Version::load(&a.join("1")).unwrap();
    assert_eq!((&*version.id.model, &*version.id.version), ("lead", "1"));
    for file in std::fs::read_dir(a.join("1")).unwrap() {
        let name = file.unwrap().file_name();
        let [a, b] = [&a, &b].map(|out| std::fs::read(out.join("1").join(&name)).unwrap());
        assert_eq!(a, b, "{name:?} is the same, byte for byte");
    }
    assert_eq!(train(&a)["id"], "lead/2", "the next one");
}
