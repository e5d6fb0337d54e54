//! `--schema FILE`: what a person says of a model's columns.
//!
//! Three forms. The manifest's own `schema`; the same with a `type` and its settings in place of an `encoding`, of which
//! trees need only the words; and the encoder that a training script keeps, `numeric` columns with their medians, means and
//! deviations and a `categorical_vocab`.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::{registry, score::Encoding, train::TrainError};

/// Longest schema in bytes, as a manifest's.
const MAX_SCHEMA: u64 = 16 << 20;

/// One column.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) form: Option<Form>,
    pub(super) required: Option<bool>,
    pub(super) label: Option<String>,
    pub(super) protected: bool,
}

/// What a value becomes; whatever is not said comes from the model or the sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Whole(Encoding),
    Number,
    Category,
    Boolean,
}

/// Reads a schema file.
pub(super) fn read(path: &Path) -> Result<Vec<Declared>, TrainError> {
    let refuse = |reason: String| TrainError::data(path, reason);
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = registry::read(folder, &name, MAX_SCHEMA).map_err(|reason| refuse(reason.to_string()))?;
    parse(&bytes).map_err(refuse)
}

fn parse(bytes: &[u8]) -> Result<Vec<Declared>, String> {
    let keys: BTreeMap<String, IgnoredAny> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if keys.contains_key("categorical_vocab") || keys.contains_key("numeric") {
        return by_path::<Encoder>(bytes)?.columns();
    }
    by_path::<Features>(bytes)?.features.into_iter().map(Feature::declared).collect()
}

/// The error names the key.
fn by_path<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json);
    parsed.map_err(|error| match error.path().to_string() {
        // Nothing is wrong with any key, but with the whole.
        root if root == "." => error.inner().to_string(),
        path => format!("{path}: {}", error.inner()),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Features {
    features: Vec<Feature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    name: String,
    required: Option<bool>,
    label: Option<String>,
    #[serde(default)]
    protected: bool,
    encoding: Option<Encoding>,
    #[serde(rename = "type")]
    kind: Option<Type>,
    vocabulary: Option<Vec<String>>,
    median: Option<f64>,
    mean: Option<f64>,
    sd: Option<f64>,
    imputation: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Number,
    Category,
    Boolean,
}

impl Feature {
    fn declared(self) -> Result<Declared, String> {
        let form = self.form().map_err(|reason| format!("feature `{}`: {reason}", self.name))?;
        let Self { name, required, label, protected, .. } = self;
        Ok(Declared { name, form: Some(form), required, label, protected })
    }

    fn form(&self) -> Result<Form, &'static str> {
        let numbers = (self.median, self.mean, self.sd);
        let none = (None, None, None);
        let form = match (self.kind, &self.encoding, &self.vocabulary, numbers, self.imputation) {
            (None, Some(encoding), None, _, None) if numbers == none => Form::Whole(encoding.clone()),
            (None, None, ..) => return Err("neither an encoding nor a type"),
            (Some(_), Some(_), ..) => return Err("both an encoding and a type"),
            (Some(Type::Number), _, None, (Some(median), Some(mean), Some(sd)), None) => {
                Form::Whole(Encoding::Number { median, mean, sd })
            }
            (Some(Type::Number), _, None, _, None) if numbers == none => Form::Number,
            (Some(Type::Number), ..) => return Err("a number has median, mean and sd, or none of them"),
            (Some(Type::Category), _, Some(words), _, None) if numbers == none => {
                Form::Whole(Encoding::Category { vocabulary: words.clone() })
            }
            (Some(Type::Category), _, None, _, None) if numbers == none => Form::Category,
            (Some(Type::Boolean), _, None, _, Some(imputation)) if numbers == none => {
                Form::Whole(Encoding::Boolean { imputation })
            }
            (Some(Type::Boolean), _, None, _, None) if numbers == none => Form::Boolean,
            _ => return Err("has settings that are not its type's"),
        };
        Ok(form)
    }
}

/// The encoder of a training script.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoder {
    /// The columns in order; without it the numeric ones come first.
    features: Option<Vec<String>>,
    #[serde(default)]
    numeric: Vec<String>,
    #[serde(default)]
    median: Vec<f64>,
    #[serde(default)]
    mean: Vec<f64>,
    #[serde(default)]
    sd: Vec<f64>,
    #[serde(default)]
    categorical_vocab: Vocabularies,
    // What people note beside it.
    #[serde(rename = "order")]
    _order: Option<IgnoredAny>,
    #[serde(rename = "columns")]
    _columns: Option<IgnoredAny>,
    #[serde(rename = "note")]
    _note: Option<IgnoredAny>,
}

impl Encoder {
    fn columns(self) -> Result<Vec<Declared>, String> {
        let Self { features, numeric, median, mean, sd, categorical_vocab, .. } = self;
        let lengths = [median.len(), mean.len(), sd.len()];
        if lengths != [0; 3] && lengths != [numeric.len(); 3] {
            return Err("median, mean and sd are not one number for each of `numeric`".into());
        }
        let numbers = median.into_iter().zip(mean).zip(sd);
        let mut numbers = numbers.map(|((median, mean), sd)| Encoding::Number { median, mean, sd });
        let column = |name, form| Declared { name, form: Some(form), ..Declared::default() };
        let mut columns: Vec<Declared> = numeric
            .into_iter()
            .map(|name| column(name, numbers.next().map_or(Form::Number, Form::Whole)))
            .collect();
        columns.extend(
            categorical_vocab
                .0
                .into_iter()
                .map(|(name, vocabulary)| column(name, Form::Whole(Encoding::Category { vocabulary }))),
        );
        let Some(order) = features else { return Ok(columns) };
        let take = |name: &String| {
            let at = columns.iter().position(|column| column.name == *name);
            at.map(|at| columns.swap_remove(at))
        };
        let ordered: Option<Vec<Declared>> = order.iter().map(take).collect();
        ordered
            .filter(|_| columns.is_empty())
            .ok_or_else(|| "features: not the columns of `numeric` and `categorical_vocab`".into())
    }
}

/// In the file's order, which a map would lose.
#[derive(Default)]
struct Vocabularies(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Vocabularies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vocabularies;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("words by column")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabularies, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Vocabularies(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str) -> Vec<String> {
        parse(json.as_bytes()).unwrap().into_iter().map(|column| column.name).collect()
    }

    fn form(feature: &str) -> Option<Form> {
        parse(format!(r#"{{"features": [{{"name": "f", {feature}}}]}}"#).as_bytes()).unwrap().remove(0).form
    }

    #[test]
    fn every_form_is_read() {
        let check = |feature, expected| assert_eq!(form(feature), Some(expected), "{feature}");
        let number = || Encoding::Number { median: 1.0, mean: 2.0, sd: 3.0 };
        let words = || Encoding::Category { vocabulary: vec!["b".into(), "a".into()] };
        check(r#""type": "number""#, Form::Number);
        check(r#""type": "number", "median": 1, "mean": 2, "sd": 3"#, Form::Whole(number()));
        check(r#""encoding": {"type": "number", "median": 1, "mean": 2, "sd": 3}"#, Form::Whole(number()));
        check(r#""type": "category", "vocabulary": ["b", "a"], "label": "F""#, Form::Whole(words()));
        check(r#""type": "category", "required": true"#, Form::Category);
        check(r#""type": "boolean", "protected": true"#, Form::Boolean);
        let boolean = Encoding::Boolean { imputation: true };
        check(r#""type": "boolean", "imputation": true"#, Form::Whole(boolean));
    }

    #[test]
    fn an_encoders_columns_keep_their_order() {
        let encoder = r#"{"numeric": ["z", "y"], "categorical_vocab": {"b": ["x"], "a": []}, "note": "n"}"#;
        assert_eq!(names(encoder), ["z", "y", "b", "a"]);
        let ordered = encoder.replace(r#""note": "n""#, r#""features": ["b", "y", "a", "z"]"#);
        assert_eq!(names(&ordered), ["b", "y", "a", "z"]);
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        let check = |json: &str, expected: &str| {
            let error = parse(json.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let feature = |settings: &str, expected| {
            check(&format!(r#"{{"features": [{{"name": "f"{settings}}}]}}"#), expected);
        };
        feature("", "feature `f`: neither an encoding nor a type");
        feature(
            r#", "type": "boolean", "encoding": {"type": "boolean", "imputation": true}"#,
            "both an encoding and a type",
        );
        feature(r#", "type": "number", "mean": 1"#, "median, mean and sd, or none");
        feature(r#", "type": "number", "vocabulary": []"#, "median, mean and sd, or none");
        feature(r#", "type": "category", "mean": 1"#, "settings that are not its type's");
        feature(r#", "type": "text""#, "features[0].type: unknown variant `text`");
        feature(r#", "size": 1"#, "unknown field `size`");
        check(r#"{"numeric": ["a"], "mean": [1]}"#, "not one number for each");
        check(r#"{"numeric": ["a"], "features": ["b"]}"#, "features: not the columns");
        check(r#"{"numeric": ["a"], "features": []}"#, "features: not the columns");
        check(r#"{"numeric": ["a"], "scale": 1}"#, "unknown field `scale`");
        check("{}", "missing field `features`");
        check("[]", "invalid type");
        check("{", "EOF");
    }

    #[test]
    fn no_byte_can_panic() {
        let schema = br#"{"features": ["a", "b"], "numeric": ["b"], "median": [1], "mean": [1], "sd": [1],
            "categorical_vocab": {"a": ["x"]}}"#;
        assert!(parse(schema).is_ok());
        for at in 0..schema.len() {
            assert!(parse(&schema[..at]).is_err());
            let mut spoilt = schema.to_vec();
            spoilt[at] = b"0-9\"]e,"[at % 7];
            let _ = parse(&spoilt); // another name is as good
        }
    }
}
