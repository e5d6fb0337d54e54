//! One way to write fields, so that they have one hash: the subset of RFC 8785 with sorted ASCII keys, no white space, whole
//! numbers and text. What is read must be written that way too; then nothing in a line escapes its hash.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Field, Fields, Hash};

/// Longest line in bytes, without its end.
pub const MAX_LINE: usize = 64 << 10;
/// Deepest map in a map.
const MAX_DEPTH: usize = 8;
/// Every reader of JSON has whole numbers up to here exactly.
pub(super) const MAX_INTEGER: i64 = (1 << 53) - 1;

/// What is wrong with a record. Keys are named, values never.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than any record.
    #[error("longer than {MAX_LINE} bytes")]
    Long,
    /// Bytes that are no text, or text that is no JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// A value that has no place in a record.
    #[error("{key:?} holds {what}; records hold whole numbers, text and maps of them")]
    Value {
        /// The key, with those above it.
        key: String,
        /// What it holds.
        what: &'static str,
    },
    /// A key that could be written in two ways.
    #[error("a key in {within:?} is not ASCII")]
    Key {
        /// The map's own key, with those above it; empty for the record itself.
        within: String,
    },
    /// Maps in maps in maps.
    #[error("{key:?} is a map more than {MAX_DEPTH} deep")]
    Deep {
        /// The key, with those above it.
        key: String,
    },
    /// The same content, written in another way.
    #[error("not canonical: keys stand sorted and once, with no white space and no needless escapes")]
    NotCanonical,
    /// A member of every record is missing, or of the wrong sort.
    #[error("{0:?} is missing, or not what it is in every record")]
    Member(&'static str),
    /// An event's field would hide a member of every record.
    #[error("{0:?} is no name for a field")]
    Reserved(String),
    /// Written by a later release.
    #[error("format {0}, and this release reads format 1")]
    Format(i64),
    /// A time that cannot be written.
    #[error("the time is out of range")]
    Time,
    /// The content is not what was hashed.
    #[error("altered: its content does not have its hash")]
    Hash,
    /// Another record than this one is due here.
    #[error("record {found} stands where record {expected} is due")]
    Seq {
        /// What is due.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// The record before is another one than when this was written.
    #[error("does not follow from the record before it")]
    Prev,
}

/// The fields as they are written.
pub(super) fn text(fields: &Fields) -> Result<String, Fault> {
    check(fields, "", 0)?;
    serde_json::to_string(fields).map_err(|error| Fault::Json(error.to_string()))
}

/// RFC 6962's hash of a leaf.
pub(super) fn hash(text: &str) -> Hash {
    Sha256::new().chain_update([0]).chain_update(text).finalize().into()
}

/// Reads what [`text`] writes, and nothing else.
pub(super) fn parse(line: &str) -> Result<Fields, Fault> {
    if line.len() > MAX_LINE {
        return Err(Fault::Long);
    }
    let fields = of_json(serde_json::from_str(line).map_err(|error| Fault::Json(error.to_string()))?)?;
    match text(&fields)? == line {
        true => Ok(fields),
        false => Err(Fault::NotCanonical),
    }
}

/// The fields of a JSON object, however it was written. Its depth was bounded when it was read.
pub(super) fn of_json(value: Value) -> Result<Fields, Fault> {
    match field(value, "")? {
        Field::Map(fields) => Ok(fields),
        Field::Integer(_) | Field::Text(_) => Err(Fault::Json("not an object".to_owned())),
    }
}

fn field(value: Value, key: &str) -> Result<Field, Fault> {
    let wrong = |what| Err(Fault::Value { key: key.to_owned(), what });
    match value {
        Value::Null => wrong("null"),
        Value::Bool(_) => wrong("true or false"),
        Value::Array(_) => wrong("a list"),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Ok(Field::Integer(number)),
            None if number.is_f64() => wrong("a fraction"),
            None => wrong("a number beyond 2^53"),
        },
        Value::String(text) => Ok(Field::Text(text)),
        Value::Object(map) => {
            let pair = |(name, value): (String, Value)| {
                let field = field(value, &below(key, &name))?;
                Ok((name, field))
            };
            map.into_iter().map(pair).collect::<Result<_, _>>().map(Field::Map)
        }
    }
}

fn check(fields: &Fields, within: &str, depth: usize) -> Result<(), Fault> {
    for (name, field) in fields {
        if !name.is_ascii() {
            return Err(Fault::Key { within: within.to_owned() });
        }
        let key = || below(within, name);
        match field {
            Field::Integer(number) if !(-MAX_INTEGER..=MAX_INTEGER).contains(number) => {
                return Err(Fault::Value { key: key(), what: "a number beyond 2^53" });
            }
            Field::Map(_) if depth == MAX_DEPTH => return Err(Fault::Deep { key: key() }),
            Field::Map(fields) => check(fields, &key(), depth + 1)?,
            Field::Integer(_) | Field::Text(_) => {}
        }
    }
    Ok(())
}

fn below(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_way_of_writing_is_read() {
        let deep = |maps: usize| format!("{}1{}", r#"{"a":"#.repeat(maps), "}".repeat(maps));
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_LINE));
        let deepest = deep(MAX_DEPTH + 1);
        for fine in [
            "{}",
            r#"{"a":1,"b":"ü😀\n\u001f\"\\","c":{"d":-9007199254740991}}"#,
            r#"{"a":9007199254740991,"b":"/"}"#,
            deepest.as_str(),
        ] {
            assert_eq!(parse(fine).and_then(|fields| text(&fields)), Ok(fine.to_owned()));
        }
        for (line, expected) in [
            (r#"{"a": 1}"#, "not canonical"),
            (r#"{"b":1,"a":1}"#, "not canonical"),
            (r#"{"a":1,"a":1}"#, "not canonical"),
            (r#"{"a":1,"a":2}"#, "not canonical"),
            (r#"{"a":"\u0041"}"#, "not canonical"),
            (r#"{"a":"\/"}"#, "not canonical"),
            (r#"{"a":{"b":1.5}}"#, r#""a.b" holds a fraction"#),
            (r#"{"a":1e3}"#, r#""a" holds a fraction"#),
            (r#"{"a":-0}"#, r#""a" holds a fraction"#),
            (r#"{"a":9007199254740992}"#, r#""a" holds a number beyond 2^53"#),
            (r#"{"a":-9223372036854775808}"#, r#""a" holds a number beyond 2^53"#),
            (r#"{"a":18446744073709551615}"#, r#""a" holds a number beyond 2^53"#),
            (r#"{"a":true}"#, r#""a" holds true or false"#),
            (r#"{"a":null}"#, r#""a" holds null"#),
            (r#"{"a":[1]}"#, r#""a" holds a list"#),
            (r#"{"a":{"ä":1}}"#, r#"a key in "a" is not ASCII"#),
            ("[]", r#""" holds a list"#),
            ("1", "not an object"),
            ("", "not JSON: EOF"),
            ("{\"a\":1}\n", "not canonical"),
            ("{\"a\":1", "not JSON: EOF"),
            (&deep(MAX_DEPTH + 2), "is a map more than 8 deep"),
            (&deep(200), "not JSON: recursion limit"),
            (&long, "longer than 65536 bytes"),
        ] {
            let fault = parse(line).unwrap_err().to_string();
            assert!(fault.contains(expected), "{line}: {fault}");
        }
    }
}
