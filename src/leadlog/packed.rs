//! Features as scored, packed into one piece of memory that the lead log and the table of known leads share.

use std::sync::Arc;

use super::private::{Kept, is_hash};
use crate::lead::Value;

/// The values of a lead's features, in the configuration's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

const MISSING: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const NO: u8 = 3;
const YES: u8 = 4;
const WITHHELD: u8 = 5;
/// A whole number of two bytes, as most are.
const SMALL: u8 = 6;

/// Longest text in bytes.
const MAX_TEXT: usize = 256;

impl Packed {
    /// Packs values; texts are cut at 256 bytes. No vocabulary holds a longer word, whole free texts do not belong in the
    /// log, and so a full queue has a size in bytes too.
    pub fn new(values: &[Value<'_>]) -> Self {
        Self::by(values, &mut Vec::new())
    }

    /// The same by way of memory that is used again.
    pub fn by(values: &[Value<'_>], bytes: &mut Vec<u8>) -> Self {
        bytes.clear();
        for value in values {
            match value {
                Value::Missing | Value::Cleared => bytes.push(MISSING),
                Value::Number(number) => push_number(*number, bytes),
                Value::Text(text) => {
                    let text = cut(text).as_bytes();
                    // In range after the cut.
                    let [low, high] = (text.len() as u16).to_le_bytes();
                    bytes.reserve(3 + MAX_TEXT);
                    bytes.extend_from_slice(&[TEXT, low, high]);
                    bytes.extend_from_slice(text);
                }
                Value::Boolean(yes) => bytes.push(if *yes { YES } else { NO }),
            }
        }
        Self(bytes.as_slice().into())
    }

    /// Reads what the log keeps, `{"age":56,"job":"services"}`; members of other names are passed over. `None` where it is
    /// no object.
    pub fn from_json(json: &str, names: &[Arc<str>]) -> Option<Self> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
        Some(Self::of_json(&object, names))
    }

    /// The same of an object that has been read. A null is what the log may not keep.
    pub(crate) fn of_json(object: &serde_json::Map<String, serde_json::Value>, names: &[Arc<str>]) -> Self {
        let mut bytes = Vec::new();
        for name in names {
            let part = match object.get(&**name) {
                Some(serde_json::Value::Number(number)) => {
                    number.as_f64().map_or(Part::Missing, Part::Number)
                }
                Some(serde_json::Value::String(text)) => Part::Text(cut(text).as_bytes()),
                Some(serde_json::Value::Bool(yes)) => Part::Boolean(*yes),
                Some(serde_json::Value::Null) => Part::Withheld,
                _ => Part::Missing,
            };
            push_part(part, &mut bytes);
        }
        Self(bytes.into())
    }

    /// The values as far as they are known as they were: a hash is withheld.
    pub(super) fn known(self) -> Self {
        let is_hashed = |part: &Part<'_>| match part {
            Part::Text(text) => std::str::from_utf8(text).is_ok_and(is_hash),
            _ => false,
        };
        if !self.parts().any(|part| is_hashed(&part)) {
            return self;
        }
        let known = |(), part: Part<'_>| if is_hashed(&part) { Kept::Nothing } else { Kept::Same };
        self.map(std::iter::repeat(()), known)
    }

    /// As it is packed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its length in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    /// The same with what the log may keep of each value, by its rule in the same order. What is missing stays so.
    pub(super) fn map<R>(&self, rules: impl Iterator<Item = R>, kept: impl Fn(R, Part<'_>) -> Kept) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len());
        for (part, rule) in self.parts().zip(rules) {
            let kept = if matches!(part, Part::Missing) { Kept::Same } else { kept(rule, part) };
            match kept {
                Kept::Same => push_part(part, &mut bytes),
                Kept::Text(text) => push_part(Part::Text(cut(&text).as_bytes()), &mut bytes),
                Kept::Nothing => bytes.push(WITHHELD),
            }
        }
        Self(bytes.into())
    }

    /// The values, in order. Of what was withheld nothing is known.
    pub fn values(&self) -> impl Iterator<Item = Value<'_>> {
        self.parts().map(|part| match part {
            Part::Missing | Part::Withheld => Value::Missing,
            Part::Number(number) => Value::Number(number),
            Part::Text(text) => Value::Text(String::from_utf8_lossy(text)),
            Part::Boolean(yes) => Value::Boolean(yes),
        })
    }

    /// The same without a look at the texts.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (tag, after) = rest.split_first()?;
            let (part, after) = match *tag {
                NUMBER => {
                    let (bytes, after) = after.split_first_chunk::<8>()?;
                    (Part::Number(f64::from_le_bytes(*bytes)), after)
                }
                SMALL => {
                    let (bytes, after) = after.split_first_chunk::<2>()?;
                    (Part::Number(i16::from_le_bytes(*bytes).into()), after)
                }
                TEXT => {
                    let (length, after) = after.split_first_chunk::<2>()?;
                    let (bytes, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
                    (Part::Text(bytes), after)
                }
                YES => (Part::Boolean(true), after),
                NO => (Part::Boolean(false), after),
                WITHHELD => (Part::Withheld, after),
                _ => (Part::Missing, after),
            };
            rest = after;
            Some(part)
        })
    }
}

/// Bytes that were packed before.
impl From<Vec<u8>> for Packed {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// The part of a text that is packed.
#[inline(always)]
fn cut(text: &str) -> &str {
    // Nearly all are shorter, and need no look at where a character ends.
    if text.len() <= MAX_TEXT {
        text
    } else {
        text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
    }
}

/// A value as it is packed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'p> {
    /// Absent, or emptied by the client.
    Missing,
    Number(f64),
    /// UTF-8.
    Text(&'p [u8]),
    Boolean(bool),
    /// There was a value, and the log may not keep it.
    Withheld,
}

#[inline(always)]
fn push_number(number: f64, bytes: &mut Vec<u8>) {
    let small = number as i16;
    // By their bits, since a zero may be negative.
    if f64::from(small).to_bits() == number.to_bits() {
        let [low, high] = small.to_le_bytes();
        bytes.extend_from_slice(&[SMALL, low, high]);
    } else {
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        bytes.extend_from_slice(&[NUMBER, a, b, c, d, e, f, g, h]);
    }
}

fn push_part(part: Part<'_>, bytes: &mut Vec<u8>) {
    match part {
        Part::Missing => bytes.push(MISSING),
        Part::Number(number) => push_number(number, bytes),
        Part::Text(text) => {
            // It was cut when it was packed.
            let [low, high] = (text.len() as u16).to_le_bytes();
            bytes.extend_from_slice(&[TEXT, low, high]);
            bytes.extend_from_slice(text);
        }
        Part::Boolean(yes) => bytes.push(if yes { YES } else { NO }),
        Part::Withheld => bytes.push(WITHHELD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_to_the_bit() {
        let check = |number: f64, size: usize| {
            let packed = Packed::new(&[Value::Number(number)]);
            let Some(Value::Number(out)) = packed.values().next() else { panic!("{packed:?}") };
            assert_eq!((out.to_bits(), packed.size()), (number.to_bits(), size), "{number}");
        };
        [0.0, 1.0, -1.0, 32_767.0, -32_768.0].into_iter().for_each(|number| check(number, 3));
        [-0.0, 0.5, 32_768.0, -32_769.0, 1e300, f64::MIN_POSITIVE]
            .into_iter()
            .for_each(|number| check(number, 9));
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let long = "é".repeat(70_000);
        let values = [
            Value::Number(-0.1),
            Value::Missing,
            Value::Text("é\"".into()),
            Value::Boolean(true),
            Value::Boolean(false),
            Value::Text(long.as_str().into()),
        ];
        let packed = Packed::new(&values);
        let out: Vec<_> = packed.values().collect();
        assert_eq!(out[..5], values[..5]);
        assert_eq!(out[5], Value::Text("é".repeat(128).into()));
        let free = Packed::new(&[Value::Text(format!("x{long}").into())]);
        assert_eq!(
            (free.values().next(), free.0.len()),
            (Some(Value::Text(format!("x{}", "é".repeat(127)).into())), 258)
        );
        let names: Vec<Arc<str>> = ["a", "b", "c", "d"].map(Into::into).into();
        let json = r#"{"a":-0.1,"c":"é\"","d":true,"e":1}"#;
        assert_eq!(Packed::from_json(json, &names), Some(Packed::new(&values[..4])));
        assert_eq!(Packed::from_json("[]", &names), None);
    }
}
