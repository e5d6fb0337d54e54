//! Where a value stands in a request or an answer, and what is asked of it.

use std::fmt;

use http::HeaderName;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A JSON Pointer (RFC 6901) in which a token `{i}` stands for the lead's index in the request's array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The steps from the root; none for the root itself.
    pub steps: Vec<Step>,
}

/// One token of a [`Pointer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A member's name, unescaped; on an array, its index in decimal.
    Key(Box<str>),
    /// `{i}`: the index of the lead in the request's array.
    Item,
}

impl Pointer {
    /// Reads `/a/b~1c/{i}`; the error says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self { steps: Vec::new() });
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("a JSON Pointer starts with `/`, {text:?} does not"));
        };
        let steps = rest.split('/').map(step).collect::<Result<_, _>>()?;
        Ok(Self { steps })
    }

    /// The pointer through these keys.
    pub(crate) fn of(keys: &[&str]) -> Self {
        Self { steps: keys.iter().map(|key| Step::Key((*key).into())).collect() }
    }

    /// Whether the pointer depends on the lead's index.
    pub fn has_item(&self) -> bool {
        self.steps.contains(&Step::Item)
    }
}

fn step(token: &str) -> Result<Step, String> {
    if token == "{i}" {
        return Ok(Step::Item);
    }
    let mut key = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        match (c, c == '~') {
            (_, false) => key.push(c),
            (_, true) => match chars.next() {
                Some('0') => key.push('~'),
                Some('1') => key.push('/'),
                _ => return Err(format!("in a JSON Pointer `~` is followed by 0 or 1, not so in {token:?}")),
            },
        }
    }
    Ok(Step::Key(key.into()))
}

/// An RFC 9535 query whose syntax has been checked.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The query as written.
    pub text: Box<str>,
    /// The same, parsed.
    pub query: serde_json_path::JsonPath,
}

impl Selector {
    /// Reads an RFC 9535 query; the error says where it stops making sense.
    pub fn parse(text: &str) -> Result<Self, String> {
        let query = serde_json_path::JsonPath::parse(text).map_err(|error| error.to_string())?;
        Ok(Self { text: text.into(), query })
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The message a value is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What the client sent.
    Request,
    /// What the upstream answered.
    Response,
}

/// A place in one message.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// In the body, by pointer from its root.
    Body(Pointer),
    /// In the body, by query.
    Select(Selector),
    /// A header's first value.
    Header(HeaderName),
    /// What a `{name}` of the route's path stood for, still percent-encoded.
    Path(Box<str>),
    /// A key of the URL's query, percent-decoded.
    Query(Box<str>),
}

/// One value of an exchange: in which message, and where in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// The message.
    pub side: Side,
    /// Where in it.
    pub place: Place,
    /// Where a pointer into its body starts.
    pub base: Base,
}

/// Where a pointer into a body starts. Queries always start at the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// At the body's root.
    Root,
    /// At the lead object of a request, or the item of an answer.
    Item,
}

/// A condition on one value.
#[derive(Clone, Debug)]
pub struct Predicate {
    /// The value.
    pub at: Lookup,
    /// What must hold there.
    pub test: Test,
}

/// What a [`Predicate`] asks.
#[derive(Clone, Debug)]
pub enum Test {
    /// Equal to this value.
    Eq(Scalar),
    /// Equal to one of these.
    In(Vec<Scalar>),
    /// Text, or a number as it is written, that matches somewhere (anchor with `^` and `$`).
    Matches(Regex),
    /// Of this type.
    Type(JsonType),
    /// There is a value, `null` included.
    Exists,
    /// There is none.
    Absent,
}

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JsonType {
    /// Text.
    String,
    /// A number.
    Number,
    /// `true` or `false`
    Boolean,
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `null`
    Null,
}

/// A JSON value that is not an object or an array. Numbers compare by value, so `1` equals `1.0`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number.
    Number(f64),
    /// Any text. The values of headers, paths and queries are text.
    Text(Box<str>),
}

/// `/a/b~1c/{i}`
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| match step {
            Step::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Item => f.write_str("/{i}"),
        })
    }
}

/// As it is written after `at:`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Body(pointer) => pointer.fmt(f),
            Place::Select(selector) => f.write_str(&selector.text),
            Place::Header(name) => write!(f, "header:{name}"),
            Place::Path(name) => write!(f, "path:{name}"),
            Place::Query(key) => write!(f, "query:{key}"),
        }
    }
}

/// `/method eq "crm.lead"`
impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at.place, self.test)
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Eq(scalar) => write!(f, "eq {scalar}"),
            Test::In(scalars) => {
                let all: Vec<String> = scalars.iter().map(ToString::to_string).collect();
                write!(f, "in [{}]", all.join(", "))
            }
            Test::Matches(pattern) => write!(f, "matches {pattern}"),
            Test::Type(kind) => write!(f, "type {}", format!("{kind:?}").to_lowercase()),
            Test::Exists => f.write_str("exists"),
            Test::Absent => f.write_str("absent"),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Null => f.write_str("null"),
            Scalar::Bool(yes) => yes.fmt(f),
            Scalar::Number(number) => number.fmt(f),
            Scalar::Text(text) => write!(f, "{text:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_unescape_and_know_the_item() {
        let keys = |text: &str| Pointer::parse(text).map(|pointer| pointer.steps);
        let key = |name: &str| Step::Key(name.into());
        assert_eq!(keys(""), Ok(vec![]));
        assert_eq!(keys("/"), Ok(vec![key("")]));
        assert_eq!(keys("/a~1b/m~0n"), Ok(vec![key("a/b"), key("m~n")]));
        assert_eq!(keys("/results/{i}/id"), Ok(vec![key("results"), Step::Item, key("id")]));
        assert!(keys("a").is_err() && keys("/a~2").is_err() && keys("/a~").is_err());
    }
}
