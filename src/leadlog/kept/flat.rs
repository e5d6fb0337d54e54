//! Features as the log keeps them, read back: `{"age":56.0,"job":"services"}`.
//!
//! One pass over the text, and words borrow from it: a million rows are read in less time than SQLite takes to find them.

use std::borrow::Cow;

use super::private::is_hash;
use crate::lead::Value;

/// A row's features are not what this log writes: somebody edited them. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("features: column {column}: not an object of numbers, words, true and false")]
pub struct FlatError {
    /// Bytes before it, from 1.
    pub column: usize,
}

/// Hands each feature's name and value to `each`, in the order they stand in; no value is one that the log may not keep,
/// where it has `null` or a hash. An empty word is missing.
pub fn read_features<'j>(
    json: &'j str,
    mut each: impl FnMut(Cow<'j, str>, Option<Value<'j>>),
) -> Result<(), FlatError> {
    let mut reader = Reader { json, at: 0 };
    reader.expect(b'{')?;
    if reader.peek() == Some(b'}') {
        reader.at += 1;
        return reader.end();
    }
    loop {
        reader.expect(b'"')?;
        let name = reader.text()?;
        reader.expect(b':')?;
        each(name, reader.value()?);
        match reader.peek() {
            Some(b',') => reader.at += 1,
            _ => break,
        }
    }
    reader.expect(b'}')?;
    reader.end()
}

struct Reader<'j> {
    json: &'j str,
    at: usize,
}

impl<'j> Reader<'j> {
    fn byte(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.byte()
    }

    fn wrong<T>(&self) -> Result<T, FlatError> {
        Err(FlatError { column: self.at + 1 })
    }

    fn expect(&mut self, byte: u8) -> Result<(), FlatError> {
        if self.peek() != Some(byte) {
            return self.wrong();
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), FlatError> {
        self.peek().map_or(Ok(()), |_| self.wrong())
    }

    /// A text behind its first quote.
    fn text(&mut self) -> Result<Cow<'j, str>, FlatError> {
        let start = self.at;
        let mut is_plain = true;
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => (is_plain, self.at) = (false, self.at + 2),
                Some(_) => self.at += 1,
                None => return self.wrong(),
            }
        }
        let end = self.at;
        self.at += 1;
        if is_plain {
            return self.json.get(start..end).map_or_else(|| self.wrong(), |text| Ok(text.into()));
        }
        let quoted = self.json.get(start - 1..=end).and_then(|quoted| serde_json::from_str(quoted).ok());
        quoted.map_or_else(|| self.wrong(), |text: String| Ok(text.into()))
    }

    fn value(&mut self) -> Result<Option<Value<'j>>, FlatError> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                let text = self.text()?;
                Ok(match text {
                    text if text.is_empty() => Some(Value::Missing),
                    text if is_hash(&text) => None,
                    text => Some(Value::Text(text)),
                })
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(Some),
            _ => self.word(),
        }
    }

    fn number(&mut self) -> Result<Value<'j>, FlatError> {
        let start = self.at;
        while self.byte().is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let number = self.json.get(start..self.at).and_then(|text| text.parse().ok());
        number.filter(|number: &f64| number.is_finite()).map(Value::Number).map_or_else(|| self.wrong(), Ok)
    }

    fn word(&mut self) -> Result<Option<Value<'j>>, FlatError> {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let yes_or_no = |yes| Some(Value::Boolean(yes));
        let words = [("true", yes_or_no(true)), ("false", yes_or_no(false)), ("null", None)];
        let Some((word, value)) = words.into_iter().find(|(word, _)| rest.starts_with(word)) else {
            return self.wrong();
        };
        self.at += word.len();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::leadlog::{Packed, kept::json::FeatureJson};

    fn read(json: &str) -> Result<Vec<(String, Option<Value<'_>>)>, FlatError> {
        let mut found = Vec::new();
        read_features(json, |name, value| found.push((name.into_owned(), value)))?;
        Ok(found)
    }

    #[test]
    fn features_are_read_by_name() {
        let check = |json: &str, expected: &[(&str, Option<Value<'_>>)]| {
            let expected: Vec<_> = expected.iter().map(|(name, v)| ((*name).to_owned(), v.clone())).collect();
            assert_eq!(read(json), Ok(expected), "{json}");
        };
        check("{}", &[]);
        check(" { } ", &[]);
        let (number, text) =
            (|n| Some(Value::Number(n)), |text: &'static str| Some(Value::Text(text.into())));
        check(r#"{"age":56.0,"vip":true}"#, &[("age", number(56.0)), ("vip", Some(Value::Boolean(true)))]);
        check(r#"{"a": -1e-3 , "b" :"hash:7"}"#, &[("a", number(-0.001)), ("b", text("hash:7"))]);
        check(r#"{"a\"b":"x\u00e9\\","c":""}"#, &[("a\"b", text("xé\\")), ("c", Some(Value::Missing))]);
        check(r#"{"a":null,"b":"hash:0123456789abcdef"}"#, &[("a", None), ("b", None)]);
    }

    #[test]
    fn what_is_no_object_of_features_is_refused_with_its_place() {
        for (json, column) in [
            ("", 1),
            ("[]", 1),
            ("{", 2),
            (r#"{"a""#, 5),
            (r#"{"a":"#, 6),
            (r#"{"a":[1]}"#, 6),
            (r#"{"a":{}}"#, 6),
            (r#"{"a":1,}"#, 8),
            (r#"{"a":1} x"#, 9),
            (r#"{"a":"b"#, 8),
            (r#"{"a":"b\"#, 10),
            (r#"{"a":1e999}"#, 11),
            (r#"{"a":-inf}"#, 7),
            (r#"{"a":"\q"}"#, 10),
            (r#"{"a":nul}"#, 6),
        ] {
            assert_eq!(read(json), Err(FlatError { column }), "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_the_log_writes_is_read_back(number in any::<f64>().prop_filter("finite", |n| n.is_finite()),
            name in any::<String>(), text in "\\PC{1,40}|.{1,40}", yes in any::<bool>()) {
            let names: Arc<[Arc<str>]> = [name.as_str(), "t", "yes"].map(Arc::from).into();
            let values = [Value::Number(number), Value::Text(text.into()), Value::Boolean(yes)];
            let packed = Packed::new(&values);
            let mut writer = FeatureJson::default();
            let json = std::str::from_utf8(writer.write(&names, &packed)).unwrap();
            let mut expected: Vec<_> = names.iter().map(ToString::to_string).zip(packed.values()).collect();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            let mut found = read(json).unwrap();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert_eq!(&found.0, &expected.0);
                match (found.1.as_ref().unwrap(), &expected.1) {
                    (Value::Number(a), Value::Number(b)) => prop_assert_eq!(a.to_bits(), b.to_bits()),
                    (a, b) => prop_assert_eq!(a, b),
                }
            }
        }

        #[test]
        fn nothing_panics(json in any::<String>(), rest in "[{}\\[\\]\",:0-9a-z\\\\. é-]{0,40}") {
            _ = read(&json);
            _ = read(&format!("{{\"a\":{rest}"));
        }
    }
}
