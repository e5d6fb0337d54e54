//! `leadwire import`: models of other tools become versions, or are refused with a reason.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use leadwire::{
    lead::Value,
    registry::{Plain, Version},
    score::Scratch,
};
use serde_json::{Value as Json, json};

use crate::{
    goldens,
    support::{leadwire, text},
};

const MLMODEL: &str = r#"flavors:
  lightgbm:
    data: model.lgb
    lgb_version: 4.7.0
  python_function:
    loader_module: mlflow.lightgbm
signature:
  inputs: '[{"type": "double", "name": "a", "required": true}, {"type": "string",
    "name": "size", "required": true}]'
"#;

fn trees(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trees").join(name)
}

/// A folder for models, with a sample in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new(sample: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("leads.csv"), sample).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn import(&self, file: &str, more: &[&str]) -> Output {
        let (sample, out) = (self.path("leads.csv"), self.path("models/lead"));
        leadwire(&[&["import", file, "--sample", &sample, "--out", &out], more].concat())
    }

    fn imported(&self, file: &str, more: &[&str]) -> Json {
        let output = self.import(file, &[more, &["--json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn models(&self, arguments: &[&str]) -> String {
        let output = leadwire(&[&["models", "--models", &self.path("models")], arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    }
}

/// Twenty leads of the model that was trained from pandas, with the words it knows, and what the library predicts.
fn pandas() -> (String, Vec<f64>) {
    let golden: Json = serde_json::from_slice(&fs::read(trees("lgb_pandas.golden.json")).unwrap()).unwrap();
    let mut csv = "id,a,size,b,c,kind,won\n".to_owned();
    let preds: Vec<f64> = golden["pred"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    for (i, row) in golden["inputs"].as_array().unwrap().iter().enumerate() {
        let word =
            |at: usize| golden["words"][at.to_string()][row[at].as_f64().unwrap() as usize].as_str().unwrap();
        let won = preds[i] > 0.5;
        writeln!(csv, "{i},{},{},{},{},{},{won}", row[0], word(1), row[2], row[3], word(4)).unwrap();
    }
    (csv, preds)
}

/// Scores the rows of a table that has the model's columns, by name.
fn scores(folder: &str, rows: &[Json]) -> Vec<f64> {
    let version = Version::load(Path::new(folder)).unwrap();
    let mut scratch = Scratch::default();
    let score = |row: &Json| {
        let plain = |name: &str| match &row[name] {
            Json::Null => None,
            value => Some(serde_json::from_value::<Plain>(value.clone()).unwrap()),
        };
        let plain: Vec<Option<Plain>> = version.model.features().iter().map(|f| plain(&f.name)).collect();
        let values: Vec<Value<'_>> =
            plain.iter().map(|value| value.as_ref().map_or(Value::Missing, Plain::value)).collect();
        let scored = version.model.score(|i| &values[i], &mut scratch).unwrap();
        f64::from(scored.score.probability())
    };
    rows.iter().map(score).collect()
}

#[test]
fn the_sample_of_an_import_scores_as_the_library_does() {
    let (csv, preds) = pandas();
    let place = Place::new(&csv.replacen(",size,", ",company size,", 1));
    let file = fs::read_to_string(trees("lgb_pandas.txt")).unwrap();
    let names = "feature_names=a size";
    assert!(file.contains(names));
    fs::write(place.path("model.txt"), file.replacen(names, "feature_names=a company_size", 1)).unwrap();
    let report = place.imported(&place.path("model.txt"), &[]);
    assert_eq!(report["notes"][0], "feature `company size` is `company_size` in the model's file");
    let (models, sample) = (place.path("models"), place.path("leads.csv"));
    let output = leadwire(&["score", "--models", &models, "--model", "lead", "--input", &sample]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let score = |row: &str| row.split(',').nth(7).unwrap().parse::<f32>().unwrap();
    let scores: Vec<f32> = text(&output.stdout).lines().skip(1).map(score).collect();
    assert_eq!(scores, preds.iter().map(|pred| *pred as f32).collect::<Vec<_>>());
}

#[test]
fn an_mlflow_folder_becomes_a_version() {
    let (csv, preds) = pandas();
    let place = Place::new(&csv);
    fs::create_dir(place.path("mlflow")).unwrap();
    fs::write(place.path("mlflow/MLmodel"), MLMODEL).unwrap();
    fs::copy(trees("lgb_pandas.txt"), place.path("mlflow/model.lgb")).unwrap();
    let folder = place.path("mlflow");

    let output = place.import(&folder, &["--id", "id", "--drop", "won"]);
    let said = text(&output.stdout);
    for part in ["model.lgb: lightgbm, 5 trees, 5 features", "not known without --target", "20 rows are few"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("wrote lead/1 to ") && said.contains("the highest version serves"), "{said}");
    let version = Version::load(Path::new(&place.path("models/lead/1"))).unwrap();
    let lineage = &version.manifest.lineage;
    assert_eq!((&*lineage.dataset, lineage.rows, lineage.seed), ("leads.csv", 20, None));
    assert_eq!(lineage.imported.as_ref().unwrap().file, "model.lgb");
    let manifest = fs::read_to_string(place.path("models/lead/1/manifest.json")).unwrap();
    assert!(!manifest.contains(place.0.path().to_str().unwrap()), "no path of this machine");
    assert!(place.models(&["show", "lead/1"]).contains("auc            not known"));
    let list = place.models(&["list"]);
    let line: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(line[..6], ["lead", "1", "champion", "lightgbm", "-", "20"]);

    let report = place.imported(&folder, &["--id", "id", "--target", "won", "--calibration", "platt"]);
    assert_eq!(
        (&report["id"], &report["trees"], &report["metrics"]["auc"]),
        (&json!("lead/2"), &json!(5), &json!(1.0))
    );
    let show = place.models(&["show", "lead/2"]);
    assert!(
        show.contains("described by")
            && show.contains("20 rows of the sample, ")
            && show.contains("leads.csv"),
        "{show}"
    );
    assert!(place.models(&["diff", "lead/1", "lead/2"]).contains("auc"));

    let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let cell = |text: &str| text.parse::<f64>().map_or(json!(text), |number| json!(number));
    let row = |line: &str| header.iter().copied().map(String::from).zip(line.split(',').map(cell)).collect();
    let rows: Vec<Json> = csv.lines().skip(1).map(row).collect();
    for (score, pred) in scores(&place.path("models/lead/1"), &rows).iter().zip(preds) {
        assert!((score - pred).abs() < 1e-7, "{score}, expected {pred}");
    }
}

#[test]
fn networks_become_versions_with_their_preprocessing() {
    let Some(golden) = goldens::json("goldens/nn_bank.json") else { return };
    let rows = golden["inputs"].as_array().unwrap();
    let names: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    let mut csv = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",") + "\n";
    for row in rows {
        let cell = |name: &&String| match &row[name.as_str()] {
            Json::String(word) => word.clone(),
            Json::Null => String::new(),
            number => number.to_string(),
        };
        writeln!(csv, "{}", names.iter().map(cell).collect::<Vec<_>>().join(",")).unwrap();
    }
    let place = Place::new(&csv);
    let schema = place.path("schema.json");
    // The order of the categories is the network's: a map that sorts its keys would lose it.
    let text = fs::read_to_string(goldens::path("goldens/nn_bank.json").unwrap()).unwrap();
    let from = text.find("\"preprocess\":").unwrap() + "\"preprocess\":".len();
    let mut values =
        serde_json::Deserializer::from_str(&text[from..]).into_iter::<Box<serde_json::value::RawValue>>();
    let preprocess = values.next().unwrap().unwrap().get().to_owned();
    fs::write(&schema, &preprocess).unwrap();
    for (i, (file, pred, layers)) in
        [("mlp_bank", "pred_mlp", 3), ("logreg_bank", "pred_logreg", 1)].into_iter().enumerate()
    {
        let model = goldens::path(&format!("goldens/models/{file}.safetensors")).unwrap();
        let report = place.imported(model.to_str().unwrap(), &["--schema", &schema]);
        assert_eq!(report["layers"], layers);
        let got = scores(&place.path(&format!("models/lead/{}", i + 1)), rows);
        for (score, expected) in got.iter().zip(golden[pred].as_array().unwrap()) {
            assert!(
                (score - expected.as_f64().unwrap()).abs() < 2e-5,
                "{file}: {score}, expected {expected}"
            );
        }
        let bare = place.import(model.to_str().unwrap(), &[]);
        assert!(self::text(&bare.stderr).contains("pass --schema"));
        let wider = preprocess.replacen("\"no\"", "\"no\", \"never\"", 1);
        fs::write(place.path("wider.json"), wider).unwrap();
        let misfit = place.import(model.to_str().unwrap(), &["--schema", &place.path("wider.json")]);
        let said = self::text(&misfit.stderr);
        assert!(
            said.contains(&format!("{file}.safetensors: weights: tensor ")) && said.contains("81], expected"),
            "{said}"
        );
    }
    let model = goldens::path("goldens/models/mlp_bank.safetensors").unwrap();
    fs::write(place.path("bare.json"), r#"{"features": [{"name": "age", "type": "number"}]}"#).unwrap();
    let bare = place.import(model.to_str().unwrap(), &["--schema", &place.path("bare.json")]);
    assert!(self::text(&bare.stderr).contains("bare.json: column `age`: a network's schema needs median"));
    fs::write(place.path("torn.safetensors"), "{}").unwrap();
    let torn = place.import(&place.path("torn.safetensors"), &["--schema", &schema]);
    assert!(self::text(&torn.stderr).contains("torn.safetensors: weights: "));
}

/// Refused with a part of the reason, and nothing is written. The text after `--schema` is the schema.
fn refused(model: &str, sample: &str, more: &[&str], expected: &str) {
    let place = Place::new(sample);
    let schema = place.path("schema.json");
    let more = match more {
        ["--schema", text] => {
            fs::write(&schema, text).unwrap();
            vec!["--schema", &schema]
        }
        more => more.to_vec(),
    };
    let model =
        if model.starts_with("absent") { model.to_owned() } else { trees(model).display().to_string() };
    let output = place.import(&model, &more);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{expected}: {said}");
    assert!(said.contains("error: ") && said.contains(expected), "expected {expected}: {said}");
    assert!(!Path::new(&place.path("models")).exists(), "nothing is written");
}

#[test]
fn columns_that_are_not_the_models_are_refused() {
    let (csv, _) = pandas();
    let check =
        |sample: &str, more: &[&str], expected: &str| refused("lgb_pandas.txt", sample, more, expected);
    let without = |column: &str| csv.replacen(column, "other", 1);
    check(&without("size"), &[], "leads.csv: column `size` is missing");
    check(&csv.replacen("0.346", "many", 1), &[], "line 2, column `a`: not a finite number");
    let strange = csv.replace("web", "w").replace("event", "e").replace("phone", "p");
    let strange = strange.replace("mail", "m").replace("fair", "f").replace("other", "o");
    check(&strange, &[], "line 2, column `kind`: neither this nor any other cell is a word");
    check("id,a,size,b,c,kind,won\n", &[], "holds no rows");
    check(&csv, &["--target", "lost"], "column `lost` is missing");
    check(&csv, &["--target", "kind"], "column `kind`: not one of 0, 1");
    check(&csv, &["--label", "age=Age"], "--label: column `age` is no feature");
    check(&csv, &["--protected", "age"], "--protected: column `age` is no feature");
    check(&csv, &["--category", "age"], "--category: column `age` is no feature");
    check(&csv, &["--objective", "binary"], "the file has its own, `binary`");
    let words = r#"{"features": [{"name": "a", "type": "number"}]}"#;
    check(&csv, &["--schema", words], "column `size` is not in the schema");
    let more = ["a", "size", "b", "c", "kind", "d"].map(|name| json!({"name": name, "type": "number"}));
    check(&csv, &["--schema", &json!({"features": more}).to_string()], "no column `d`");
    check(&csv, &["--schema", "{"], "schema.json: EOF");
}

#[test]
fn codes_and_words_that_are_not_the_models_are_refused() {
    let check = |sample: &str, more: &[&str], expected: &str| refused("lgb_nan.txt", sample, more, expected);
    let numbers = |cells: &str| format!("a,b,c,d,e\n1,2,3,1,{cells}\n1,2,3,0,\n");
    check("a,b,c,d\n1,2,3,1\n", &[], "5 columns without names, of which 4 are told");
    check(&numbers("web"), &[], "line 2, column `e`: a word, and the model does not say which code");
    check(&numbers("web"), &["--sorted-words"], "codes up to 5, the vocabulary has 1 words");
    check(&numbers("2.5"), &[], "line 2, column `e`: neither a whole number");
    check("a,b,c,d,e\n1,2,3,1,6\n1,2,3,0,9\n", &[], "column `e`: no code is one of the model's, 0 to 5");
    check(&numbers("1e9"), &[], "line 2, column `e`: greater than any code");
    let named = |e: Json| {
        let number = |name: &str| json!({"name": name, "type": "number"});
        json!({"features": [number("a"), number("b"), number("c"), number("d"), e]}).to_string()
    };
    let short = named(json!({"name": "e", "type": "category", "vocabulary": ["web", "phone"]}));
    check(&numbers("web"), &["--schema", &short], "codes up to 5, the vocabulary has 2 words");
    let twice = named(json!({"name": "a", "type": "number"}));
    check(&numbers("1"), &["--schema", &twice], "column `a` is missing");
}

#[test]
fn files_that_predict_no_probability_are_refused() {
    let check = |model: &str, expected: &str| refused(model, "a,b,c,d,e\n1,2,3,1,1\n", &[], expected);
    check("lgb_ova.txt", "predicts classes, not a probability");
    check("lgb_poisson.txt", "`poisson` predicts an amount, not a probability");
    check("xgb_gamma.json", "`reg:gamma` predicts an amount");
    check("lgb_custom.txt", "names no objective");
    check("make.py", "make.py: neither LightGBM text nor XGBoost");
    check("absent.txt", "absent.txt: ");
    check("absent.pkl", "absent.pkl: only Python can open a pickle");
    check("", "MLmodel: ");
}

#[test]
fn words_in_the_alphabets_order_and_codes_reach_the_trees_as_the_same() {
    let words = ["event", "fair", "mail", "other", "phone", "web"];
    let row = |i: usize| [format!("{},{}", i % 4, words[i % 6]), format!("{}.0,{}.0", i % 4, i % 6)];
    let sample = |at: usize| {
        let rows = (0..24).map(|i| format!("0.{i},-0.5,1.5,{}\n", row(i)[at]));
        format!("a b,b,c,region,kind\n{}", rows.collect::<String>())
    };
    let scored = |at: usize, more: &[&str]| {
        let place = Place::new(&sample(at));
        let report = place.imported(trees("lgb_nan.txt").to_str().unwrap(), more);
        let golden = Version::load(Path::new(&place.path("models/lead/1"))).unwrap().manifest.golden;
        (golden.iter().map(|golden| golden.score).collect::<Vec<_>>(), report)
    };
    let (by_word, report) = scored(0, &["--sorted-words"]);
    assert_eq!(by_word, scored(1, &[]).0);
    assert!(by_word.windows(2).any(|pair| pair[0] != pair[1]));
    assert_eq!(report["rows"], 24);
}

#[test]
fn a_calibration_needs_a_target() {
    let place = Place::new("a\n1\n");
    let output = place.import("model.txt", &["--calibration", "platt"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--target"), "{}", text(&output.stderr));
}
