//! Header values, and removal of spoofed ones.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{format::Given, reasons};
use crate::{
    config::{Field, HeaderTarget},
    lead::Skip,
};

/// The header that says what became of a request on a route.
pub const LEADWIRE: HeaderName = HeaderName::from_static("leadwire");

/// `Leadwire: scored`
pub const SCORED: HeaderValue = HeaderValue::from_static("scored");

/// `Leadwire: passed`: a route matched that does not score.
pub const PASSED: HeaderValue = HeaderValue::from_static("passed");

/// `Leadwire: failed`: the upstream did not answer.
pub const FAILED: HeaderValue = HeaderValue::from_static("failed");

/// `Leadwire: skipped;reason=deadline`
pub fn skipped(reason: Skip) -> HeaderValue {
    let text = format!("skipped;reason={}", reason.as_str());
    // Reasons are lower-case words, which every header takes.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("skipped"))
}

/// Whether only Leadwire may write the header of this name, in whatever case it stands.
pub fn is_ours(name: &[u8], targets: &[HeaderTarget]) -> bool {
    let is_it = |ours: &HeaderName| name.eq_ignore_ascii_case(ours.as_str().as_bytes());
    is_it(&LEADWIRE) || targets.iter().any(|target| is_it(&target.name))
}

/// Removes from a request every header that only Leadwire may write; whether there was one.
pub fn remove_spoofed(headers: &mut HeaderMap, targets: &[HeaderTarget]) -> bool {
    // Nearly always there is none, and to look is less than to remove each.
    if !headers.keys().any(|name| is_ours(name.as_str().as_bytes(), targets)) {
        return false;
    }
    headers.remove(LEADWIRE);
    for target in targets {
        headers.remove(&target.name);
    }
    true
}

/// The headers that say what leads were given; of several, the values one after another, separated by commas.
pub fn headers(targets: &[HeaderTarget], given: &[Given<'_>]) -> Vec<(HeaderName, HeaderValue)> {
    // One more says that there is a score.
    let mut headers = Vec::with_capacity(targets.len() + 1);
    for target in targets {
        let value = match given {
            [] => break,
            [given] => alone(target.value, given),
            several => together(target.value, several),
        };
        headers.extend(value.map(|value| (target.name.clone(), value)));
    }
    headers
}

fn alone(field: Field, given: &Given<'_>) -> Option<HeaderValue> {
    match field {
        Field::Points => Some(HeaderValue::from_static(points(given.score.points()))),
        Field::Grade => Some(HeaderValue::from_static(given.grade.as_str())),
        Field::Trend => given.trend.map(|trend| HeaderValue::from_static(trend.as_str())),
        // Model names are checked when they load; one that fits no header is left out.
        field => HeaderValue::try_from(text(field, given)?).ok(),
    }
}

/// 0..=100 as text that nobody has to make.
fn points(points: u8) -> &'static str {
    const PAIRS: &str = concat!(
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849",
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899",
    );
    let end = usize::from(points) * 2 + 2;
    let start = end - if points < 10 { 1 } else { 2 };
    PAIRS.get(start..end).unwrap_or("100")
}

fn together(field: Field, given: &[Given<'_>]) -> Option<HeaderValue> {
    let texts: Vec<Option<String>> = given.iter().map(|given| text(field, given)).collect();
    if texts.iter().all(Option::is_none) {
        return None;
    }
    let texts: Vec<&str> = texts.iter().map(|text| text.as_deref().unwrap_or_default()).collect();
    HeaderValue::try_from(texts.join(",")).ok()
}

/// The value as text; `None` where there is none.
fn text(field: Field, given: &Given<'_>) -> Option<String> {
    match field {
        Field::Score => Some(given.score.probability().to_string()),
        Field::Points => Some(given.score.points().to_string()),
        Field::Grade => Some(given.grade.as_str().to_owned()),
        // As it displays, without the detour over a formatter.
        Field::Model => Some([&*given.model.model, "/", &*given.model.version].concat()),
        Field::Trend => given.trend.map(|trend| trend.as_str().to_owned()),
        Field::Reasons => Some(reasons::header(given.reasons)).filter(|text| !text.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::{Grade, ModelId, Score, Trend};

    #[test]
    fn points_are_written_as_they_display() {
        (0..=100).for_each(|n| assert_eq!(points(n), n.to_string()));
    }

    #[test]
    fn spoofed_headers_go_and_ours_come() {
        let target = |name: &'static str, value| HeaderTarget { name: HeaderName::from_static(name), value };
        let targets = [
            target("x-lead-score", Field::Points),
            target("x-lead-grade", Field::Grade),
            target("x-m", Field::Model),
            target("x-t", Field::Trend),
        ];
        let write = |headers: &mut HeaderMap, given: &[Given<'_>]| {
            for (name, value) in super::headers(&targets, given) {
                headers.insert(name, value);
            }
        };
        let mut headers = HeaderMap::new();
        headers.append("x-lead-score", HeaderValue::from_static("100"));
        headers.append("x-lead-score", HeaderValue::from_static("99"));
        headers.append("leadwire", HeaderValue::from_static("scored"));
        headers.append("x-other", HeaderValue::from_static("kept"));
        remove_spoofed(&mut headers, &targets);
        assert_eq!(headers.len(), 1);
        let model = ModelId { model: "lead".into(), version: "3".into(), digest: "00".into() };
        let score = Score::new(0.73).unwrap();
        let given = Given { score, grade: Grade::A, model: &model, reasons: &[], trend: None };
        write(&mut headers, &[given]);
        assert_eq!(headers.get("x-t"), None, "a first score has no trend");
        write(&mut headers, &[Given { trend: Some(Trend::Declining), ..given }]);
        assert_eq!(headers["x-t"], "declining");
        write(&mut headers, &[given, Given { grade: Grade::B, trend: Some(Trend::Steady), ..given }]);
        assert_eq!(
            [&headers["x-lead-score"], &headers["x-lead-grade"], &headers["x-t"]],
            ["73,73", "A,B", ",steady"]
        );
        write(&mut headers, &[given]);
        assert_eq!(
            [&headers["x-lead-score"], &headers["x-lead-grade"], &headers["x-m"]],
            ["73", "A", "lead/3"]
        );
        assert_eq!(skipped(Skip::NoLead), "skipped;reason=no_lead");
    }
}
