//! `leadwire score --file`: model files of other libraries, from the command line.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trees").join(name)
}

/// Runs it on a model of the tests' own, with `lines` as standard input.
fn score(model: &str, options: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadwire"));
    command.args(["score", "--file"]).arg(data(model)).args(options);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes()); // it may have stopped at a bad line
    child.wait_with_output().unwrap()
}

/// Every row of a golden, on standard input, gives what the library gave.
fn agrees(name: &str, model: &str) {
    let golden: Value =
        serde_json::from_slice(&std::fs::read(data(&format!("{name}.golden.json"))).unwrap()).unwrap();
    let rows = golden["inputs"].as_array().unwrap();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let output = score(model, &["--raw", "--leaves"], &lines);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let scored: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(scored.len(), rows.len());
    for (i, scored) in scored.iter().enumerate() {
        close(&scored["raw"], &golden["raw"][i]);
        close(&scored["pred"], &golden["pred"][i]);
        close(&scored["leaf"], &golden["leaf"][i]);
    }
}

/// Equal, to the last digit that both wrote: the goldens write an f32 as the f64 it is.
fn close(got: &Value, expected: &Value) {
    match (got, expected) {
        (Value::Array(got), Value::Array(expected)) => {
            assert_eq!(got.len(), expected.len());
            got.iter().zip(expected).for_each(|(got, expected)| close(got, expected));
        }
        (got, expected) => {
            let (got, expected) = (got.as_f64().unwrap(), expected.as_f64().unwrap());
            assert!((got - expected).abs() <= 1e-7 * expected.abs().max(1.0), "{got}, expected {expected}");
        }
    }
}

#[test]
fn scores_as_the_libraries_do() {
    agrees("lgb_nan", "lgb_nan.txt");
    agrees("lgb_ova", "lgb_ova.txt");
    agrees("xgb_nan", "xgb_nan.json");
    agrees("xgb_nan", "xgb_nan.ubj");
    agrees("xgb_dart_multi", "xgb_dart_multi.json");
}

#[test]
fn prints_what_is_asked_for_so_that_it_reads_back() {
    let output = score("xgb_nan.json", &[], "[1,2,3,4,null]\n\n[\"inf\",\"-inf\",\"nan\",1e300,0]");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let number = lines[0].strip_prefix("{\"pred\":").and_then(|rest| rest.strip_suffix('}')).unwrap();
    let read: f32 = number.parse().unwrap();
    assert_eq!(read.to_string(), number, "the shortest text of an f32");

    let files = tempfile::tempdir().unwrap();
    let [input, output] = ["in", "out"].map(|name| files.path().join(name));
    std::fs::write(&input, "[1,2,3,4,5]\n").unwrap();
    let options = ["--input", input.to_str().unwrap(), "--output", output.to_str().unwrap(), "--leaves"];
    assert!(score("lgb_nan.txt", &options, "").status.success());
    assert!(std::fs::read_to_string(&output).unwrap().contains("\"leaf\":["));
    let own = score("lgb_nan.txt", &["--input", options[1], "--output", options[1]], "");
    assert_eq!(own.status.code(), Some(1));
    assert!(String::from_utf8(own.stderr).unwrap().contains("is the input too"));
    assert_eq!(std::fs::read_to_string(&input).unwrap(), "[1,2,3,4,5]\n", "it is as it was");
}

#[test]
fn a_bad_line_is_named() {
    let check = |lines: &str, expected: &str| {
        let output = score("lgb_nan.txt", &[], lines);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.starts_with("error: ") && said.contains(expected), "{said}");
    };
    check("[1,2,3,4,5]\n[1,2,3,4]\n", "line 2: 4 features, expected 5");
    check("[1,2,3,4,5]\n\n{}\n", "line 3: ");
    check("[1,2,3,4,\"many\"]\n", "line 1: a number, null, \"nan\", \"inf\" or \"-inf\"");
    let output = score("make.py", &[], "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("make.py: neither LightGBM text nor XGBoost JSON or UBJ"), "{said}");
}
