//! Every golden of the two libraries, models of every other form, and files that lie.

use std::path::Path;

use serde_json::Value;

use super::{forest::Layout, *};
use crate::goldens;

/// A golden and the bytes of its model's files.
struct Golden {
    name: String,
    files: Vec<(String, Vec<u8>)>,
    json: Value,
}

/// The reference goldens where they are, and the small models beside the tests.
fn all() -> Vec<Golden> {
    let mut all = Vec::new();
    if let Some(folder) = goldens::path("goldens") {
        all.extend(read(&folder, ".json", |path| goldens::json(&format!("goldens/{path}")).unwrap()));
        assert_eq!(all.len(), 16);
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trees");
    all.extend(read(&own, ".golden.json", |path| {
        serde_json::from_slice(&std::fs::read(own.join(path)).unwrap()).unwrap()
    }));
    assert!(all.len() >= 30);
    all
}

fn read(folder: &Path, end: &str, json: impl Fn(&str) -> Value) -> Vec<Golden> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(end) else { continue };
        if !(name.starts_with("lgb_") || name.starts_with("xgb_")) {
            continue;
        }
        let json = json(&file);
        let models = match &json["model"] {
            Value::String(one) => vec![one.clone()],
            many => serde_json::from_value(many.clone()).unwrap(),
        };
        let files =
            models.into_iter().map(|model| (model.clone(), std::fs::read(folder.join(model)).unwrap()));
        found.push(Golden { name: name.to_owned(), files: files.collect(), json });
    }
    found
}

impl Golden {
    fn load(&self, bytes: &[u8]) -> Trees {
        let trees = match &self.json["note"] {
            Value::String(note) if note == "identity" => Trees::lightgbm(bytes, NoObjective::Identity),
            _ => Trees::read(bytes),
        };
        trees.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Laid out as trees of more than 64 leaves are.
    fn walk(&self, bytes: &[u8]) -> Trees {
        match bytes {
            [b't', ..] => lightgbm::read(bytes, NoObjective::Identity, Layout::Walk),
            [b'{', b'L', ..] => xgboost::read(&ubj::read(bytes).unwrap(), Layout::Walk),
            _ => xgboost::read(&serde_json::from_slice(bytes).unwrap(), Layout::Walk),
        }
        .unwrap()
    }

    fn rows(&self) -> Vec<Vec<f64>> {
        self.json["inputs"].as_array().unwrap().iter().map(numbers).collect()
    }

    /// Compares each row's result with the golden's, allowing `tolerance`.
    fn check(&self, key: &str, tolerance: f64, mut score: impl FnMut(&[f64]) -> Vec<f64>) {
        let Some(expected) = self.json[key].as_array() else { return };
        for (i, (row, expected)) in self.rows().iter().zip(expected).enumerate() {
            let (got, expected) = (score(row), numbers(expected));
            let close = |(a, b): (&f64, &f64)| {
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * b.abs().max(1.0)
            };
            let same = got.len() == expected.len() && got.iter().zip(&expected).all(close);
            assert!(same, "{} {key} row {i} {row:?}: {got:?}, expected {expected:?}", self.name);
        }
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    let number = |value: &Value| match value {
        Value::Null => f64::NAN,
        Value::String(text) => text.parse().unwrap(),
        other => other.as_f64().unwrap(),
    };
    value.as_array().map_or_else(|| vec![number(value)], |list| list.iter().map(number).collect())
}

#[test]
fn the_logit_is_that_of_the_prediction() {
    let mut forests = 0;
    for golden in all() {
        let trees = golden.load(&golden.files[0].1);
        let Some(scale) = trees.logit_scale() else { continue };
        forests += usize::from(scale < 0.5);
        for row in golden.rows() {
            let (mut raw, mut predicted, mut scratch) = ([0.0], [0.0], TreeScratch::default());
            trees.raw(&row, &mut scratch, &mut raw).unwrap();
            trees.predict(&row, &mut scratch, &mut predicted).unwrap();
            let logit = raw[0] * scale;
            let expected =
                if trees.objective() == "binary:logitraw" { logit } else { 1.0 / (1.0 + (-logit).exp()) };
            assert!((predicted[0] - expected).abs() < 1e-7, "{}", golden.name);
        }
    }
    assert!(forests > 0, "none averages its iterations");
}

#[test]
fn agrees_with_the_libraries() {
    for golden in all() {
        for (_, bytes) in &golden.files {
            check_against(&golden, &golden.load(bytes));
            check_against(&golden, &golden.walk(bytes));
        }
    }
}

fn check_against(golden: &Golden, trees: &Trees) {
    let mut scratch = TreeScratch::default();
    let classes = trees.classes();
    let mut scored = |row: &[f64], part: Part<'_>, raw: bool| {
        let mut out = vec![0.0; classes];
        if raw { part.raw(row, &mut scratch, &mut out) } else { part.predict(row, &mut scratch, &mut out) }
            .unwrap();
        out
    };
    let linear = trees.trees() == 0;
    let (exact, close) =
        if trees.is_single() { (if linear { 2e-7 } else { 0.0 }, 1e-7) } else { (0.0, 1e-15) };
    golden.check("raw", exact, |row| scored(row, trees.part(0..usize::MAX), true));
    golden.check("pred", close, |row| scored(row, trees.part(0..usize::MAX), false));
    golden.check("pred_first5", close, |row| scored(row, trees.part(0..5), false));
    golden.check("pred_start1_n3", close, |row| scored(row, trees.part(1..4), false));
    golden.check("raw_start3_n4", exact, |row| scored(row, trees.part(3..7), true));
    golden.check("leaf", 0.0, |row| {
        let mut out = vec![0; trees.trees()];
        trees.leaves(row, &mut TreeScratch::default(), &mut out).unwrap();
        out.into_iter().map(f64::from).collect()
    });
    let rows = golden.rows().concat();
    let mut batch = vec![0.0; golden.rows().len() * classes];
    trees.raw_batch(&rows, &mut scratch, &mut batch).unwrap();
    let mut each = batch.chunks(classes);
    golden.check("raw", exact, |_| each.next().unwrap().to_vec());
}

#[test]
fn both_formats_of_xgboost_hold_the_same() {
    let mut pairs = 0;
    for golden in all() {
        if let [(_, json), (_, ubj)] = golden.files.as_slice() {
            let json: document::Document = serde_json::from_slice(json).unwrap();
            let [json, ubj] =
                [json, ubj::read(ubj).unwrap()].map(|document| format!("{:?}", sorted(document)));
            assert_eq!(json, ubj, "{}", golden.name);
            pairs += 1;
        }
    }
    assert!(pairs >= 3);
}

/// Numbers of every list as f32: JSON has the shortest text that reads back as that.
fn sorted(document: document::Document) -> document::Document {
    use document::Document;
    match document {
        Document::Numbers(numbers) => {
            Document::Numbers(numbers.into_iter().map(|x| f64::from(x as f32)).collect())
        }
        Document::List(list) => Document::List(list.into_iter().map(sorted).collect()),
        Document::Map(map) => {
            Document::Map(map.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        other => other,
    }
}

/// A small file of the tests' own.
fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trees").join(name)).unwrap()
}

#[test]
fn words_of_pandas_stand_by_column() {
    let trees = Trees::read(&file("lgb_pandas.txt")).unwrap();
    assert_eq!(trees.names(), ["a", "size", "b", "c", "kind"]);
    assert_eq!(trees.categories(1).unwrap(), ["200+", "1-10", "51-200", "11-50"]);
    assert_eq!(trees.categories(4).unwrap().len(), 6);
    assert_eq!(trees.categories(0), None);
}

#[test]
fn categorical_columns_are_known_with_their_greatest_code() {
    let check = |bytes: &[u8], expected: [Option<u32>; 5]| {
        let trees = Trees::read(bytes).unwrap();
        assert_eq!(std::array::from_fn(|column| trees.greatest_code(column)), expected);
    };
    check(&file("lgb_pandas.txt"), [None, Some(3), None, None, Some(5)]);
    check(&file("lgb_nan.txt"), [None, None, None, Some(3), Some(5)]);
    check(&file("xgb_nan.json"), [None; 5]);
    // XGBoost knows the codes it splits by.
    let trees = Trees::read(&file("xgb_cat.json")).unwrap();
    assert_eq!([0, 1, 2].map(|column| trees.greatest_code(column)), [None; 3]);
    assert!([3, 4].iter().all(|column| trees.greatest_code(*column).is_some_and(|code| code <= 5)));
    // The parameters' list alone marks a column, and a split alone does.
    let text = String::from_utf8(file("lgb_nan.txt")).unwrap();
    let infos = text.replacen("-1:0:2:3:1 ", "none ", 1);
    let unmarked = infos.replacen("[categorical_feature: 3,4]", "[categorical_feature: ]", 1);
    assert_ne!(infos, unmarked);
    for text in [infos, unmarked] {
        assert!(Trees::read(text.as_bytes()).unwrap().greatest_code(3).is_some());
    }
}

#[test]
fn names_that_lightgbm_made_up_are_none() {
    assert_eq!(Trees::read(&file("lgb_nan.txt")).unwrap().names(), [""; 0]);
    let text = String::from_utf8(file("lgb_nan.txt")).unwrap().replacen("Column_1", "age", 1);
    assert_eq!(Trees::read(text.as_bytes()).unwrap().names()[..2], ["Column_0", "age"]);
}

#[test]
fn numbers_of_pandas_are_words_as_the_encoder_looks_them_up() {
    let text = String::from_utf8(file("lgb_pandas.txt")).unwrap();
    let text = text.replacen(r#"["200+", "1-10", "51-200", "11-50"]"#, "[3, 2.0, 0.5, true]", 1);
    assert_eq!(Trees::read(text.as_bytes()).unwrap().categories(1).unwrap(), ["3", "2", "0.5", "true"]);
}

#[test]
fn a_sum_is_a_logit_where_a_person_says_so() {
    let bytes = file("lgb_custom.txt");
    assert!(Trees::read(&bytes).is_err());
    assert_eq!(Trees::lightgbm(&bytes, NoObjective::Identity).unwrap().predicts(), "an amount");
    assert_eq!(Trees::read_as(&bytes, NoObjective::Logit).unwrap().logit_scale(), Some(1.0));
}

/// Replaces text in a file and expects a part of the error.
fn refused(name: &str, from: &str, to: &str, expected: &str) {
    let text = String::from_utf8(file(name)).unwrap();
    assert!(text.contains(from), "{name} has no {from}");
    let error = Trees::read(text.replacen(from, to, 1).as_bytes()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(expected), "{from} -> {to}: {error}");
}

#[test]
fn lightgbm_is_refused_by_name() {
    let check = |from, to, expected| refused("lgb_nan.txt", from, to, expected);
    check("tree\n", "tres\n", "neither");
    check("=v4", "=v9", "version `v9`");
    check("binary sigmoid:1", "lambdarank", "objective `lambdarank`");
    check("binary sigmoid:1", "binary", "objective `binary`");
    check("binary sigmoid:1", "binary sigmoid:1 extra:2", "setting `extra:2`");
    check("binary sigmoid:1", "multiclass num_class:1", "does not fit 1 classes");
    check("objective=binary sigmoid:1\n", "", "no objective");
    check("label_index=0", "label_index=0\nbias=3", "line 6: key `bias` is not known");
    check("shrinkage=1", "shrinkage=1\nbias=3", "key `bias` is not known");
    check("num_leaves=6", "num_leaves=7", "leaf_value: 6 numbers, expected 7");
    check("num_leaves=6", "num_leaves=0", "tree 0: no leaves");
    check("num_tree_per_iteration=1", "num_tree_per_iteration=4", "4 per iteration");
    check("max_feature_idx=4", "max_feature_idx=5", "5 feature_names");
    check("Tree=1", "Tree=2", "expected `Tree=1`");
    check("end of trees", "", "expected");
    check("split_feature=", "split_feature=9", "reads feature 9");
    check("left_child=", "left_child=0", "left_child");
    check("threshold=", "threshold=nan ", "threshold: 6 numbers");
    check("leaf_value=", "leaf_value=inf ", "leaf_value: 7 numbers");
    check("Tree=0\nnum_leaves=6", "Tree=0\nnum_leaves=6\nnum_leaves=6", "a second `num_leaves`");
    check("cat_boundaries=0", "cat_boundaries=1", "cat_boundaries do not fit");
    check("pandas_categorical:null", "pandas_categorical:[[1]]", "1 lists for 2");
}

#[test]
fn lightgbm_trees_that_lie_are_refused() {
    let small = |left: &str, right: &str, threshold: &str, leaf: &str, decision: &str| {
        let text = format!(
            "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n\
             objective=regression\nfeature_names=a\nfeature_infos=[0:1]\ntree_sizes=1\n\n\
             Tree=0\nnum_leaves=3\nnum_cat=0\nsplit_feature=0 0\nthreshold={threshold} 1\n\
             decision_type={decision} 2\nleft_child={left}\nright_child={right}\nleaf_value={leaf} 1 2\n\n\nend of trees\n"
        );
        Trees::read(text.as_bytes()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(small("1 -1", "-2 -3", "0", "0", "2"), Ok(()));
    let check = |got: Result<(), String>, expected: &str| {
        let error = got.unwrap_err();
        assert!(error.starts_with("tree 0: ") && error.contains(expected), "{error}");
    };
    check(small("0 -1", "-2 -3", "0", "0", "2"), "child 0, which is not below");
    check(small("1 1", "-2 -3", "0", "0", "2"), "child 1, which is not below");
    check(small("1 -1", "-2 -2", "0", "0", "2"), "leaf 1 has two parents");
    check(small("1 -1", "-2 -9", "0", "0", "2"), "leaf 8 does not exist");
    check(small("7 -1", "-2 -3", "0", "0", "2"), "split 7 does not exist");
    check(small("1 -1", "-2 -3", "nan", "0", "2"), "not finite");
    check(small("1 -1", "-2 -3", "0", "inf", "2"), "leaf 0 is not finite");
    check(small("1 -1", "-2 -3", "0", "0", "14"), "decision_type 14");
    check(small("1 -1", "-2 -3", "0", "0", "1"), "category set 0");
}

#[test]
fn xgboost_is_refused_by_name() {
    let check = |from, to, expected| refused("xgb_nan.json", from, to, expected);
    check("binary:logistic", "rank:ndcg", "objective `rank:ndcg`");
    check("\"gbtree\"", "\"gbforest\"", "booster `gbforest`");
    check("\"attributes\"", "\"attribute\"", "key `attribute`");
    check("\"base_weights\"", "\"leaf_weights\"", "tree 0: key `leaf_weights`");
    check("\"enc\":[]", "\"enc\":[1]", "`cats`");
    check("\"num_target\":\"1\"", "\"num_target\":\"2\"", "`num_target`");
    check("\"size_leaf_vector\":\"1\"", "\"size_leaf_vector\":\"2\"", "several values");
    check("\"base_score\":\"[", "\"base_score\":\"[0.5,", "`base_score`: 2 scores");
    check("\"base_score\":\"[", "\"base_score\":\"[9", "`base_score`: is no score");
    check("\"num_class\":\"0\"", "\"num_class\":\"2\"", "1 scores, 2 classes");
    check("\"num_feature\":\"5\",\"num_target\"", "\"num_feature\":\"2\",\"num_target\"", "of 2");
    check("\"left_children\":[1", "\"left_children\":[0", "child 0, which is not below");
    check("\"tree_info\":[0", "\"tree_info\":[1", "`tree_info`");
    check("\"split_type\":[0", "\"split_type\":[2", "split_type");
    check("\"split_type\":[0", "\"split_type\":[1", "node 0: its categories");
    check("\"split_conditions\":[", "\"split_conditions\":[0,", "different lengths");
    check("{\"learner\"", "{\"learner\":1,\"learner\"", "twice");
}

#[test]
fn base_score_is_read_in_both_forms() {
    let text = String::from_utf8(file("xgb_logitraw.json")).unwrap();
    let (before, after) = text.split_once("\"base_score\":\"[").unwrap();
    let (score, after) = after.split_once("]\"").unwrap();
    let old = format!("{before}\"base_score\":\"{score}\"{after}");
    let raw = |bytes: &[u8]| {
        let mut out = [0.0];
        Trees::read(bytes).unwrap().raw(&[0.5; 5], &mut TreeScratch::default(), &mut out).unwrap();
        out
    };
    assert_eq!(raw(old.as_bytes()), raw(text.as_bytes()));
}

#[test]
fn no_byte_of_a_file_can_panic() {
    for name in [
        "lgb_levels.txt",
        "lgb_linear_nan.txt",
        "lgb_ova.txt",
        "xgb_cat_levels.json",
        "xgb_linear_multi.ubj",
        "xgb_nan.ubj",
    ] {
        let whole = file(name);
        for end in (0..whole.len()).step_by(13) {
            let _ = Trees::read(&whole[..end]).map(|trees| score(&trees));
        }
        for at in (0..whole.len()).step_by(7) {
            let mut spoilt = whole.clone();
            spoilt[at] = b"0-9\xff =.eL#"[at % 10];
            let _ = Trees::read(&spoilt).map(|trees| score(&trees)); // a threshold may well be another
        }
    }
}

/// Scores a row of the model's own width, where that is one a row could have.
fn score(trees: &Trees) {
    if trees.features() < 1000 {
        let mut out = vec![0.0; trees.classes()];
        trees.predict(&vec![0.5; trees.features()], &mut TreeScratch::default(), &mut out).unwrap();
    }
}

#[test]
fn lengths_are_capped_by_the_bytes_left() {
    let claims = |kind: &str, length: i64| {
        let mut bytes = format!("{{i\x01a[{kind}#L").into_bytes();
        bytes.extend(length.to_be_bytes());
        ubj::read(&bytes).unwrap_err().to_string()
    };
    assert!(claims("$d", i64::MAX / 8).contains("more than the bytes left"));
    assert!(claims("", -1).contains("more than the bytes left"));
    assert!(claims("$Z", 1 << 40).contains("without bytes"));
    let deep = [b"{i\x01a".as_slice(), &[b'['; 100_000]].concat();
    assert!(ubj::read(&deep).unwrap_err().to_string().contains("nested too deep"));
    let deep = [b"{\"a\":".as_slice(), &[b'['; 100_000]].concat();
    assert!(Trees::read(&deep).unwrap_err().to_string().contains("recursion limit"));
}

#[test]
fn every_marker_of_ubj_is_read() {
    let mut bytes = b"{i\x01a[i\xffU\xffI\xff\xfel\xff\xff\xff\xfdL\xff\xff\xff\xff\xff\xff\xff\xfc".to_vec();
    bytes.extend(b"d\x3f\x80\0\0D\x3f\xf0\0\0\0\0\0\0N]NU\x01b{}I\0\x01cTi\x01dFi\x01eZi\x01fCxi\x01gSU\x02hii\x01h[#i\x01[]}");
    let text = format!("{:?}", ubj::read(&bytes).unwrap());
    let expected = r#"Map({"a": Numbers([-1.0, 255.0, -2.0, -3.0, -4.0, 1.0, 1.0]), "b": Map({}), "c": Boolean(true), "d": Boolean(false), "e": Null, "f": Text("x"), "g": Text("hi"), "h": List([Numbers([])])})"#;
    assert_eq!(text, expected);
}

#[test]
fn a_row_must_fit() {
    let trees = Trees::read(&file("lgb_nan.txt")).unwrap();
    let mut scratch = TreeScratch::default();
    let error = trees.raw(&[0.0; 4], &mut scratch, &mut [0.0]).unwrap_err();
    assert_eq!(error.to_string(), "4 features, expected 5");
    let error = trees.raw(&[0.0; 5], &mut scratch, &mut [0.0; 2]).unwrap_err();
    assert_eq!(error.to_string(), "2 results, expected 1");
    assert!(trees.raw_batch(&[0.0; 9], &mut scratch, &mut [0.0]).is_err());
}
