//! What may be said of a request where people read it.

use std::{borrow::Cow, fmt};

use http::{HeaderName, HeaderValue, Uri};

use super::{
    doc::Doc,
    place::decoded,
    routes::Route,
    scan::{Node, Tape},
};
use crate::config::{Mask, Pointer};

/// A request, by its route alone: `lead.update /services/data/{version}/sobjects/Lead/{id}`. The path itself may hold an
/// id or an address, its query a token and its body a password, so none of them is shown. Logs and errors say no more of
/// a request than this.
#[derive(Clone, Copy, Debug)]
pub struct Redact<'a>(pub Option<&'a Route>);

impl fmt::Display for Redact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(route) => write!(f, "{} {}", route.name, route.path),
            None => f.write_str("unmatched"),
        }
    }
}

/// What stands in place of a secret.
const STARS: &str = "***";

/// A message shown whole to who has it already: all but its secrets.
#[derive(Clone, Copy, Debug)]
pub struct Masked<'m>(pub &'m [Mask]);

impl Masked<'_> {
    /// A header's value.
    pub fn header<'v>(&self, name: &HeaderName, value: &'v HeaderValue) -> Cow<'v, str> {
        let is_secret = self.0.iter().any(|mask| matches!(mask, Mask::Header(secret) if secret == name));
        if is_secret { Cow::Borrowed(STARS) } else { String::from_utf8_lossy(value.as_bytes()) }
    }

    /// A URL's path and query.
    pub fn target(&self, uri: &Uri) -> String {
        let Some(query) = uri.query() else { return uri.path().to_owned() };
        let pair = |pair| match pair_of(pair) {
            (key, Some(_)) if self.is_secret_key(key) => format!("{key}={STARS}"),
            _ => pair.to_owned(),
        };
        let pairs: Vec<String> = query.split('&').map(pair).collect();
        format!("{}?{}", uri.path(), pairs.join("&"))
    }

    fn is_secret_key(&self, key: &str) -> bool {
        self.0.iter().any(|mask| matches!(mask, Mask::Query(secret) if **secret == *decoded(key)))
    }

    /// A body that is JSON. Where it cannot be read, or where a masked key stands twice, nobody can say what is secret in
    /// it, and none of it is shown.
    pub fn json(&self, body: &str) -> String {
        let mut tape = Tape::default();
        let spans = match tape.scan(body) {
            Ok(()) => self.secrets(Doc::new(body, &tape)),
            Err(_) => None,
        };
        let Some(mut spans) = spans else { return STARS.to_owned() };
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        let (mut shown, mut from) = (String::with_capacity(body.len()), 0);
        // One that lies in another is gone with it.
        for span in spans {
            if span.start >= from {
                shown.push_str(body.get(from..span.start).unwrap_or_default());
                shown.push('"');
                shown.push_str(STARS);
                shown.push('"');
                from = span.end;
            }
        }
        shown.push_str(body.get(from..).unwrap_or_default());
        shown
    }

    fn secrets(&self, doc: Doc<'_, '_>) -> Option<Vec<std::ops::Range<usize>>> {
        let span = |pointer: &Pointer| match doc.resolve(Doc::ROOT, pointer, None) {
            Ok(at) => Some(at.and_then(|at| doc.node(at)).map(Node::span)),
            Err(_) => None,
        };
        let mut spans = Vec::new();
        for mask in self.0 {
            if let Mask::Body(pointer) = mask {
                spans.extend(span(pointer)?);
            }
        }
        Some(spans)
    }
}

fn pair_of(pair: &str) -> (&str, Option<&str>) {
    pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks() -> Vec<Mask> {
        let own = [Mask::Body(Pointer::parse("/a/pw").unwrap()), Mask::Query("k y".into())];
        Mask::always().into_iter().chain(own).collect()
    }

    #[test]
    fn what_is_secret_is_starred_and_nothing_else_changes() {
        let masks = masks();
        for (body, expected) in [
            (r#"{"a":{"pw":"x","b":1.10}}"#, r#"{"a":{"pw":"***","b":1.10}}"#),
            ("\u{feff}{ \"a\":{\"pw\":{\"deep\":[\"x\"]}} }", "\u{feff}{ \"a\":{\"pw\":\"***\"} }"),
            (r#"{"\u0061":{"pw":1}}"#, r#"{"\u0061":{"pw":"***"}}"#),
            (
                r#"{"params":{"args":["db",2,"x",3],"password":"y"}}"#,
                r#"{"params":{"args":["db",2,"***",3],"password":"***"}}"#,
            ),
            (r#"{"params":["me",{"password":"x"}]}"#, r#"{"params":["me",{"password":"***"}]}"#),
            (r#"{"google_key":"x"}"#, r#"{"google_key":"***"}"#),
            (r#"{"a":{"pw":"x","pw":"y"}}"#, "***"),
            ("no JSON", "***"),
            ("[1]", "[1]"),
        ] {
            assert_eq!(Masked(&masks).json(body), expected);
        }
    }

    #[test]
    fn secret_headers_and_queries_are_starred() {
        let masks = masks();
        let target = |text: &str| Masked(&masks).target(&text.parse().unwrap());
        assert_eq!(target("/v1/leads?start=1&api_token=x&b"), "/v1/leads?start=1&api_token=***&b");
        assert_eq!(target("http://crm/leads?k%20y=x&api%5Ftoken=y"), "/leads?k%20y=***&api%5Ftoken=***");
        assert_eq!(target("/v1/leads"), "/v1/leads");
        let header = |name: &'static str| {
            Masked(&masks).header(&HeaderName::from_static(name), &HeaderValue::from_static("x")).into_owned()
        };
        assert_eq!(["authorization", "set-cookie", "accept"].map(header), ["***", "***", "x"]);
    }
}
