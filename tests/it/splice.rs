//! Properties of what is written into bodies: whatever JSON a client writes, every byte that is not ours stays.

use leadwire::{
    config::{BodyTarget, Field, Format, Pointer, Step, WriteAs},
    enrich::{Edits, Given},
    lead::{Grade, ModelId, Score, Spot},
    recognise::{Doc, Tape},
};
use proptest::{collection::vec, prelude::*};

/// Scalars as clients write them, where a parser and a printer between us and the CRM would change most of them.
fn scalar() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("12000.00".to_owned()),
        Just("1e2".to_owned()),
        Just("-0".to_owned()),
        Just("1E+07".to_owned()),
        Just("12345678901234567890.12".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    prop_oneof![number, Just("null".to_owned()), Just("true".to_owned()), Just("false".to_owned()), string(),]
}

/// Text in quotes, with escapes that need not be.
fn string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[ !#-\\[\\]-~é漢😀]{0,8}",
        Just(r#"\""#.to_owned()),
        Just(r"\\".to_owned()),
        Just(r"\/".to_owned()),
        Just(r"\u0041".to_owned()),
        Just(r"\ud83d\ude00".to_owned()),
        Just(r"\n".to_owned()),
    ];
    vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn white() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,2}"
}

/// Keys that stand for nothing, twice too, and never for the member that is written.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("\"a\"".to_owned()), Just("\"b\"".to_owned()), string()]
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        let list = (vec((white(), inner.clone(), white()), 0..4), white()).prop_map(|(items, end)| {
            let items: Vec<String> = items.into_iter().map(|(a, item, b)| a + &item + &b).collect();
            format!("[{}{end}]", items.join(","))
        });
        prop_oneof![list, members(inner).prop_map(|members| object(&members))]
    })
}

/// An object's members with the white space around them.
fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<String>> {
    let member = (white(), key(), white(), white(), value, white());
    vec(member.prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}")), 0..5)
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}

/// The members with one more at some place, or as they are.
fn with(mut members: Vec<String>, at: usize, more: Option<String>) -> Vec<String> {
    if let Some(more) = more {
        members.insert(at % (members.len() + 1), more);
    }
    members
}

const KEY: &str = "Lead Score/\"ü\"";

fn written() -> impl Strategy<Value = (Field, Format, serde_json::Value)> {
    let number = |value: f64| serde_json::json!(value);
    let text = Format { write_as: WriteAs::Text, ..Format::default() };
    let digits = Format { decimals: Some(1), ..Format::default() };
    prop_oneof![
        Just((Field::Points, Format::default(), serde_json::json!(73))),
        Just((Field::Points, text, serde_json::json!("73"))),
        Just((Field::Score, digits, number(0.7))),
        Just((Field::Grade, Format::default(), serde_json::json!("B"))),
        Just((Field::Model, Format::default(), serde_json::json!("lead/3"))),
    ]
}

/// Writes one value; where it went, and the body after it.
fn splice(body: &str, steps: &[&str], value: Field, format: Format) -> (Spot, String) {
    let mut tape = Tape::default();
    tape.scan(body).unwrap();
    let at = Pointer { steps: steps.iter().map(|step| Step::Key((*step).into())).collect() };
    let spot = Doc::new(body, &tape).spot(Doc::ROOT, &at, None).unwrap().unwrap();
    let model = ModelId { model: "lead".into(), version: "3".into(), digest: "00".into() };
    let given = Given {
        score: Score::new(0.731).unwrap(),
        grade: Grade::B,
        model: &model,
        reasons: &[],
        trend: None,
    };
    let target = BodyTarget { at, value, format };
    let mut edits = Edits::default();
    edits.push(spot.clone(), &target, given);
    (spot, String::from_utf8(edits.apply(body.as_bytes()).unwrap()).unwrap())
}

fn member(value: &str, escaped: bool) -> String {
    let key = if escaped { r#""Lead\u0020Score\/\"ü\"""#.to_owned() } else { format!("{KEY:?}") };
    format!(" {key} : {value} ")
}

proptest! {
    #[test]
    fn a_member_that_is_there_changes_only_its_value(
        (outer, inner) in (members(value()), members(value())),
        (old, escaped, at) in (value(), any::<bool>(), any::<usize>()),
        (field, format, expected) in written(),
    ) {
        let lead = object(&with(inner, at, Some(member(&old, escaped))));
        let body = object(&with(outer, at / 7, Some(format!("\"lead\": {lead}"))));
        let (spot, patched) = splice(&body, &["lead", KEY], field, format);
        let Spot::Replace(range) = spot else { panic!("{spot:?}") };
        prop_assert_eq!(&body[range.clone()], old);
        let ours = patched.strip_prefix(&body[..range.start]).and_then(|rest| rest.strip_suffix(&body[range.end..]));
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(ours.unwrap()).unwrap(), expected);
    }

    #[test]
    fn a_member_that_is_absent_is_added_before_the_brace(
        (inner, more) in (members(value()), members(value())),
        at in any::<usize>(),
        (field, format, expected) in written(),
    ) {
        let lead = object(&inner);
        let body = object(&with(more, at, Some(format!("\"lead\":{lead}"))));
        let (spot, patched) = splice(&body, &["lead", KEY], field, format);
        let Spot::Add { at, empty } = spot else { panic!("{spot:?}") };
        prop_assert_eq!(empty, inner.is_empty());
        let ours = patched.strip_prefix(&body[..at]).and_then(|rest| rest.strip_suffix(&body[at..])).unwrap();
        let added = format!("{{{}}}", ours.trim_start_matches(','));
        prop_assert_eq!(ours.starts_with(','), !inner.is_empty());
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&added).unwrap(), serde_json::json!({KEY: expected}));
        let read = serde_json::from_str::<serde_json::Value>(&patched).unwrap();
        prop_assert_eq!(&read["lead"][KEY], &expected);
    }
}
