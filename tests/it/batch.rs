//! `leadwire score --model`: tables, from the command line.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use leadwire::{
    lead::{Cutoffs, Value},
    registry::{self, Background, Baseline, Golden, Histogram, Manifest, Plain, Version},
    score::{Calibration, Encoding, FeatureSpec, Kind, Layer, Network, Schema, Scratch},
};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::{copy_folder, shipped_model, text, wait, write_version};

/// `age` (number, required), `job` (chef or clerk) and `vip` (yes or no), as `lead/1`.
fn models(kind: Kind) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_small(folder.path(), kind, true);
    folder
}

fn features(required: bool) -> Vec<FeatureSpec> {
    let vocabulary = vec!["chef".to_owned(), "clerk".to_owned()];
    vec![
        FeatureSpec::new("age", required, Encoding::Number { median: 40.0, mean: 40.0, sd: 10.0 }),
        FeatureSpec::new("job", false, Encoding::Category { vocabulary }),
        FeatureSpec::new("vip", false, Encoding::Boolean { imputation: false }),
    ]
}

/// Ten trees of two or three leaves over them.
fn trees() -> Vec<u8> {
    let tree = |i: usize| {
        format!(
            "Tree={i}\nnum_leaves=3\nnum_cat=1\nsplit_feature=0 1\nsplit_gain=1 1\nthreshold={} 0\n\
             decision_type=10 1\nleft_child=1 -1\nright_child=-2 -3\nleaf_value=0.{i}1 -0.{i}2 0.0{i}3\n\
             leaf_weight=1 1 1\nleaf_count=1 1 1\ninternal_value=0 0\ninternal_weight=1 1\ninternal_count=1 1\n\
             cat_boundaries=0 1\ncat_threshold={}\nis_linear=0\nshrinkage=1\n\n\n",
            20 + 5 * i,
            1 + i % 3
        )
    };
    let trees: Vec<String> = (0..10).map(tree).collect();
    let sizes: Vec<String> = trees.iter().map(|tree| tree.len().to_string()).collect();
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=2\n\
         objective=binary sigmoid:1\nfeature_names=age job vip\nfeature_infos=[0:99] 0:1 [0:1]\ntree_sizes={}\n\n\
         {}end of trees\n\npandas_categorical:null\n",
        sizes.join(" "),
        trees.concat()
    )
    .into_bytes()
}

/// Weights of a network over its six columns and three flags.
fn network(kind: Kind) -> Vec<u8> {
    let layer = |inputs: usize, outputs: usize| Layer {
        inputs,
        outputs,
        weight: (0..inputs * outputs).map(|i| ((i * 7 % 11) as f32 - 5.0) / 7.0).collect(),
        bias: vec![0.1; outputs],
    };
    let width = Schema { features: features(true) }.width();
    let network = match kind {
        Kind::Linear => Network::Linear(layer(width, 1)),
        _ => Network::Mlp(vec![layer(width, 8), layer(8, 1)]),
    };
    network.to_bytes().unwrap()
}

fn write_small(models: &Path, kind: Kind, required: bool) {
    let (name, bytes) = match kind {
        Kind::Lightgbm => ("model.txt", trees()),
        kind => (registry::WEIGHTS, network(kind)),
    };
    let number = || Histogram::Number { edges: vec![0.0, 1.0], counts: vec![1], missing: 0 };
    let words = || Histogram::Category { counts: [].into(), missing: 0, unseen: 0 };
    let shares = |word: &str| Background::Category { shares: [(word.to_owned(), 1.0)].into() };
    let shipped = Version::load(&shipped_model()).unwrap().manifest;
    let mut manifest = Manifest {
        kind,
        files: [(name.to_owned(), registry::sha256(&bytes))].into(),
        schema: Schema { features: features(required) },
        calibration: Calibration::Platt { a: 1.1, b: -0.2 },
        cutoffs: Cutoffs { a: 0.7, b: 0.5, c: 0.3 },
        baseline: Baseline {
            rows: 1,
            features: [("age", number()), ("job", words()), ("vip", words())]
                .map(|(name, histogram)| (name.to_owned(), histogram))
                .into(),
            score: number(),
        },
        background: [
            ("age".to_owned(), Background::Number { median: 40.0 }),
            ("job".to_owned(), shares("chef")),
            ("vip".to_owned(), shares("false")),
        ]
        .into(),
        ..shipped
    };
    let model = leadwire::score::Model::new(manifest.spec(), &bytes).unwrap();
    let golden = |age: u32| {
        let value = Value::Number(f64::from(age));
        let at = |i| if i == 0 { &value } else { &Value::Missing };
        let score = model.score(at, &mut Scratch::default()).unwrap().score.probability();
        Golden { features: [("age".to_owned(), Plain::Number(f64::from(age)))].into(), score }
    };
    manifest.golden = (20..28).map(golden).collect();
    registry::write(&models.join("lead/1"), &manifest, &[(name, &bytes)]).unwrap();
}

/// Runs it with `input` as standard input.
fn score(models: &Path, options: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_leadwire"))
        .args(["score", "--model", "lead", "--models"])
        .arg(models)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It writes while it reads; and it may have stopped before the end.
    let feeder = std::thread::spawn(move || _ = stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

/// What goes out for what came in; it must have run.
fn scored(models: &Path, input: &str) -> String {
    let output = score(models, &[], input.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// What the model scores on its own, lead by lead, as on the wire.
fn alone(models: &Path, lead: &[Value<'_>]) -> (f32, u8, String) {
    let version = Version::load(&models.join("lead/1")).unwrap();
    let scored = version.model.score(|i| &lead[i], &mut Scratch::default()).unwrap();
    (scored.score.probability(), scored.score.points(), scored.grade.to_string())
}

#[test]
fn scores_are_those_of_the_wire_to_the_bit() {
    let vips = ["yes", "no", ""];
    for kind in [Kind::Linear, Kind::Mlp, Kind::Lightgbm] {
        let models = models(kind);
        let lead = |i: usize| (i as f64 * 0.37, ["chef", "clerk", "pilot", ""][i % 4], vips[i % 3]);
        let (mut csv, mut lines) = ("vip,age,job\n".to_owned(), String::new());
        for (age, job, vip) in (0..300).map(lead) {
            csv += &format!("{vip},{age},{job}\n");
            lines += &format!("{{\"vip\":\"{vip}\",\"job\":\"{job}\",\"age\":{age}}}\n");
        }
        let (csv, lines) = (scored(models.path(), &csv), scored(models.path(), &lines));
        assert_eq!((csv.lines().count(), lines.lines().count()), (301, 300));
        let mut distinct = std::collections::BTreeSet::new();
        for (i, (row, line)) in csv.lines().skip(1).zip(lines.lines()).enumerate() {
            let (age, job, vip) = lead(i);
            let word =
                |word: &'static str| if word.is_empty() { Value::Missing } else { Value::Text(word.into()) };
            let vip = if vip.is_empty() { Value::Missing } else { Value::Boolean(vip == "yes") };
            let (score, points, grade) = alone(models.path(), &[Value::Number(age), word(job), vip]);
            let cells: Vec<&str> = row.split(',').collect();
            assert_eq!(cells[3].parse::<f32>().unwrap().to_bits(), score.to_bits(), "{kind:?} {row}");
            assert_eq!(cells[4..], [points.to_string(), grade.clone(), String::new()]);
            let json: Json = serde_json::from_str(line).unwrap();
            assert_eq!((json["score"].as_f64().unwrap() as f32).to_bits(), score.to_bits());
            assert_eq!((&json["points"], &json["grade"]), (&points.into(), &grade.into()));
            assert_eq!(json["error"], Json::Null);
            distinct.insert(score.to_bits());
        }
        assert!(distinct.len() > 10, "{kind:?}");
    }
}

#[test]
fn rows_stay_in_order_over_many_blocks() {
    let models = models(Kind::Mlp);
    // Wide rows, so that there are several blocks for each thread.
    let filling = "x".repeat(1000);
    let row = |i: usize| format!("{i},{},{filling}\n", i % 90);
    let rows = 20_000;
    let csv: String = std::iter::once("id,age,note\n".to_owned()).chain((0..rows).map(row)).collect();
    let out = scored(models.path(), &csv);
    let mut lines = out.lines().skip(1);
    for i in 0..rows {
        let line = lines.next().unwrap();
        assert!(line.starts_with(row(i).trim_end()), "{i}");
    }
    assert_eq!(lines.next(), None);
    let by_age: std::collections::BTreeSet<&str> =
        out.lines().skip(1).map(|line| line.split_once(&filling).unwrap().1).collect();
    assert_eq!(by_age.len(), 90, "a score for each age");
}

#[test]
fn cells_leave_as_they_came() {
    let models = models(Kind::Linear);
    let check = |input: &str, expected: &str| {
        let (score, points, grade) =
            alone(models.path(), &[Value::Number(40.0), Value::Missing, Value::Missing]);
        let expected = expected.replace("<40>", &format!("{score},{points},{grade},"));
        assert_eq!(scored(models.path(), input), expected);
    };
    check("age\n40\n", "age,score,points,grade,error\n40,<40>\n");
    check("age\r\n40.0\r\n", "age,score,points,grade,error\r\n40.0,<40>\r\n");
    check("\u{feff}age\n40", "\u{feff}age,score,points,grade,error\n40,<40>");
    check("age\n\n40\n\n", "age,score,points,grade,error\n40,<40>\n");
    check("age\n", "age,score,points,grade,error\n");
    check("age", "age,score,points,grade,error");
    check("age,vip,job\n40,n/a,NA\n", "age,vip,job,score,points,grade,error\n40,n/a,NA,<40>\n");
    check(
        "a,\"age\",\"b \"\"c\"\"\"\n\"x,\ny\", 4e1 ,\"\"\n,\"40\",é\"\n",
        "a,\"age\",\"b \"\"c\"\"\",score,points,grade,error\n\"x,\ny\", 4e1 ,\"\",<40>\n,\"40\",é\",<40>\n",
    );
}

#[test]
fn cells_may_stand_between_other_separators() {
    let models = models(Kind::Linear);
    let (score, points, grade) = alone(models.path(), &[Value::Number(40.0), Value::Missing, Value::Missing]);
    for separator in [";", "\t", "|"] {
        let expected = format!(
            "\"a,b\"|age|vip|score|points|grade|error\n1,5|40||{score}|{points}|{grade}|\n\"x|\ny\"|40|NaN|{score}|{points}|{grade}|\n\
             z|40|||||2 cells, the header has 3\n,|4,857|,||||`age` is not a number\n"
        );
        let input = "\"a,b\"|age|vip\n1,5|40|\n\"x|\ny\"|40|NaN\nz|40\n,|4,857|,\n";
        let out = scored(models.path(), &input.replace('|', separator));
        assert_eq!(out, expected.replace('|', separator), "{separator:?}");
    }
}

#[test]
fn members_leave_byte_for_byte() {
    let models = models(Kind::Linear);
    let (score, points, grade) = alone(models.path(), &[Value::Number(40.0), Value::Missing, Value::Missing]);
    let added = format!("\"score\":{score},\"points\":{points},\"grade\":\"{grade}\",\"error\":null");
    let check = |input: &str, expected: &str| {
        assert_eq!(scored(models.path(), input), expected.replace("<40>", &added));
    };
    check("{\"age\":40}\n", "{\"age\":40,<40>}\n");
    check(
        " { \"z\" : 1.00e2, \"age\" : 40.000 , \"a\":[1, {\"age\":1}],\"n\":12345678901234567890 } \r\n",
        " { \"z\" : 1.00e2, \"age\" : 40.000 , \"a\":[1, {\"age\":1}],\"n\":12345678901234567890 ,<40>} \r\n",
    );
    check("\u{feff}{\"\\u0061ge\":\"40\"}", "\u{feff}{\"\\u0061ge\":\"40\",<40>}");
    check("\n{\"age\":40}\n\n \n{\"age\":40}\n", "{\"age\":40,<40>}\n{\"age\":40,<40>}\n");
}

#[test]
fn what_is_wrong_with_a_row_stands_in_it_and_the_rest_goes_on() {
    let models = models(Kind::Linear);
    let input = b"age,job,vip\n40,,\nold,,\n,clerk,\nnan,,\n1e999,,\n40,chef,maybe\n40\n40,,,,5\n\xff,,\n1e300,,\n\"1,000\",,\n\"4".to_vec();
    let output = score(models.path(), &["--json"], &input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<&[u8]> = output.stdout.split(|byte| *byte == b'\n').skip(1).collect();
    let expected: [(&[u8], &str); 12] = [
        (b"40,,,", ""),
        (b"old,,,,,,", "`age` is not a number"),
        (b",clerk,,,,,", "`age` is required and missing"),
        (b"nan,,,,,,", "`age` is required and missing"),
        (b"1e999,,,,,,", "`age` is not a number"),
        (b"40,chef,maybe,,,,", "`vip` is not a boolean"),
        (b"40,,,,,,", "\"1 cells, the header has 3\""),
        (b"40,,,,,,", "\"5 cells, the header has 3\""),
        (b"\xff,,,,,,", "not UTF-8"),
        (b"1e300,,,,,,", "the score is not finite"),
        (b"\"1,000\",,,", ""),
        (b",,,,,,", "a quote is not closed"),
    ];
    assert_eq!(lines.len(), expected.len());
    for (line, (start, end)) in lines.iter().zip(expected) {
        let shown = String::from_utf8_lossy(line);
        assert!(line.starts_with(start) && line.ends_with(end.as_bytes()), "{shown}");
        let cells = ::csv::ReaderBuilder::new().has_headers(false).from_reader(*line).byte_records().next();
        assert_eq!(cells.unwrap().unwrap().len(), 7, "{shown}");
    }
    let summary: Json = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&summary["rows"], &summary["scored"]), (&12.into(), &2.into()));
    let errors =
        serde_json::json!({"cells": 2, "quote": 1, "utf8": 1, "value": 3, "required": 2, "score": 1});
    assert_eq!(summary["errors"], errors);
    assert_eq!((&summary["model"], summary["digest"].as_str().unwrap().len()), (&"lead/1".into(), 64));
}

#[test]
fn what_is_wrong_with_a_line_stands_in_it_and_the_rest_goes_on() {
    let models = models(Kind::Linear);
    let input = b"{\"age\":40}\n{\"age\":\n[40]\n{\"age\":40,\"age\":41}\n{\"age\":1,\"score\":2}\n{\"age\":\"old\"}\n\
        {\"age\":null}\n{\"age\":[]}\n{}\n\"\xff\"\n{\"age\":false}\n{\"age\":40,\"job\":7,\"vip\":0}\n{\"a\"".to_vec();
    let output = score(models.path(), &[], &input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<Json> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors: Vec<&str> = lines.iter().map(|line| line["error"].as_str().unwrap_or("")).collect();
    let missing = "`age` is required and missing";
    assert_eq!(
        errors,
        [
            "",
            "not well-formed JSON at byte 7",
            "not a JSON object",
            "`age` stands twice",
            "there is a `score` already",
            "`age` is not a number",
            missing,
            "`age` is not a number",
            missing,
            "not UTF-8",
            missing,
            "",
            "not well-formed JSON at byte 4",
        ]
    );
    for (line, error) in lines.iter().zip(errors) {
        let has_score = line["score"].is_f64() && line["points"].is_u64() && line["grade"].is_string();
        assert_eq!(has_score, error.is_empty(), "{line}");
        assert!(line.as_object().unwrap().contains_key("score"), "{line}");
    }
    assert_eq!(
        (&lines[1]["input"], &lines[4]["input"]),
        (&"{\"age\":".into(), &"{\"age\":1,\"score\":2}".into())
    );
    assert!(
        text(&output.stdout).contains("\n{\"score\":null,"),
        "nothing stands before it in an empty object"
    );
    assert!(text(&output.stderr).contains("lead/1: 2 of 13 rows scored"), "{}", text(&output.stderr));
}

#[test]
fn a_lead_of_which_nothing_is_known_gets_no_score() {
    let models = tempfile::tempdir().unwrap();
    write_small(models.path(), Kind::Mlp, false);
    let out = scored(models.path(), "age,id\n,1\n40,2\n");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[1], ",1,,,,no feature of the model has a value");
    assert!(lines[2].ends_with(','), "{out}");
    let told = score(models.path(), &[], b"age,id\n40,2\n");
    assert!(text(&told.stderr).contains("missing in every row: job, vip"), "{}", text(&told.stderr));
}

#[test]
fn what_is_wrong_with_the_whole_is_an_error_before_any_output() {
    let models = models(Kind::Linear);
    let check = |options: &[&str], input: &str, expected: &str| {
        let output = score(models.path(), options, input.as_bytes());
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{said}");
        assert!(said.starts_with("error: ") && said.contains(expected), "{said}");
    };
    check(&[], "job,vip\nchef,no\n", "standard input: lead/1 requires columns that are missing: age");
    check(&[], "a,b\n1,2\n", "standard input: no column is a feature of lead/1");
    check(&[], "age,grade\n1,2\n", "there is a column `grade` already");
    check(&[], "age,job,age\n1,2,3\n", "column `age` stands twice");
    check(&[], "", "standard input: there is no header");
    check(&[], "\n\n", "standard input: there is no header");
    check(&[], "\"age\n1\n", "standard input: the header's last quote is not closed");
    check(&[], "id,age\r1,40\r", "standard input: rows end with a carriage return alone");
    check(
        &[],
        "a;b;age,c\n1;2;3\n",
        "no column is a feature of lead/1; cells were taken to stand between `;`",
    );
    check(&[], "{\"a\":1}\n{}\n", "standard input: no member is a feature of lead/1");
    check(&[], "{\"a\":1,\"points\":3}\n{\"age\":1}\n", "there is a member `points` already");
    check(&["--format", "jsonl"], "\n[\n{\"age\":1},\n{\"age\":2}\n]", "standard input: is a JSON array");
    check(&["--format", "jsonl"], "age\n1\n", "no member is a feature of lead/1");
    check(&["--version", "9"], "age\n1\n", "lead/9/manifest.json: ");
    check(&["--input", "absent.csv"], "", "error: absent.csv: No such file or directory (os error 2)\n");
    check(&["--output", "absent/out.csv"], "age\n1\n", "absent/out.csv: ");
    std::fs::remove_dir_all(models.path().join("lead")).unwrap();
    check(&[], "age\n1\n", "no version of \"lead\" in ");
    write_small(models.path(), Kind::Linear, true);
    let empty = score(models.path(), &["--format", "jsonl"], b"");
    assert_eq!((empty.status.code(), text(&empty.stdout)), (Some(0), ""));
}

#[test]
fn a_file_is_left_alone_until_the_new_one_is_whole() {
    let (models, folder) = (models(Kind::Linear), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("in.csv"), "age\n40\n").unwrap();
    std::fs::write(path("bad.csv"), "job\nchef\n").unwrap();
    std::fs::write(path("out.csv"), "old").unwrap();
    let run =
        |input: &str| score(models.path(), &["--input", &path(input), "--output", &path("out.csv")], b"");
    assert_eq!(run("bad.csv").status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(path("out.csv")).unwrap(), "old");
    let output = run("in.csv");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), ""));
    assert!(
        std::fs::read_to_string(path("out.csv")).unwrap().starts_with("age,score,points,grade,error\n40,")
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside it");
    let own = score(models.path(), &["--input", &path("in.csv"), "--output", &path("in.csv")], b"");
    assert_eq!(own.status.code(), Some(0));
    assert!(std::fs::read_to_string(path("in.csv")).unwrap().starts_with("age,score,"));
}

#[test]
fn a_row_without_an_end_stops_the_run() {
    let models = models(Kind::Linear);
    let input = [b"age,note\n40,x\n41,\"".as_slice(), &vec![b'a'; 18 << 20]].concat();
    let output = score(models.path(), &[], &input);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("a row from byte 14 is longer than 16777216 bytes"), "{said}");
}

#[test]
fn the_champion_scores_unless_another_version_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&shipped_model(), &folder.path().join("lead/1"));
    write_version(folder.path(), "2");
    let head = leadwire_head();
    let model = |options: &[&str]| {
        let output = score(folder.path(), &[&["--json"], options].concat(), head.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let summary: Json = serde_json::from_slice(&output.stderr).unwrap();
        (summary["model"].as_str().unwrap().to_owned(), summary["refused"].as_array().unwrap().len())
    };
    assert_eq!(model(&[]), ("lead/2".into(), 0));
    assert_eq!(model(&["--version", "1"]), ("lead/1".into(), 0));
    let deployment = folder.path().join("lead/deployment.json");
    std::fs::write(&deployment, r#"{"champion":"1"}"#).unwrap();
    assert_eq!(model(&[]), ("lead/1".into(), 0));
    std::fs::remove_file(&deployment).unwrap();
    std::fs::write(folder.path().join("lead/2").join(registry::WEIGHTS), "torn").unwrap();
    assert_eq!(model(&[]), ("lead/1".into(), 1), "what is passed over is told");
}

/// A header with every feature of the shipped model, and no row.
fn leadwire_head() -> String {
    let version = Version::load(&shipped_model()).unwrap();
    let names: Vec<&str> = version.model.features().iter().map(|spec| spec.name.as_str()).collect();
    names.join(",") + "\n"
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let models = models(Kind::Linear);
    let mut child = Command::new(env!("CARGO_BIN_EXE_leadwire"))
        .args(["score", "--model", "lead", "--models"])
        .arg(models.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let row = format!("40,{}\n", "x".repeat(1000));
    stdin.write_all(b"age,note\n").unwrap();
    // More than all queues hold.
    (0..3000).for_each(|_| stdin.write_all(row.as_bytes()).unwrap());
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    // It ends although its input does not.
    while stdin.write_all(row.as_bytes()).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn a_run_that_is_told_to_stop_leaves_nothing_behind() {
    let (models, folder) = (models(Kind::Linear), tempfile::tempdir().unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_leadwire"))
        .args(["score", "--model", "lead", "--models"])
        .arg(models.path())
        .arg("--output")
        .arg(folder.path().join("out.csv"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"age,note\n").unwrap();
    // More than it reads before it opens the output; the end of the input never comes.
    (0..2000).for_each(|_| stdin.write_all(format!("40,{}\n", "x".repeat(1000)).as_bytes()).unwrap());
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let written = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().metadata().unwrap().len();
    wait("rows in the unfinished file", || {
        std::fs::read_dir(folder.path()).unwrap().map(written).sum::<u64>() > 0
    });
    assert_eq!(files(), 1);
    let kill = || Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(kill().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), files()), (Some(1), 0), "{}", text(&output.stderr));
    drop(stdin);
}

#[test]
fn the_two_forms_of_the_command_do_not_mix() {
    let check = |arguments: &[&str], expected: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_leadwire")).arg("score").args(arguments).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(&[], "<--model <NAME>|--file <MODEL>>");
    check(&["--models", "models"], "<--model <NAME>|--file <MODEL>>");
    check(
        &["--model", "lead", "--file", "model.txt"],
        "'--model <NAME>' cannot be used with '--file <MODEL>'",
    );
    check(&["--model", "lead", "--raw"], "'--model <NAME>' cannot be used with '--raw'");
    for option in [&["--json"][..], &["--version", "1"], &["--format", "csv"], &["--models", "m"]] {
        check(&[&["--file", "model.txt"], option].concat(), "cannot be used with");
    }
}
