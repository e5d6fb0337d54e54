//! The command line, as people and scripts use it: output, exit codes, JSON.

use std::path::Path;

use leadwire::registry::Version;
use serde_json::{Value as Json, json};

use crate::support::{CONFIG, copy_folder, leadwire, shipped_model, text, write_version};

#[test]
fn check_tells_every_mistake_with_its_place_and_exits_with_2() {
    let fine = leadwire(&["check"]);
    let said = "config/leadwire.yaml: ok, 14 routes, 27 features, models: lead/1\n";
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
fn presets_are_printed_to_start_from() {
    let one = leadwire(&["check", "--presets", "salesforce"]);
    assert_eq!(one.status.code(), Some(0));
    assert!(text(&one.stdout).starts_with("# presets: [salesforce]\n"), "{}", text(&one.stdout));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.yaml");
    let own = format!("upstream: http://127.0.0.1:1\nmodels: {}\n", folder.path().join("none").display());
    std::fs::write(&file, own + text(&one.stdout)).unwrap();
    let checked = leadwire(&["check", "-c", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let all = leadwire(&["check", "--presets"]);
    assert!(text(&all.stdout).contains(text(&one.stdout)));
    let none = leadwire(&["check", "--presets", "sales"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).starts_with("error: no preset is called \"sales\"; there are "));
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
    assert_eq!(code(&["train", "--data", "absent.csv"]), Some(2), "no target");
    assert_eq!(
        code(&["train", "--data", "absent.csv", "--target", "y", "--from-log"]),
        Some(2),
        "two sources"
    );
    assert_eq!(code(&["train", "--from-log", "-c", "absent.yaml"]), Some(2));
    assert_eq!(code(&["train", "--from-log", "--state", "absent"]), Some(2), "no horizon");
    assert_eq!(code(&["train", "--from-log", "--state", "absent", "--horizon", "30d"]), Some(1));
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
            "train",
            "--data",
            data,
            "--target",
            "won",
            "--id",
            "id",
            "--seed",
            "3",
            // Made-up leads are ranked too well to be believed.
            "--allow-leakage",
            "employees,source",
            "--out",
            out,
            "--json",
        ]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Json>(&output.stdout).unwrap()
    };
    let (a, b) = (folder.path().join("a/lead"), folder.path().join("b/lead"));
    let report = train(&a);
    train(&b);
    assert!(report["metrics"]["auc"].as_f64().unwrap() > 0.9, "{report}");
    let input = &report["input"];
    assert_eq!((&input["split"], &input["parts"]), (&json!("random"), &json!([480, 120, 0])));
    assert_eq!(
        (&input["snapshot"]["rows"], &input["snapshot"]["source"]),
        (&json!(600), &json!("leads.csv"))
    );
    assert_eq!(input["snapshot"]["digest"].as_str().unwrap().len(), 64);
    assert_eq!((&input["left_out"], input["warnings"].as_array().unwrap().len()), (&json!([]), 3));
    let version = Version::load(&a.join("1")).unwrap();
    assert_eq!((&*version.id.model, &*version.id.version), ("lead", "1"));
    for file in std::fs::read_dir(a.join("1")).unwrap() {
        let name = file.unwrap().file_name();
        let [a, b] = [&a, &b].map(|out| std::fs::read(out.join("1").join(&name)).unwrap());
        assert_eq!(a, b, "{name:?} is the same, byte for byte");
    }
    assert_eq!(train(&a)["id"], "lead/2", "the next one");
}

/// A directory of models with the shipped version and one that scores higher.
fn two_versions() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&shipped_model(), &folder.path().join("lead/1"));
    write_version(folder.path(), "2");
    folder
}

#[test]
fn models_are_listed_shown_and_verified() {
    let folder = two_versions();
    let models = |arguments: &[&str]| {
        leadwire(&[&["models", "--models", folder.path().to_str().unwrap()], arguments].concat())
    };
    std::fs::write(
        folder.path().join("lead/deployment.json"),
        r#"{"champion":"1","challenger":{"version":"2","percent":10}}"#,
    )
    .unwrap();
    let list = models(&["list"]);
    let lines: Vec<&str> = text(&list.stdout).lines().collect();
    assert!(lines[0].starts_with("model  version  slot            kind"), "{lines:#?}");
    assert!(lines[1].starts_with("lead         2  challenger 10%  mlp"), "{lines:#?}");
    assert!(lines[2].contains("champion") && lines[2].ends_with("ok"), "{lines:#?}");
    let json: Json = serde_json::from_slice(&models(&["list", "--json"]).stdout).unwrap();
    assert_eq!(json["versions"][1]["slot"], "champion");

    let show = models(&["show", "lead/1"]);
    for part in ["lead/1", "auc", "8,237 rows", "nr.employed", "nr employed", "number", "weights.safetensors"]
    {
        assert!(text(&show.stdout).contains(part), "{part}: {}", text(&show.stdout));
    }
    let json: Json = serde_json::from_slice(&models(&["show", "lead/1", "--json"]).stdout).unwrap();
    assert_eq!((&json["golden"], &json["signed"]), (&32.into(), &false.into()));
    assert_eq!(models(&["show", "lead/9"]).status.code(), Some(1));
    assert_eq!(models(&["show", "lead"]).status.code(), Some(2));

    let verify = models(&["verify"]);
    assert_eq!(
        (text(&verify.stdout), verify.status.code()),
        ("lead/2: ok, 32 golden samples\nlead/1: ok, 32 golden samples\n", Some(0))
    );
    std::fs::write(folder.path().join("lead/2/weights.safetensors"), "other").unwrap();
    let verify = models(&["verify", "lead"]);
    assert_eq!(verify.status.code(), Some(1));
    assert!(text(&verify.stdout).starts_with("lead/2: refused: "), "{}", text(&verify.stdout));
    assert_eq!(models(&["verify", "lead/1"]).status.code(), Some(0));
    assert_eq!(models(&["verify", "absent"]).status.code(), Some(1));
    assert!(text(&models(&["list"]).stdout).contains("refused (digest)"));
}

#[test]
fn two_versions_are_compared_on_golden_samples_and_a_file() {
    let folder = two_versions();
    let sample = folder.path().join("sample.csv");
    let rows = "age,job,nr.employed,euribor3m\n56,services,5191,4.857\n30,student,4963.6,0.7\n";
    std::fs::write(&sample, rows).unwrap();
    let diff = |more: &[&str]| {
        let start = ["models", "--models", folder.path().to_str().unwrap(), "diff", "lead/1", "lead/2"];
        leadwire(&[&start, more].concat())
    };
    let told: Json = serde_json::from_slice(&diff(&["--json"]).stdout).unwrap();
    assert_eq!((&told["leads"], &told["unscored"]), (&64.into(), &0.into()));
    let with_file = diff(&["--sample", sample.to_str().unwrap()]);
    let said = text(&with_file.stdout);
    assert!(said.contains(" of 66 leads change grade\n"), "{said}");
    assert!(said.contains("from \\ to") && said.contains("scores differ by "), "{said}");
    let lines = folder.path().join("sample.jsonl");
    std::fs::write(&lines, "{\"age\": 56, \"job\": \"services\"}\n\n{\"age\": \"30\"}\n").unwrap();
    let told: Json =
        serde_json::from_slice(&diff(&["--json", "--sample", lines.to_str().unwrap()]).stdout).unwrap();
    assert_eq!(told["leads"], 66);
    assert!(told["changed"].as_u64().unwrap() > 0 && told["max_difference"].as_f64().unwrap() > 0.01);
    std::fs::write(&sample, "name\nx\n").unwrap();
    let none = diff(&["--sample", sample.to_str().unwrap()]);
    assert!(text(&none.stderr).contains("holds no feature of either version"));
}

#[test]
fn versions_are_signed_and_only_with_the_right_key_are_they_fine() {
    let folder = two_versions();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let models = |arguments: &[&str]| {
        leadwire(&[&["models", "--models", folder.path().to_str().unwrap()], arguments].concat())
    };
    let key = path("key.pem");
    let made = models(&["keygen", "--out", &key]);
    let public = text(&made.stdout).trim().to_owned();
    assert_eq!((public.len(), made.status.code()), (64, Some(0)));
    assert_eq!(models(&["keygen", "--out", &key]).status.code(), Some(1), "a key is never overwritten");
    assert_eq!(models(&["sign", "lead/1", "--key", &key]).status.code(), Some(0));
    assert_eq!(models(&["verify", "lead/1", "--trust", &public]).status.code(), Some(0));
    let unsigned = models(&["verify", "lead/2", "--trust", &public]);
    assert_eq!(unsigned.status.code(), Some(1));
    assert!(text(&unsigned.stdout).contains("manifest.sig: missing"), "{}", text(&unsigned.stdout));
}
