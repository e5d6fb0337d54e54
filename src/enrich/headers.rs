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

/// Removes from a request every header that only Leadwire may write.
pub fn remove_spoofed(headers: &mut HeaderMap, targets: &[HeaderTarget]) {
    headers.remove(LEADWIRE);
    for target in targets {
        headers.remove(&target.name);
    }
}

/// Writes what a lead was given.
pub fn write(headers: &mut HeaderMap, targets: &[HeaderTarget], given: Given<'_>) {
    for target in targets {
        let value = match target.value {
            Field::Points => Ok(HeaderValue::from(u16::from(given.score.points()))),
            Field::Grade => Ok(HeaderValue::from_static(given.grade.as_str())),
            Field::Score => HeaderValue::try_from(given.score.probability().to_string()),
            Field::Model => HeaderValue::try_from(given.model.to_string()),
            Field::Reasons => match reasons::header(given.reasons) {
                none if none.is_empty() => continue,
                some => HeaderValue::try_from(some),
            },
            Field::Trend => match given.trend {
                Some(trend) => Ok(HeaderValue::from_static(trend.as_str())),
                None => continue,
            },
        };
        // Model names are checked when they load; one that fits no header is left out.
        if let Ok(value) = value {
            headers.insert(target.name.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lead::{Grade, ModelId, Score, Trend};

    #[test]
    fn spoofed_headers_go_and_ours_come() {
        let target = |name: &'static str, value| HeaderTarget { name: HeaderName::from_static(name), value };
        let targets = [
            target("x-lead-score", Field::Points),
            target("x-lead-grade", Field::Grade),
            target("x-m", Field::Model),
            target("x-t", Field::Trend),
        ];
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
        write(&mut headers, &targets, given);
        assert_eq!(headers.get("x-t"), None, "a first score has no trend");
        write(&mut headers, &targets, Given { trend: Some(Trend::Declining), ..given });
        assert_eq!(headers["x-t"], "declining");
        assert_eq!(
            [&headers["x-lead-score"], &headers["x-lead-grade"], &headers["x-m"]],
            ["73", "A", "lead/3"]
        );
        assert_eq!(skipped(Skip::NoLead), "skipped;reason=no_lead");
    }
}
