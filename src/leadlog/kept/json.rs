//! Features as the log keeps them: `{"age":56,"job":"services"}`, in the order of their names. One that is
//! missing is left out; null is one that the log may not keep.
//!
//! Every lead of a configuration has the same names, so what stands before a value is made once for all of them, and one
//! piece of memory takes each lead's text after the other.

use std::sync::Arc;

use super::packed::{Packed, Part};

/// Writes features as JSON.
#[derive(Debug, Default)]
pub(in crate::leadlog) struct FeatureJson {
    names: Option<Arc<[Arc<str>]>>,
    members: Vec<Member>,
    text: Vec<u8>,
}

/// A feature. Many leads share the value of the one before, and to find it again takes less than to write it.
#[derive(Debug)]
struct Member {
    /// Its place among the names.
    place: usize,
    /// What stands before its value, `,"age":`.
    before: Vec<u8>,
    /// The value that was written last: its sort and bytes, and its text with what stands before it.
    sort: Option<Sort>,
    bytes: Vec<u8>,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Withheld,
    Number,
    Text,
    Boolean,
}

impl FeatureJson {
    /// An object of the features called `names`; missing ones are left out. Valid until the next one is written.
    pub(in crate::leadlog) fn write(&mut self, names: &Arc<[Arc<str>]>, features: &Packed) -> &[u8] {
        if !self.names.as_ref().is_some_and(|known| Arc::ptr_eq(known, names)) {
            self.learn(names);
        }
        let mut parts = Vec::with_capacity(self.members.len());
        parts.extend(features.parts());
        self.text.clear();
        for member in &mut self.members {
            if let Some(part) = parts.get(member.place) {
                member.write(*part, &mut self.text);
            }
        }
        match self.text.first_mut() {
            Some(comma) => *comma = b'{',
            None => self.text.push(b'{'),
        }
        self.text.push(b'}');
        &self.text
    }

    fn learn(&mut self, names: &Arc<[Arc<str>]>) {
        let member = |(place, name): (usize, &Arc<str>)| {
            let mut before = vec![b','];
            write_json(&**name, &mut before);
            before.push(b':');
            Member { place, before, sort: None, bytes: Vec::new(), text: Vec::new() }
        };
        self.members = names.iter().enumerate().map(member).collect();
        self.members.sort_by_key(|member| names.get(member.place));
        self.names = Some(Arc::clone(names));
    }
}

impl Member {
    fn write(&mut self, part: Part<'_>, out: &mut Vec<u8>) {
        let number;
        let (sort, bytes): (Sort, &[u8]) = match part {
            Part::Missing => return,
            Part::Withheld => (Sort::Withheld, &[]),
            Part::Number(value) => {
                // By its bits, since a zero may be negative.
                number = value.to_le_bytes();
                (Sort::Number, &number)
            }
            Part::Text(text) => (Sort::Text, text),
            Part::Boolean(yes) => (Sort::Boolean, if yes { b"1" } else { b"0" }),
        };
        if self.sort != Some(sort) || self.bytes != bytes {
            self.sort = Some(sort);
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.text.clear();
            self.text.extend_from_slice(&self.before);
            write_part(part, &mut self.text);
        }
        out.extend_from_slice(&self.text);
    }
}

fn write_part(part: Part<'_>, out: &mut Vec<u8>) {
    match part {
        Part::Missing => {}
        Part::Withheld => out.extend_from_slice(b"null"),
        Part::Number(number) => write_number(number, out),
        Part::Text(text) => write_text(text, out),
        Part::Boolean(yes) => out.extend_from_slice(if yes { b"true" } else { b"false" }),
    }
}

/// As serde_json writes it. Whole numbers are most of them, and their digits are found in a third of the time.
fn write_number(number: f64, out: &mut Vec<u8>) {
    let whole = number as i64;
    // By their bits, since a zero may be negative.
    if number.abs() < 1e15 && (whole as f64).to_bits() == number.to_bits() {
        write_json(&whole, out);
        out.extend_from_slice(b".0");
    } else {
        write_json(&number, out);
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    // All bytes are looked at, many at a time.
    if text.iter().fold(false, |any, byte| any | matches!(byte, b'"' | b'\\' | ..=0x1f)) {
        return write_json(&*String::from_utf8_lossy(text), out);
    }
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

fn write_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Neither texts nor numbers fail to become JSON, and writing to a Vec does not fail.
    _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lead::Value;

    /// What serde_json makes of the same features.
    fn expected(names: &[Arc<str>], values: &[Value<'_>]) -> String {
        let mut object = serde_json::Map::new();
        for (name, value) in names.iter().zip(values) {
            let json = match value {
                Value::Missing | Value::Cleared => continue,
                Value::Number(number) => (*number).into(),
                Value::Text(text) => text.as_ref().into(),
                Value::Boolean(yes) => (*yes).into(),
            };
            object.insert(name.to_string(), json);
        }
        serde_json::Value::Object(object).to_string()
    }

    fn check(writer: &mut FeatureJson, names: &[&str], values: &[Value<'_>]) {
        let names: Arc<[Arc<str>]> = names.iter().map(|name| Arc::from(*name)).collect();
        let text = String::from_utf8(writer.write(&names, &Packed::new(values)).to_vec()).unwrap();
        assert_eq!(text, expected(&names, values));
    }

    #[test]
    fn features_are_written_as_serde_json_writes_them() {
        let mut writer = FeatureJson::default();
        check(&mut writer, &[], &[]);
        check(&mut writer, &["a"], &[Value::Missing]);
        let text = |text: &'static str| Value::Text(text.into());
        check(
            &mut writer,
            &["job", "a\"b", "age", "é", "cleared"],
            &[text("\u{1}\"é\\\n"), Value::Boolean(true), Value::Missing, text("plain é"), Value::Cleared],
        );
        check(&mut writer, &["b", "a"], &[Value::Boolean(false)]);
        for number in [0.0, -0.0, 56.0, -36.4, 1e14, 999_999_999_999_999.0, 1e15, -1e15, 1e16, 1e300, 5e-324]
        {
            check(&mut writer, &["b", "a"], &[Value::Number(number), Value::Number(-number)]);
        }
    }

    #[test]
    fn a_value_is_that_of_its_own_lead_whatever_the_one_before_had() {
        let mut writer = FeatureJson::default();
        let names: Arc<[Arc<str>]> = ["b".into(), "a".into()].into();
        for values in [
            [Value::Number(0.0), Value::Number(93.994)],
            [Value::Number(0.0), Value::Number(93.994)],
            [Value::Number(-0.0), Value::Number(0.0)],
            [Value::Missing, Value::Number(0.0)],
            [Value::Text("x".into()), Value::Boolean(true)],
            [Value::Text("x".into()), Value::Text("1".into())],
            [Value::Text("".into()), Value::Boolean(false)],
            [Value::Boolean(true), Value::Boolean(true)],
            [Value::Number(-0.0), Value::Number(1e300)],
        ] {
            let text = writer.write(&names, &Packed::new(&values));
            assert_eq!(std::str::from_utf8(text).unwrap(), expected(&names, &values));
        }
    }

    proptest! {
        #[test]
        fn any_number_and_text_is_written_as_serde_json_writes_it(
            number in prop_oneof![any::<f64>(), (-1e16..1e16).prop_map(f64::trunc)],
            text in any::<String>(),
        ) {
            let values = [Value::Number(number), Value::Text(text.into())];
            // Longer texts are cut before they get here.
            let cut: Vec<Value<'_>> = Packed::new(&values).values().map(Value::into_owned).collect();
            check(&mut FeatureJson::default(), &["n", "t"], &cut);
        }
    }
}
