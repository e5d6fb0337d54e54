//! Features: what a model may know of a lead.

use serde_json::Value as Json;

use super::{masking, merge::FeatureSource, text};
use crate::{
    config::{
        at::Pointer,
        findings::{Complaint, Findings, KeyPath},
        raw::RawFeature,
        settings::{Feature, Fill, Mask},
    },
    lead::FeatureType,
};

/// The feature, or `None` once what is wrong with it has been reported.
pub(super) fn feature(
    name: &str,
    source: &FeatureSource,
    masks: &[Mask],
    findings: &mut Findings,
) -> Option<Feature> {
    let FeatureSource { raw, path, from, .. } = source;
    if name.is_empty() {
        findings.wrong(path, "a feature needs a name");
    }
    if raw.from.is_empty() {
        findings.wrong(&path.key("from"), "names no pointer to read from");
    }
    let pointers = raw.from.iter().zip(from);
    // Collected in two steps so that each bad pointer is told, not only the first.
    let pointers: Vec<_> = pointers.map(|(text, path)| pointer(text, path, masks, findings)).collect();
    let missing = raw.missing.as_ref().map(|value| fill(value, raw.kind));
    let missing = missing.map(|fill| findings.take(&path.key("missing"), fill));
    words(raw, path, findings);
    Some(Feature {
        name: name.into(),
        from: pointers.into_iter().collect::<Option<_>>()?,
        kind: raw.kind,
        missing: match missing {
            Some(fill) => Some(fill?),
            None => None,
        },
        oov: raw.oov.as_deref().map(Into::into),
        derive: raw.derive,
        log: raw.log,
    })
}

/// A pointer that is relative to the lead object and may be recorded.
pub(super) fn pointer(
    text: &str,
    path: &KeyPath,
    masks: &[Mask],
    findings: &mut Findings,
) -> Option<Pointer> {
    let pointer = findings.take(path, text::pointer(text, false))?;
    if masks.iter().any(|mask| masking::hides_relative(mask, &pointer)) {
        findings.wrong(path, masking::MASKED);
        return None;
    }
    Some(pointer)
}

/// What only categories have.
fn words(raw: &RawFeature, path: &KeyPath, findings: &mut Findings) {
    if raw.oov.as_deref() == Some("") {
        findings.wrong(&path.key("oov"), "expected a word");
    }
    let given = [("oov", raw.oov.is_some()), ("derive", raw.derive.is_some())];
    for (key, _) in given.into_iter().filter(|(_, given)| *given && raw.kind != FeatureType::Category) {
        findings.wrong(&path.key(key), "only a category has it");
    }
}

fn fill(value: &Json, kind: FeatureType) -> Result<Fill, Complaint> {
    match (kind, value) {
        (FeatureType::Number, Json::Number(number)) => {
            number.as_f64().map(Fill::Number).ok_or_else(|| "not a number".into())
        }
        (FeatureType::Number, Json::String(word)) if word == "median" => Ok(Fill::Median),
        (FeatureType::Number, Json::String(word)) if word == "nan" => Ok(Fill::Nan),
        (FeatureType::Category, Json::String(word)) if !word.is_empty() => {
            Ok(Fill::Word(word.as_str().into()))
        }
        (FeatureType::Boolean, Json::Bool(yes)) => Ok(Fill::Boolean(*yes)),
        (FeatureType::Number, _) => Err("for a number: median, nan or a number".into()),
        (FeatureType::Category, Json::Number(_) | Json::Bool(_)) => {
            Err(Complaint::new("for a category: a word", Some("put it in quotes".to_owned())))
        }
        (FeatureType::Category, _) => Err("for a category: a word".into()),
        (FeatureType::Boolean, _) => Err("for a boolean: true or false".into()),
    }
}
