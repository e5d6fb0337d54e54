//! A tree of keys: what XGBoost's two formats have in common.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::TreeError;

/// A value. Lists of numbers, which are nearly all of a file, are kept as such.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Document {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    Numbers(Vec<f64>),
    List(Vec<Document>),
    Map(BTreeMap<String, Document>),
}

impl Document {
    /// The value of a key that must be there.
    pub(super) fn at(&self, key: &str) -> Result<&Document, TreeError> {
        self.find(key).ok_or_else(|| TreeError::key(key, "is missing"))
    }

    pub(super) fn find(&self, key: &str) -> Option<&Document> {
        match self {
            Document::Map(map) => map.get(key),
            _ => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<&str, TreeError> {
        match self.at(key)? {
            Document::Text(text) => Ok(text),
            _ => Err(TreeError::key(key, "is not text")),
        }
    }

    /// A whole number, which XGBoost writes as text.
    pub(super) fn count(&self, key: &str) -> Result<usize, TreeError> {
        self.text(key)?.parse().map_err(|_| TreeError::key(key, "is not a whole number"))
    }

    pub(super) fn numbers(&self, key: &str) -> Result<&[f64], TreeError> {
        match self.at(key)? {
            Document::Numbers(numbers) => Ok(numbers),
            _ => Err(TreeError::key(key, "is not a list of numbers")),
        }
    }

    /// The items of a list that is not of numbers, unless it is empty.
    pub(super) fn list(&self, key: &str) -> Result<&[Document], TreeError> {
        match self.at(key)? {
            Document::List(list) => Ok(list),
            Document::Numbers(numbers) if numbers.is_empty() => Ok(&[]),
            _ => Err(TreeError::key(key, "is not a list")),
        }
    }

    /// Refuses a map with another key: it might change what the others mean.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), TreeError> {
        let Document::Map(map) = self else { return Err(TreeError::Format) };
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(TreeError::unknown("key", key)),
            None => Ok(()),
        }
    }

    /// A list of whatever is in it.
    pub(super) fn from_items(items: Vec<Document>) -> Self {
        let number = |item: &Document| match item {
            Document::Number(number) => Some(*number),
            _ => None,
        };
        match items.iter().map(number).collect() {
            Some(numbers) => Document::Numbers(numbers),
            None => Document::List(items),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Document::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(Document::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Document, E> {
        Ok(Document::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Document, E> {
        Ok(Document::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let mut numbers = Vec::new();
        while let Some(item) = items.next_element()? {
            let Document::Number(number) = item else {
                let mut list: Vec<Document> = numbers.into_iter().map(Document::Number).collect();
                list.push(item);
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                return Ok(Document::List(list));
            };
            numbers.push(number);
        }
        Ok(Document::Numbers(numbers))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Document, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = members.next_entry::<String, Document>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
            map.insert(key, value);
        }
        Ok(Document::Map(map))
    }
}
