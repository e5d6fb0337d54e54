//! Features as they were read, before a model's encoder turns them into numbers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What may stand before or behind a number in a text; it says nothing of its value.
pub const SIGNS: [&str; 10] = ["$", "€", "£", "¥", "₹", "%", "EUR", "USD", "GBP", "CHF"];

/// What a feature is, whatever form it arrives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeatureType {
    /// A finite number: `12000`, `"12,000.00"`.
    Number,
    /// One of a set of words: `"Web"`, or an option's code.
    Category,
    /// Yes or no: `true`, `"on"`, `1`.
    Boolean,
}

impl FeatureType {
    /// `"number"`, `"category"` or `"boolean"`, as configuration and manifest write it.
    pub fn as_str(self) -> &'static str {
        match self {
            FeatureType::Number => "number",
            FeatureType::Category => "category",
            FeatureType::Boolean => "boolean",
        }
    }
}

/// One feature's value. Text borrows from the body it was read from unless it held escapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// Absent, `null`, empty, or not of the feature's type.
    #[default]
    Missing,
    /// Missing, because the client emptied it: what was known of it before no longer holds.
    Cleared,
    /// Always finite.
    Number(f64),
    /// Never empty.
    Text(Cow<'a, str>),
    /// Yes or no.
    Boolean(bool),
}

impl Value<'_> {
    /// Whether there is nothing to encode.
    pub fn is_missing(&self) -> bool {
        matches!(self, Value::Missing | Value::Cleared)
    }

    /// The same value, owning its text.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Missing => Value::Missing,
            Value::Cleared => Value::Cleared,
            Value::Number(number) => Value::Number(number),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Boolean(yes) => Value::Boolean(yes),
        }
    }
}
