//! Imported models against their libraries: every golden model that predicts a probability scores as its library does.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use serde_json::{Value as Json, json};

use super::{ImportOptions, ImportReport, run};
use crate::{
    goldens,
    lead::Value,
    registry::Version,
    score::{Encoding, FeatureSpec, Kind, Scratch},
    train::{
        TrainError,
        dataset::{Cells, Column, Raw, Roles},
    },
};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: ImportOptions,
}

/// Imports `file` with the sample and what else is said, into `folder/models/lead`.
fn import(folder: &Path, file: &Path, sample: &str, more: &[&str]) -> Result<ImportReport, TrainError> {
    let (csv, out) = (folder.join("leads.csv"), folder.join("models/lead"));
    fs::write(&csv, sample).unwrap();
    let line = ["import", file.to_str().unwrap(), "--sample", csv.to_str().unwrap(), "--out"];
    let line = [&line[..], &[out.to_str().unwrap()], more].concat();
    run(&Command::parse_from(line).options, |_| {})
}

/// A model of the tests' own, or of the reference data.
fn model(name: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trees").join(name);
    if own.exists() { Some(own) } else { goldens::path(&format!("goldens/models/{name}")) }
}

/// A golden's rows, those whose codes are whole and below as many as `coded` says of a column, with what the library predicts.
struct Rows {
    names: Vec<String>,
    rows: Vec<(Vec<Option<f64>>, f64)>,
}

impl Rows {
    fn read(golden: &Json, names: &[&str], coded: &[(usize, usize)]) -> Self {
        let fits = |(i, cell): (usize, &Option<f64>)| {
            let codes = coded.iter().find(|(column, _)| *column == i).map(|(_, codes)| 0.0..*codes as f64);
            let whole = |code: f64| code.fract() == 0.0 && code.is_sign_positive();
            cell.is_none_or(|cell| codes.is_none_or(|codes| whole(cell) && codes.contains(&cell)))
        };
        let rows = golden["inputs"].as_array().unwrap().iter().zip(golden["pred"].as_array().unwrap());
        let row = |(row, pred): (&Json, &Json)| {
            let finite = |cell: &Json| match cell {
                Json::String(_) => None,
                cell => Some(cell.as_f64()),
            };
            let cells: Vec<Option<f64>> =
                row.as_array().unwrap().iter().map(finite).collect::<Option<_>>()?;
            cells.iter().enumerate().all(fits).then(|| (cells, pred.as_f64().unwrap()))
        };
        let rows: Vec<_> = rows.filter_map(row).collect();
        assert!(rows.len() > 14, "{} rows", rows.len());
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), rows }
    }

    /// The rows as a table; `words` are those of codes, by column.
    fn csv(&self, words: &Json) -> String {
        let mut csv = self.names.join(",") + "\n";
        for (row, _) in &self.rows {
            let cells = row.iter().enumerate().map(|(i, cell)| match cell {
                None => String::new(),
                Some(code) if words.get(i.to_string()).is_some() => {
                    words[i.to_string()][*code as usize].as_str().unwrap().to_owned()
                }
                Some(number) => number.to_string(),
            });
            writeln!(csv, "{}", cells.collect::<Vec<_>>().join(",")).unwrap();
        }
        csv
    }

    /// The version scores each row as the library does, whether a code arrives as a number or as a word.
    fn check(&self, folder: &Path, words: &Json, link: fn(f64) -> f64) {
        let version = Version::load(folder).unwrap();
        let mut scratch = Scratch::default();
        for (i, (row, expected)) in self.rows.iter().enumerate() {
            let value = |(i, cell): (usize, &Option<f64>)| match cell {
                None => Value::Missing,
                Some(code) if words.get(i.to_string()).is_some() => {
                    Value::Text(words[i.to_string()][*code as usize].as_str().unwrap().to_owned().into())
                }
                Some(number) => Value::Number(*number),
            };
            let values: Vec<Value<'_>> = row.iter().enumerate().map(value).collect();
            let score = version.model.score(|i| &values[i], &mut scratch).unwrap().score.probability();
            let expected = link(*expected);
            // LightGBM takes the sigmoid in f64, as is done here; XGBoost in f32, which moves the last digit.
            match version.manifest.kind {
                Kind::Lightgbm => assert_eq!(score, expected as f32, "row {i}"),
                _ => assert!(
                    (f64::from(score) - expected).abs() < 1e-7,
                    "row {i}: {score}, expected {expected}"
                ),
            }
        }
        assert_eq!(version.manifest.golden.len(), 32);
        assert!(version.manifest.golden.last().unwrap().features.is_empty());
    }
}

const FIVE: [&str; 5] = ["size", "debt", "visits", "region", "kind"];

/// Models of the tests' own: rows as they stand, columns by the sample's names.
#[test]
fn small_models_score_as_their_libraries_do() {
    let check = |files: &[&str], golden: &str, coded: &[usize], more: &[&str]| {
        let codes: Vec<(usize, usize)> = coded.iter().map(|column| (*column, 500)).collect();
        let golden = fs::read(model(&format!("{golden}.golden.json")).unwrap()).unwrap();
        let rows = Rows::read(&serde_json::from_slice(&golden).unwrap(), &FIVE, &codes);
        for file in files {
            let folder = tempfile::tempdir().unwrap();
            let imported = import(folder.path(), &model(file).unwrap(), &rows.csv(&json!({})), more);
            let report = imported.unwrap_or_else(|error| panic!("{file}: {error}"));
            let link: fn(f64) -> f64 = match *file {
                "lgb_custom.txt" | "xgb_logitraw.json" => |logit| 1.0 / (1.0 + (-logit).exp()),
                _ => |probability| probability,
            };
            rows.check(&report.folder, &json!({}), link);
            let version = Version::load(&report.folder).unwrap();
            for (i, feature) in version.manifest.schema.features.iter().enumerate() {
                let category = matches!(feature.encoding, Encoding::Category { .. });
                assert_eq!((&*feature.name, category), (FIVE[i], coded.contains(&i)), "{file}");
            }
        }
    };
    for name in ["cross_entropy", "dart", "levels", "nan", "no_missing", "rf", "zero"] {
        check(&[&format!("lgb_{name}.txt")], &format!("lgb_{name}"), &[3, 4], &[]);
    }
    check(&["lgb_custom.txt"], "lgb_custom", &[3, 4], &["--objective", "binary"]);
    for name in ["dart", "linear", "logitraw", "reg_logistic"] {
        check(&[&format!("xgb_{name}.json")], &format!("xgb_{name}"), &[], &[]);
    }
    check(&["xgb_nan.json", "xgb_nan.ubj"], "xgb_nan", &[], &[]);
    for name in ["cat", "cat_nan", "cat_onehot"] {
        check(&[&format!("xgb_{name}.json")], &format!("xgb_{name}"), &[3, 4], &[]);
    }
    check(&["xgb_cat_levels.json", "xgb_cat_levels.ubj"], "xgb_cat_levels", &[3, 4], &[]);
}

#[test]
fn words_of_pandas_are_those_of_the_file() {
    let golden: Json =
        serde_json::from_slice(&fs::read(model("lgb_pandas.golden.json").unwrap()).unwrap()).unwrap();
    let rows = Rows::read(&golden, &["a", "size", "b", "c", "kind"], &[(1, 4), (4, 6)]);
    let folder = tempfile::tempdir().unwrap();
    let file = model("lgb_pandas.txt").unwrap();
    let report = import(folder.path(), &file, &rows.csv(&golden["words"]), &[]).unwrap();
    rows.check(&report.folder, &golden["words"], |probability| probability);
    let strange = rows.csv(&golden["words"]).replace("200+", "enormous");
    let report = import(folder.path(), &file, &strange, &[]).unwrap();
    assert_eq!(report.id, "lead/2");
    assert!(report.notes[0].starts_with("`size`: ") && report.notes[0].contains("no words of the model"));
    let manifest = fs::read_to_string(report.folder.join("manifest.json")).unwrap();
    assert!(!manifest.contains("enormous"), "what the model does not know stays out");
}

/// A model with some of its text replaced, in `folder`.
fn edited(folder: &Path, name: &str, edits: &[(&str, &str)]) -> PathBuf {
    let mut text = fs::read_to_string(model(name).unwrap()).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replacen(from, to, 1);
    }
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_folder_whose_versions_have_no_next_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("models/lead").join(u64::MAX.to_string())).unwrap();
    let sample = "a,size,b,c,kind\n1,200+,2,3,web\n";
    let error = import(folder.path(), &model("lgb_pandas.txt").unwrap(), sample, &[]).unwrap_err();
    assert!(error.to_string().ends_with("models/lead: has no number left for a version"), "{error}");
}

#[test]
fn names_are_those_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let file =
        edited(folder.path(), "lgb_pandas.txt", &[("feature_names=a size", "feature_names=a_b_c size")]);
    let sample = |header: &str| format!("{header}\n1,200+,2,3,web,4\n2,1-10,,4,mail,5\n");
    let report = import(folder.path(), &file, &sample("a b c,size,b,c,kind,more"), &[]).unwrap();
    assert_eq!(report.notes[0], "feature `a b c` is `a_b_c` in the model's file");
    assert_eq!(report.notes[1], "the model does not read more");
    let version = Version::load(&report.folder).unwrap();
    assert_eq!(version.model.features()[0].name, "a b c", "as the leads have it");
    let exact = import(folder.path(), &file, &sample("a_b_c,size,b,c,kind,a b c"), &[]).unwrap();
    assert_eq!(exact.notes[0], "the model does not read a b c");
    let features = Version::load(&exact.folder).unwrap().manifest.schema.features;
    let required: Vec<bool> = features.iter().map(|feature| feature.required).collect();
    assert_eq!(required, [true, true, false, true, true], "b has a gap");
    let error = import(folder.path(), &file, &sample("a_b c,size,b,c,kind,a b_c"), &[]).unwrap_err();
    assert!(error.to_string().contains("two columns could be the model's `a_b_c`"), "{error}");
}

#[test]
fn a_column_is_what_is_said_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let types = |file: &Path, sample: &str, more: &[&str]| {
        let report = import(folder.path(), file, sample, more).unwrap_or_else(|error| panic!("{error}"));
        let features = Version::load(&report.folder).unwrap().manifest.schema.features;
        features.iter().map(|feature| feature.feature_type().as_str()).collect::<Vec<_>>()
    };
    let (nan, xgb) = (model("lgb_nan.txt").unwrap(), model("xgb_nan.json").unwrap());
    let sample = "a,b,c,d,e\n1,True,2,0,1\n2,FALSE,3,1,-1\n";
    let beyond = import(folder.path(), &nan, &sample.replace("3,1,-1", "3,1,9"), &[]).unwrap();
    assert!(
        beyond.notes.contains(&"`e`: codes up to 9, the model knows them up to 5".to_owned()),
        "{beyond}"
    );
    assert_eq!(types(&nan, sample, &[]), ["number", "boolean", "number", "category", "category"]);
    assert_eq!(
        types(&xgb, sample, &["--category", "c,d"]),
        ["number", "boolean", "category", "category", "number"]
    );
    let schema = folder.path().join("schema.json");
    let column = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let columns = [("a", "number"), ("b", "boolean"), ("c", "boolean"), ("d", "category"), ("e", "number")];
    let columns = columns.map(|(name, kind)| column(name, kind));
    fs::write(&schema, json!({"features": columns}).to_string()).unwrap();
    let more = ["--schema", schema.to_str().unwrap()];
    let whole = "a,b,c,d,e\n1,yes,1.0,0,1\n2,no,0,1,-1\n";
    assert_eq!(types(&nan, whole, &more), ["number", "boolean", "boolean", "category", "number"]);
    let error = import(folder.path(), &nan, whole, &[&more[..], &["--category", "e"]].concat()).unwrap_err();
    assert!(error.to_string().contains("--category: column `e` is declared as something else"), "{error}");
}

#[test]
fn a_signature_names_columns_that_have_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let mlflow = folder.path().join("mlflow");
    fs::create_dir(&mlflow).unwrap();
    fs::copy(model("lgb_nan.txt").unwrap(), mlflow.join("model.lgb")).unwrap();
    let column = |(name, kind): (&str, &str)| json!({"name": name, "type": kind, "required": true});
    let columns = [("a", "double"), ("b", "boolean"), ("c", "long"), ("d", "string"), ("e", "string")];
    let inputs = json!(columns.map(column)).to_string();
    let document = format!("flavors: {{lightgbm: {{data: model.lgb}}}}\nsignature:\n  inputs: '{inputs}'\n");
    fs::write(mlflow.join("MLmodel"), document).unwrap();
    let sample = "e,d,c,b,a,won\n1,2,3,1,5,1\n0,1,,0,1.5,0\n";
    let report = import(folder.path(), &mlflow, sample, &["--drop", "won"]).unwrap();
    assert_eq!(report.file, "model.lgb");
    assert!(report.notes[0].contains("no names, and are the signature's"), "{report}");
    let schema = Version::load(&report.folder).unwrap().manifest.schema;
    let seen: Vec<_> = schema.features.iter().map(|f| (&*f.name, f.feature_type().as_str())).collect();
    let expected = ["number", "boolean", "number", "category", "category"];
    assert_eq!(seen, ["a", "b", "c", "d", "e"].into_iter().zip(expected).collect::<Vec<_>>());

    let told = folder.path().join("schema.json");
    fs::write(&told, serde_json::to_string(&schema).unwrap()).unwrap();
    let more = ["--drop", "won", "--schema", told.to_str().unwrap()];
    let again = import(folder.path(), &mlflow, sample, &more).unwrap();
    assert_eq!(Version::load(&again.folder).unwrap().manifest.schema, schema, "a manifest's schema is one");
    assert!(!again.notes[0].contains("no names"), "{again}");
}

#[test]
fn codes_beyond_what_a_manifest_can_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sample = "a,b,c,d,e\n1,2,3,0,1\n";
    let refused = |file: &Path| import(folder.path(), file, sample, &[]).unwrap_err().to_string();
    let file = edited(folder.path(), "lgb_nan.txt", &[("-1:0:2:3:1:5:4", "-1:0:2:3:1:5:4294967295")]);
    assert!(refused(&file).contains("column `e`: too many codes, up to 4294967295"));
    let many = ["-1:65535"; 5].join(" ");
    let text = fs::read_to_string(model("lgb_nan.txt").unwrap()).unwrap();
    let infos = text.lines().find(|line| line.starts_with("feature_infos=")).unwrap();
    let file = edited(folder.path(), "lgb_nan.txt", &[(infos, &format!("feature_infos={many}"))]);
    assert!(refused(&file).contains("column `e`: too many codes, up to 65535"));
}

/// The bank models of the reference data, once with words whose order an encoder has, once with codes. Some files call
/// their columns f0 to f18, the others have no names.
#[test]
fn bank_models_score_as_their_libraries_do() {
    let Some(encoders) = goldens::json("goldens/encoders.json") else { return };
    let bank = &encoders["bank"];
    let names: Vec<String> = (0..19).map(|i| format!("f{i}")).collect();
    let (mut words, mut vocabularies, mut coded) = (json!({}), json!({}), Vec::new());
    for (i, column) in bank["features"].as_array().unwrap().iter().enumerate().skip(9) {
        let vocabulary = &bank["categorical_vocab"][column.as_str().unwrap()];
        (words[i.to_string()], vocabularies[&names[i]]) = (vocabulary.clone(), vocabulary.clone());
        coded.push((i, vocabulary.as_array().unwrap().len()));
    }
    let encoder = json!({"features": names, "numeric": names[..9], "categorical_vocab": vocabularies});
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let check = |golden: &str, ends: &[&str]| {
        let Some(json) = goldens::json(&format!("goldens/{golden}.json")) else { return };
        let rows = Rows::read(&json, &names, &coded);
        for file in ends.iter().map(|end| model(&format!("{golden}.{end}")).unwrap()) {
            let folder = tempfile::tempdir().unwrap();
            let schema = folder.path().join("schema.json");
            fs::write(&schema, encoder.to_string()).unwrap();
            for (words, more) in [(&words, &["--schema", schema.to_str().unwrap()][..]), (&json!({}), &[])] {
                let report = import(folder.path(), &file, &rows.csv(words), more).unwrap();
                rows.check(&report.folder, words, |probability| probability);
            }
        }
    };
    for name in ["num", "cat", "goss", "sigmoid2", "unbalance"] {
        check(&format!("lgb_bank_{name}"), &["txt"]);
    }
    for name in ["num", "base02", "forest", "lossguide"] {
        check(&format!("xgb_bank_{name}"), &["json", "ubj"]);
    }
}

/// A file whose columns have no names, with its own encoder: the scores of two windows of real leads.
#[test]
fn a_model_and_its_encoder_score_real_leads() {
    let golden = "goldens/models/lgb_static_w12.encoder.json";
    let (Some(file), Some(encoder), Some(scores)) =
        (model("lgb_static_w12.txt"), goldens::path(golden), goldens::json("goldens/score_drift.json"))
    else {
        return;
    };
    for (at, window) in [(0, "w1"), (2, "w3")] {
        let sample = goldens::bytes(&format!("data/bank_windows/{window}.csv")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let more = ["--schema", encoder.to_str().unwrap(), "--target", "y", "--id", "row_id"];
        let more =
            [&more[..], &["--drop", "duration", "--label", "age=Years of age", "--protected", "marital"]];
        let sample = String::from_utf8(sample).unwrap();
        let report = import(folder.path(), &file, &sample, &more.concat()).unwrap();
        let version = Version::load(&report.folder).unwrap();
        let roles = Roles { target: Some("y"), ..Roles::default() };
        let path = folder.path().join("leads.csv");
        let mut raw = Raw::read(&path, roles).unwrap();
        let columns = std::mem::take(&mut raw.columns).into_iter().map(|(name, cells)| Column {
            name,
            unseen: 0,
            cells: Cells::numbers(&cells)
                .unwrap_or_else(|_| Cells::Words(cells.into_iter().map(Some).collect())),
        });
        let leads = raw.dataset(&path, columns.collect(), roles).unwrap();
        let place =
            |feature: &FeatureSpec| leads.columns.iter().position(|column| column.name == feature.name);
        let places: Vec<usize> = version.model.features().iter().map(|f| place(f).unwrap()).collect();
        let mut scratch = Scratch::default();
        for (row, expected) in scores["scores"][at].as_array().unwrap().iter().enumerate() {
            let lead = leads.lead(row);
            let score = version.model.score(|i| &lead[places[i]], &mut scratch).unwrap().score.probability();
            assert!((f64::from(score) - expected.as_f64().unwrap()).abs() < 1e-7, "{window} row {row}");
        }
        let expected = scores["vs"][window]["auc"].as_f64();
        let auc = report.metrics.unwrap().auc;
        assert!(expected.is_none_or(|expected| (auc - expected).abs() < 1e-9), "{window}: {auc}");
        let [age, marital] = ["age", "marital"].map(|name| {
            version.manifest.schema.features.iter().find(|feature| feature.name == name).unwrap()
        });
        assert_eq!((age.label.as_deref(), marital.protected), (Some("Years of age"), true));
    }
}
