//! Coercion: the forms one value arrives in, by the feature's type. What fits no form is missing, never an error.

use std::borrow::Cow;

use super::{
    doc::{At, Doc, Duplicate},
    scan::{Kind, Node},
};
use crate::{
    config::Derive,
    lead::{FeatureType, Value, finite, read_text},
};

/// Reads the value at `at` as `kind`.
///
/// A boolean where a category is expected stays one: the model's vocabulary knows whether it holds `yes` and `no`. Some
/// CRMs write `false` for every empty field; without such words that is missing, as for numbers.
#[inline]
pub fn read<'a>(doc: Doc<'a, '_>, at: At, kind: FeatureType) -> Result<Value<'a>, Duplicate> {
    let Some(node) = doc.node(at) else { return Ok(Value::Missing) };
    plain(doc, node, kind).map_or_else(|| read_other(doc, at, kind), Ok)
}

/// The form that nearly all values have, where there is a value. `None` takes a closer look.
#[inline(always)]
pub(super) fn plain<'a>(doc: Doc<'a, '_>, node: &Node, kind: FeatureType) -> Option<Value<'a>> {
    match kind {
        FeatureType::Number => plain_number(doc, node).map(Value::Number),
        FeatureType::Category => plain_text(doc, node).map(|text| Value::Text(Cow::Borrowed(text))),
        FeatureType::Boolean => None,
    }
}

/// A number of few digits.
#[inline(always)]
pub(super) fn plain_number(doc: Doc<'_, '_>, node: &Node) -> Option<f64> {
    if node.kind == Kind::Number { short_decimal(doc, node) } else { None }
}

/// A text that stands as it is.
#[inline(always)]
pub(super) fn plain_text<'a>(doc: Doc<'a, '_>, node: &Node) -> Option<&'a str> {
    let is_plain = node.kind == Kind::String && !node.escaped && node.start < node.end;
    is_plain.then(|| doc.raw(node))
}

/// The forms that are less common.
#[inline(never)]
fn read_other<'a>(doc: Doc<'a, '_>, at: At, kind: FeatureType) -> Result<Value<'a>, Duplicate> {
    let Some(node) = doc.node(at) else { return Ok(Value::Missing) };
    Ok(match (kind, node.kind) {
        (FeatureType::Number, Kind::Number) => finite(doc.raw(node)),
        (_, Kind::String) => read_text(doc.string(node), kind),
        // Option sets arrive as integer codes; their digits are the category's name.
        (_, Kind::Number) => read_text(Cow::Borrowed(doc.raw(node)), kind),
        (FeatureType::Category | FeatureType::Boolean, Kind::True) => Value::Boolean(true),
        (FeatureType::Category | FeatureType::Boolean, Kind::False) => Value::Boolean(false),
        (FeatureType::Number, Kind::Object) => match class(doc, at)?.as_deref() {
            Some("Decimal") => match doc.member(at, "decimal")? {
                Some(digits) if doc.kind(digits) != Some(Kind::Object) => read(doc, digits, kind)?,
                _ => Value::Missing,
            },
            _ => Value::Missing,
        },
        (FeatureType::Category, Kind::Object) => match class(doc, at)?.as_deref() {
            Some("date") => date(doc, at, &["year", "month", "day"])?,
            Some("datetime") => date(doc, at, &["year", "month", "day", "hour", "minute", "second"])?,
            _ => Value::Missing,
        },
        _ => Value::Missing,
    })
}

/// Whether the value is a form of nothing: `null`, `""`, or `false`, which some CRMs write for every empty field.
pub(super) fn is_empty(doc: Doc<'_, '_>, at: At) -> bool {
    doc.node(at).is_some_and(|node| match node.kind {
        Kind::Null | Kind::False => true,
        Kind::String => doc.raw(node).is_empty(),
        _ => false,
    })
}

/// What an object of Tryton's stands for: `{"__class__":"Decimal","decimal":"12500.00"}`.
fn class<'a>(doc: Doc<'a, '_>, at: At) -> Result<Option<Cow<'a, str>>, Duplicate> {
    let class = doc.member(at, "__class__")?.and_then(|class| doc.node(class));
    Ok(class.filter(|class| class.kind == Kind::String).map(|class| doc.string(class)))
}

/// Whole numbers by name, as ISO 8601 text.
fn date(doc: Doc<'_, '_>, at: At, names: &[&str]) -> Result<Value<'static>, Duplicate> {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let node = doc.member(at, name)?.and_then(|part| doc.node(part));
        let node = node.filter(|node| node.kind == Kind::Number);
        let number: Option<u16> = node.and_then(|node| doc.raw(node).parse().ok());
        let Some(number) = number else { return Ok(Value::Missing) };
        match index {
            0 => text.push_str(&format!("{number:04}")),
            1 | 2 => text.push_str(&format!("-{number:02}")),
            3 => text.push_str(&format!("T{number:02}")),
            _ => text.push_str(&format!(":{number:02}")),
        }
    }
    Ok(Value::Text(text.into()))
}

/// The number that a text of a header, path or query writes.
pub(super) fn number_in(text: &str) -> Option<f64> {
    match read_text(Cow::Borrowed(text), FeatureType::Number) {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

/// What `derive` makes of a value.
pub(super) fn derived<'a>(value: Value<'a>, derive: Derive) -> Value<'a> {
    match (derive, value) {
        (Derive::EmailDomain, Value::Text(Cow::Borrowed(address))) => word(domain(address)),
        (Derive::EmailDomain, Value::Text(Cow::Owned(address))) => {
            word(Cow::Owned(domain(&address).into_owned()))
        }
        (Derive::EmailDomain, _) => Value::Missing,
    }
}

/// What follows the last @, in lower case, which most addresses are written in; empty where there is none.
fn domain(address: &str) -> Cow<'_, str> {
    let at = memchr::memrchr(b'@', address.as_bytes());
    let domain = at.and_then(|at| address.get(at + 1..)).unwrap_or_default();
    if domain.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) {
        return Cow::Borrowed(domain);
    }
    let domain = domain.trim();
    let is_lower = domain.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(domain) } else { Cow::Owned(domain.to_lowercase()) }
}

fn word(text: Cow<'_, str>) -> Value<'_> {
    read_text(text, FeatureType::Category)
}

/// `-36.4` and other plain numbers of at most eight bytes behind the sign: the digits and the power of ten are exact, so that
/// dividing them rounds once and gives what parsing gives (Clinger 1990).
///
/// The eight bytes that end with the number hold all of it; what stands before it is made zero, and the digits before a point
/// move up to those behind it.
#[inline(always)]
fn short_decimal(doc: Doc<'_, '_>, node: &Node) -> Option<f64> {
    const TENS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
    let (before, text) = doc.split_bytes(node)?;
    let is_negative = text.first() == Some(&b'-');
    let length = text.len() - usize::from(is_negative);
    if length == 0 || length > 8 {
        return None;
    }
    let word = u64::from_le_bytes(*before.last_chunk()?) & (u64::MAX << (64 - 8 * length));
    let point = bytes_of(word, b'.');
    // An exponent's letter is the one thing in a number that has this bit.
    if word & (ONES * 0x40) != 0 {
        return None;
    }
    let place = point.trailing_zeros() / 8;
    let (digits, after_point) = match point {
        0 => (word, 0),
        _ => {
            let below = word & ((1 << (8 * place)) - 1);
            let above = word & (u64::MAX << (8 * place) << 8);
            (below << 8 | above, 7 - place)
        }
    };
    let number = of_digits(digits) as f64 / TENS.get(after_point as usize)?;
    Some(if is_negative { -number } else { number })
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// The high bit of the lowest byte that is `byte`; bytes above it may be marked too.
#[inline(always)]
fn bytes_of(word: u64, byte: u8) -> u64 {
    let other = word ^ (ONES * u64::from(byte));
    other.wrapping_sub(ONES) & !other & (ONES * 0x80)
}

/// The number that eight digits write, the first in the lowest byte; zeros may be bytes of 0. Pairs, fours and all eight
/// are put together in three steps.
#[inline(always)]
fn of_digits(word: u64) -> u64 {
    let ones = word & (ONES * 0x0f);
    let pairs = (ones.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

#[cfg(test)]
mod tests {
    use super::{super::scan::Tape, *};

    fn check(json: &str, kind: FeatureType, expected: &Value<'static>) {
        let mut tape = Tape::default();
        tape.scan(json).unwrap();
        let read = read(Doc::new(json, &tape), 0, kind).unwrap();
        assert_eq!(read.into_owned(), *expected, "{json} as {kind:?}");
    }

    #[test]
    fn numbers_take_the_forms_crms_write() {
        for (json, number) in [
            ("12000", 12000.0),
            ("12000.00", 12000.0),
            ("-1e2", -100.0),
            ("\"12000.00\"", 12000.0),
            ("\" 12,000.00 \"", 12000.0),
            ("\"$12,000.50\"", 12000.5),
            ("\"-€ 7\"", -7.0),
            ("\"12.5 %\"", 12.5),
            ("\"1,200 EUR\"", 1200.0),
            ("\"-1,234,567\"", -1_234_567.0),
            (r#"{"__class__":"Decimal","decimal":"12500.00"}"#, 12500.0),
            (r#"{"decimal":7,"__class__":"Decimal"}"#, 7.0),
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
            r#"{"amount":12000,"currency":"AED"}"#,
            r#"{"__class__":"Decimal"}"#,
            r#"{"__class__":"Decimal","decimal":{"__class__":"Decimal","decimal":1}}"#,
            r#"{"__class__":"date","decimal":1}"#,
            r#"{"__class__":7,"decimal":1}"#,
        ] {
            check(json, FeatureType::Number, &Value::Missing);
        }
    }

    /// What is made of a number behind `before`.
    fn short(before: &str, number: &str) -> Option<f64> {
        let json = format!("{before}{number}]");
        let mut tape = Tape::default();
        tape.scan(&json).unwrap();
        short_decimal(Doc::new(&json, &tape), tape.nodes().last()?)
    }

    #[test]
    fn short_decimals_are_what_parsing_makes_of_them() {
        let mut read = 0;
        for whole in ["0", "7", "36", "999", "12000", "5191", "1234567", "99999999"] {
            for fraction in ["", ".0", ".5", ".00", ".994", ".000001"] {
                for sign in ["", "-"] {
                    let text = format!("{sign}{whole}{fraction}");
                    let is_short = whole.len() + fraction.len() <= 8;
                    let number = short("[\"before\", ", &text).map(f64::to_bits);
                    let parsed = text.parse().ok().map(f64::to_bits).filter(|_| is_short);
                    assert_eq!(number, parsed, "{text}");
                    read += usize::from(number.is_some());
                }
            }
        }
        assert!(read > 60, "{read}");
        for text in ["1e5", "1E5", "1e-5", "1.5e+5", "0.1e1", "123456789", "1234.56789", "-123456789"] {
            assert_eq!(short("[\"before\", ", text), None, "{text}");
        }
        assert_eq!((short("[", "36"), short("[\"b\",", "1.5")), (None, Some(1.5)));
    }

    #[test]
    fn categories_are_text_or_codes() {
        let text = |text: &'static str| Value::Text(Cow::Borrowed(text));
        check("\"Web\"", FeatureType::Category, &text("Web"));
        check("\"a\\u006d\"", FeatureType::Category, &text("am"));
        check("100000001", FeatureType::Category, &text("100000001"));
        check("true", FeatureType::Category, &Value::Boolean(true));
        check("false", FeatureType::Category, &Value::Boolean(false));
        check("\"+971 50 123\"", FeatureType::Category, &text("+971 50 123"));
        let day = r#"{"__class__":"date","year":2026,"month":11,"day":2}"#;
        check(day, FeatureType::Category, &text("2026-11-02"));
        let time = r#"{"__class__":"datetime","year":2026,"month":11,"day":2,"hour":8,"minute":5,"second":17,"microsecond":0}"#;
        check(time, FeatureType::Category, &text("2026-11-02T08:05:17"));
        let half = r#"{"__class__":"date","year":2026,"month":"11","day":2}"#;
        for json in ["\"\"", "null", "[1]", "{}", half] {
            check(json, FeatureType::Category, &Value::Missing);
        }
    }

    #[test]
    fn an_objects_member_that_stands_twice_is_refused() {
        let json = r#"{"__class__":"Decimal","decimal":1,"decimal":2}"#;
        let mut tape = Tape::default();
        tape.scan(json).unwrap();
        assert_eq!(read(Doc::new(json, &tape), 0, FeatureType::Number), Err(Duplicate));
    }

    #[test]
    fn an_address_has_a_domain() {
        for (address, expected) in [
            ("ann@Example.COM", Some("example.com")),
            ("\"a@b\"@c.d ", Some("c.d")),
            ("ann@MÜNCHEN.example", Some("münchen.example")),
            ("ann@", None),
            ("ann", None),
        ] {
            let value = derived(Value::Text(Cow::Borrowed(address)), Derive::EmailDomain);
            let of_owned = derived(Value::Text(Cow::Owned(address.to_owned())), Derive::EmailDomain);
            assert_eq!(of_owned, value, "{address}");
            let expected = expected.map_or(Value::Missing, |text| Value::Text(Cow::Borrowed(text)));
            assert_eq!(value, expected, "{address}");
        }
        assert_eq!(derived(Value::Boolean(true), Derive::EmailDomain), Value::Missing);
    }

    #[test]
    fn booleans_are_words_or_bits() {
        for json in ["true", "\"true\"", "\"On\"", "1", "1.0", "\"1\"", "\"1.0\"", "\"yes\""] {
            check(json, FeatureType::Boolean, &Value::Boolean(true));
        }
        for json in ["false", "\"no\"", "0", "0.0", "\"FALSE\""] {
            check(json, FeatureType::Boolean, &Value::Boolean(false));
        }
        for json in ["null", "\"\"", "2", "\"maybe\"", "{}"] {
            check(json, FeatureType::Boolean, &Value::Missing);
        }
    }
}
