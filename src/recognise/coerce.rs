//! Coercion: the forms one value arrives in, by the feature's type. What fits no form is missing, never an error.

use std::borrow::Cow;

use super::{
    doc::{At, Doc},
    scan::Kind,
};
use crate::{
    config::Derive,
    lead::{FeatureType, Value},
};

/// Reads the value at `at` as `kind`.
///
/// A boolean where a category is expected stays one: the model's vocabulary knows whether it holds `yes` and `no`. Some
/// CRMs write `false` for every empty field; without such words that is missing, as for numbers.
pub(super) fn read<'a>(doc: Doc<'a, '_>, at: At, kind: FeatureType) -> Value<'a> {
    let Some(node) = doc.node(at) else { return Value::Missing };
    match (kind, node.kind) {
        (FeatureType::Number, Kind::Number) => finite(doc.raw(node)),
        (FeatureType::Number, Kind::String) => number(&doc.string(node)),
        (FeatureType::Category, Kind::String) => text(doc.string(node)),
        // Option sets arrive as integer codes; their digits are the category's name.
        (FeatureType::Category, Kind::Number) => text(Cow::Borrowed(doc.raw(node))),
        (FeatureType::Category | FeatureType::Boolean, Kind::True) => Value::Boolean(true),
        (FeatureType::Category | FeatureType::Boolean, Kind::False) => Value::Boolean(false),
        (FeatureType::Boolean, Kind::String | Kind::Number) => boolean(&doc.string(node)),
        _ => Value::Missing,
    }
}

/// The number that a text of a header, path or query writes.
pub(super) fn number_in(text: &str) -> Option<f64> {
    match number(text) {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

/// What `derive` makes of a value.
pub(super) fn derived<'a>(value: Value<'a>, derive: Derive) -> Value<'a> {
    match (derive, value) {
        (Derive::EmailDomain, Value::Text(address)) => {
            let domain = address.rsplit_once('@').map(|(_, domain)| domain.trim().to_lowercase());
            domain.map_or(Value::Missing, |domain| text(Cow::Owned(domain)))
        }
        (Derive::EmailDomain, _) => Value::Missing,
    }
}

fn text(text: Cow<'_, str>) -> Value<'_> {
    if text.is_empty() { Value::Missing } else { Value::Text(text) }
}

fn finite(text: &str) -> Value<'static> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).map_or(Value::Missing, Value::Number)
}

/// `12000`, `12000.00`, `12,000.00`, with white space around. Words such as `nan` and `inf` are no numbers here.
fn number(text: &str) -> Value<'static> {
    let text = text.trim();
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b',' | b'-' | b'+' | b'e' | b'E')) {
        return Value::Missing;
    }
    match text.split_once(',') {
        None => finite(text),
        Some((first, rest)) => grouped(first, rest).map_or(Value::Missing, |digits| finite(&digits)),
    }
}

/// `12` and `000,000.5` become `12000000.5`; anything but groups of three digits is refused, because `1,5` may be a
/// decimal comma.
fn grouped(first: &str, rest: &str) -> Option<String> {
    let (whole, fraction) =
        rest.split_once('.').map_or((rest, None), |(whole, fraction)| (whole, Some(fraction)));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let lead = first.trim_start_matches(['-', '+']);
    let well_formed = (1..=3).contains(&lead.len())
        && is_digits(lead)
        && whole.split(',').all(|group| group.len() == 3 && is_digits(group))
        && fraction.is_none_or(is_digits);
    well_formed.then(|| {
        let digits = whole.replace(',', "");
        fraction.map_or(format!("{first}{digits}"), |fraction| format!("{first}{digits}.{fraction}"))
    })
}

fn boolean(text: &str) -> Value<'static> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    if is(["true", "yes", "on", "1"]) {
        Value::Boolean(true)
    } else if is(["false", "no", "off", "0"]) {
        Value::Boolean(false)
    } else {
        Value::Missing
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scan::Tape, *};

    fn check(json: &str, kind: FeatureType, expected: &Value<'static>) {
        let mut tape = Tape::default();
        tape.scan(json).unwrap();
        assert_eq!(read(Doc::new(json, &tape), 0, kind).into_owned(), *expected, "{json} as {kind:?}");
    }

    #[test]
    fn numbers_take_the_forms_crms_write() {
        for (json, number) in [
            ("12000", 12000.0),
            ("12000.00", 12000.0),
            ("-1e2", -100.0),
            ("\"12000.00\"", 12000.0),
            ("\" 12,000.00 \"", 12000.0),
            ("\"-1,234,567\"", -1_234_567.0),
        ] {
            check(json, FeatureType::Number, &Value::Number(number));
        }
        for json in [
            "null",
            "\"\"",
            "false",
            "true",
            "\"many\"",
            "\"1,5\"",
            "\"nan\"",
            "1e999",
            "{}",
            "\"1,2345\"",
            "\"é\"",
        ] {
            check(json, FeatureType::Number, &Value::Missing);
        }
    }

    #[test]
    fn categories_are_text_or_codes() {
        let text = |text: &'static str| Value::Text(Cow::Borrowed(text));
        check("\"Web\"", FeatureType::Category, &text("Web"));
        check("\"a\\u006d\"", FeatureType::Category, &text("am"));
        check("100000001", FeatureType::Category, &text("100000001"));
        check("true", FeatureType::Category, &Value::Boolean(true));
        check("false", FeatureType::Category, &Value::Boolean(false));
        for json in ["\"\"", "null", "[1]"] {
            check(json, FeatureType::Category, &Value::Missing);
        }
    }

    #[test]
    fn an_address_has_a_domain() {
        for (address, expected) in [
            ("ann@Example.COM", Some("example.com")),
            ("\"a@b\"@c.d ", Some("c.d")),
            ("ann@", None),
            ("ann", None),
        ] {
            let value = derived(Value::Text(Cow::Borrowed(address)), Derive::EmailDomain);
            let expected = expected.map_or(Value::Missing, |text| Value::Text(Cow::Borrowed(text)));
            assert_eq!(value, expected, "{address}");
        }
        assert_eq!(derived(Value::Boolean(true), Derive::EmailDomain), Value::Missing);
    }

    #[test]
    fn booleans_are_words_or_bits() {
        for json in ["true", "\"true\"", "\"On\"", "1", "\"1\"", "\"yes\""] {
            check(json, FeatureType::Boolean, &Value::Boolean(true));
        }
        for json in ["false", "\"no\"", "0", "\"FALSE\""] {
            check(json, FeatureType::Boolean, &Value::Boolean(false));
        }
        for json in ["null", "\"\"", "2", "\"maybe\"", "{}"] {
            check(json, FeatureType::Boolean, &Value::Missing);
        }
    }
}
