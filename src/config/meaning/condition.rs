//! Predicates and the places they look at.

use serde_json::Value as Json;

use super::text;
use crate::config::{
    at::{Base, Lookup, Place, Predicate, Scalar, Side, Test},
    findings::{Complaint, Findings, KeyPath},
    problem::nearest_or_all,
    raw::RawPredicate,
};

/// What a list of predicates, or a place, may look at.
pub(super) struct Scope<'a> {
    /// The message a body or header is read from where the text does not say.
    default: Side,
    /// Where a pointer starts where the text names no message.
    base: Base,
    /// Whether the request may be asked, and whether the answer may.
    asks: (bool, bool),
    /// The `{name}`s of the route's path.
    names: &'a [String],
}

impl<'a> Scope<'a> {
    /// Conditions on the request alone.
    pub(super) fn when(names: &'a [String]) -> Self {
        Self { default: Side::Request, base: Base::Root, asks: (true, false), names }
    }

    /// Conditions on the answer alone.
    pub(super) fn ok(names: &'a [String]) -> Self {
        Self { default: Side::Response, base: Base::Root, asks: (false, true), names }
    }

    /// What a rule reads of a request alone: by default of the lead object.
    pub(super) fn told(names: &'a [String]) -> Self {
        Self { default: Side::Request, base: Base::Item, asks: (true, false), names }
    }

    /// What a rule reads of an exchange: by default of the lead object, or of the item, in one of its messages.
    pub(super) fn rule(default: Side, names: &'a [String]) -> Self {
        Self { default, base: Base::Item, asks: (true, true), names }
    }
}

/// All of them, or `None` once what is wrong has been reported.
pub(super) fn predicates(
    raw: &[RawPredicate],
    path: &KeyPath,
    scope: &Scope<'_>,
    findings: &mut Findings,
) -> Option<Vec<Predicate>> {
    let read = |(index, raw)| predicate(raw, &path.item(index), scope, findings);
    // Collected in two steps so that each bad one is told, not only the first.
    let all: Vec<_> = raw.iter().enumerate().map(read).collect();
    all.into_iter().collect()
}

fn predicate(
    raw: &RawPredicate,
    path: &KeyPath,
    scope: &Scope<'_>,
    findings: &mut Findings,
) -> Option<Predicate> {
    let at = findings.take(&path.key("at"), at(&raw.at, scope));
    let test = test(raw, path, findings);
    let (at, test) = (at?, test?);
    let text_only = matches!(at.place, Place::Header(_) | Place::Path(_) | Place::Query(_));
    if text_only && matches!(test, Test::Type(_)) {
        findings.wrong(&path.key("type"), "headers, paths and queries hold text");
        return None;
    }
    let is_text = |scalar: &Scalar| matches!(scalar, Scalar::Text(_));
    let never = match &test {
        Test::Eq(value) => !is_text(value),
        Test::In(values) => !values.iter().all(is_text),
        Test::Matches(_) | Test::Type(_) | Test::Exists | Test::Absent => false,
    };
    if text_only && never {
        let key = if raw.eq.is_some() { "eq" } else { "in" };
        let hint = Some("put it in quotes".to_owned());
        findings.wrong(&path.key(key), Complaint::new("headers, paths and queries hold text", hint));
        return None;
    }
    Some(Predicate { at, test })
}

/// `/a/b`, `$.a[*]`, `header:X`, `path:id`, `query:k`, each with `req:` or `resp:` in front.
pub(super) fn at(text: &str, scope: &Scope<'_>) -> Result<Lookup, Complaint> {
    let (said, rest) = match (text.strip_prefix("req:"), text.strip_prefix("resp:")) {
        (Some(rest), _) => (Some(Side::Request), rest),
        (_, Some(rest)) => (Some(Side::Response), rest),
        _ => (None, text),
    };
    let of_head = rest.starts_with("path:") || rest.starts_with("query:");
    let in_request = said == Some(Side::Request) || said.is_none() && of_head;
    if in_request && !scope.asks.0 {
        return Err("only the answer can be asked here; the request is asked under when".into());
    }
    if said == Some(Side::Response) && !scope.asks.1 {
        return Err("the answer is not known yet; only the request can be asked here".into());
    }
    let side = said.unwrap_or(scope.default);
    let of_request = |place| match said {
        Some(Side::Response) => Err(Complaint::from("an answer has neither path nor query")),
        _ => Ok(Lookup { side: Side::Request, place, base: Base::Root }),
    };
    let base = if said.is_some() { Base::Root } else { scope.base };
    let found = |place| Lookup { side, place, base };
    match rest.split_once(':') {
        _ if rest.starts_with('$') => text::query(rest).map(|query| found(Place::Select(query))),
        _ if rest.is_empty() || rest.starts_with('/') => {
            // A rule about the request's items may name an item's place from the root; other requests have no items yet.
            let of_items = scope.base == Base::Item && scope.default == Side::Request;
            let item = base == Base::Root && (side == Side::Response || of_items);
            text::pointer(rest, item).map(|pointer| found(Place::Body(pointer)))
        }
        Some(("header", name)) => text::header(name).map(|name| found(Place::Header(name))),
        Some(("path", name)) => path_name(name, scope.names).and_then(|name| of_request(Place::Path(name))),
        Some(("query", name)) if !name.is_empty() => of_request(Place::Query(name.into())),
        _ => {
            let hint = match rest.split_once(':') {
                Some((word, name)) => {
                    let near = nearest_or_all(word, ["header", "path", "query"]);
                    near.map(|near| near.replace("\"?", &format!(":{name}\"?")))
                }
                None => (!rest.contains(' ')).then(|| format!("did you mean \"/{rest}\"?")),
            };
            let message =
                format!("{rest:?} is not /a/pointer, $.query, header:NAME, path:NAME or query:NAME");
            Err(Complaint::new(message, hint))
        }
    }
}

/// One of the path's names.
pub(super) fn path_name(name: &str, names: &[String]) -> Result<Box<str>, Complaint> {
    match names.iter().any(|known| known == name) {
        true => Ok(name.into()),
        false => {
            let hint = nearest_or_all(name, names.iter().map(String::as_str));
            Err(Complaint::new(format!("the route's path has no {{{name}}}"), hint))
        }
    }
}

fn test(raw: &RawPredicate, path: &KeyPath, findings: &mut Findings) -> Option<Test> {
    let RawPredicate { at: _, eq, one_of, matches, exists, absent, kind } = raw;
    let tests = [
        eq.is_some(),
        one_of.is_some(),
        matches.is_some(),
        exists.is_some(),
        absent.is_some(),
        kind.is_some(),
    ];
    let count = tests.iter().filter(|given| **given).count();
    if count != 1 {
        let found = if count == 0 { "none" } else { "several" };
        findings.wrong(
            path,
            format!("exactly one of eq, in, matches, exists, absent, type is needed, {found} found"),
        );
        return None;
    }
    if let Some(value) = eq {
        return Some(Test::Eq(scalar(value)));
    }
    if let Some(values) = one_of {
        if values.is_empty() {
            findings.wrong(&path.key("in"), "an empty list holds for nothing");
        }
        return Some(Test::In(values.iter().map(scalar).collect()));
    }
    if let Some(text) = matches {
        return findings.take(&path.key("matches"), text::pattern(text)).map(Test::Matches);
    }
    if let Some(kind) = kind {
        return Some(Test::Type(*kind));
    }
    let (key, other, test, yes) = match exists {
        Some(yes) => ("exists", "absent", Test::Exists, *yes),
        None => ("absent", "exists", Test::Absent, *absent == Some(true)),
    };
    if !yes {
        let hint = Some(format!("write {other}: true"));
        findings.wrong(&path.key(key), Complaint::new("can only be true", hint));
    }
    Some(test)
}

pub(super) fn scalar(value: &Json) -> Scalar {
    match value {
        Json::Bool(yes) => Scalar::Bool(*yes),
        Json::Number(number) => number.as_f64().map_or(Scalar::Null, Scalar::Number),
        Json::String(text) => Scalar::Text(text.as_str().into()),
        // The schema lets no list or mapping through.
        Json::Null | Json::Array(_) | Json::Object(_) => Scalar::Null,
    }
}
