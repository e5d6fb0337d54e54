//! Splice: places and values to the patched body.

use std::ops::Range;

use super::format::Given;
use crate::{
    config::{BodyTarget, Step},
    lead::Spot,
};

/// What is to be written into one body.
#[derive(Debug, Default)]
pub struct Edits<'a> {
    edits: Vec<Edit<'a>>,
    /// The values, one after another.
    values: Vec<u8>,
}

#[derive(Debug)]
struct Edit<'a> {
    spot: Spot,
    key: &'a str,
    value: Range<usize>,
}

/// Two edits want the same bytes; nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two values for one place")]
pub struct Overlap;

impl<'a> Edits<'a> {
    /// Adds one: what `target` asks for, at the place that its pointer was found to mean.
    pub fn push(&mut self, spot: Spot, target: &'a BodyTarget, given: Given<'_>) {
        // The configuration refuses targets that name no member.
        let Some(Step::Key(key)) = target.at.steps.last() else { return };
        if !given.has(target.value) {
            return;
        }
        let start = self.values.len();
        given.write_json(target.value, &target.format, &mut self.values);
        self.edits.push(Edit { spot, key, value: start..self.values.len() });
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The body with the edits in it. Every byte outside a replaced value stays as it was; an added member stands before
    /// its object's closing brace.
    pub fn apply(mut self, body: &[u8]) -> Result<Vec<u8>, Overlap> {
        self.edits.sort_by_key(|edit| edit.spot.start());
        let mut out = Vec::with_capacity(body.len() + self.values.len() + 32 * self.edits.len());
        let mut done = 0;
        for (index, edit) in self.edits.iter().enumerate() {
            let before = self.edits.get(..index).unwrap_or_default();
            let mut same_place = before.iter().rev().take_while(|before| before.spot == edit.spot).peekable();
            let follows_another = same_place.peek().is_some();
            if same_place.any(|before| before.key == edit.key) {
                return Err(Overlap);
            }
            let range = edit.spot.range();
            out.extend_from_slice(body.get(done..range.start).ok_or(Overlap)?);
            if let Spot::Add { empty, .. } = edit.spot {
                if !empty || follows_another {
                    out.push(b',');
                }
                write_key(edit.key, &mut out);
                out.push(b':');
            }
            out.extend_from_slice(self.values.get(edit.value.clone()).unwrap_or_default());
            done = range.end;
        }
        out.extend_from_slice(body.get(done..).ok_or(Overlap)?);
        Ok(out)
    }
}

fn write_key(key: &str, out: &mut Vec<u8>) {
    if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        out.push(b'"');
        out.extend_from_slice(key.as_bytes());
        out.push(b'"');
    } else {
        // Writing to a Vec does not fail.
        _ = serde_json::to_writer(out, key);
    }
}

impl Spot {
    fn start(&self) -> usize {
        self.range().start
    }

    fn range(&self) -> Range<usize> {
        match self {
            Spot::Replace(range) => range.clone(),
            Spot::Add { at, .. } => *at..*at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Field, Format, Pointer},
        lead::{Grade, ModelId, Score, Trend},
    };

    fn apply(body: &str, edits: &[(Spot, &str)]) -> Result<String, Overlap> {
        let model = ModelId { model: "lead".into(), version: "3".into(), digest: "00".into() };
        let given = Given {
            score: Score::new(0.73).unwrap(),
            grade: Grade::A,
            model: &model,
            reasons: &[],
            trend: None,
        };
        let target = |key: &&str| BodyTarget {
            at: Pointer { steps: vec![Step::Key((*key).into())] },
            value: Field::Points,
            format: Format::default(),
        };
        let targets: Vec<BodyTarget> = edits.iter().map(|(_, key)| target(key)).collect();
        let mut all = Edits::default();
        for ((spot, _), target) in edits.iter().zip(&targets) {
            all.push(spot.clone(), target, given);
        }
        all.apply(body.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn members_are_added_before_the_brace_and_values_replaced_in_place() {
        let add = |at, empty| Spot::Add { at, empty };
        assert_eq!(apply("{}", &[(add(1, true), "s")]).unwrap(), r#"{"s":73}"#);
        assert_eq!(apply(r#"{"a":1.00 }"#, &[(add(10, false), "s")]).unwrap(), r#"{"a":1.00 ,"s":73}"#);
        assert_eq!(apply("{}", &[(add(1, true), "s"), (add(1, true), "t")]).unwrap(), r#"{"s":73,"t":73}"#);
        assert_eq!(apply(r#"{"s":"x","t":1}"#, &[(Spot::Replace(5..8), "s")]).unwrap(), r#"{"s":73,"t":1}"#);
        assert_eq!(apply("{}", &[(add(1, true), "a\"b")]).unwrap(), r#"{"a\"b":73}"#);
    }

    #[test]
    fn nothing_is_written_of_a_trend_that_is_not_known() {
        let model = ModelId { model: "lead".into(), version: "3".into(), digest: "00".into() };
        let score = Score::new(0.73).unwrap();
        let given = Given { score, grade: Grade::A, model: &model, reasons: &[], trend: None };
        let at = Pointer::parse("/t").unwrap();
        let target = BodyTarget { at, value: Field::Trend, format: Format::default() };
        let mut edits = Edits::default();
        edits.push(Spot::Replace(5..8), &target, given);
        assert!(edits.is_empty());
        edits.push(Spot::Replace(5..8), &target, Given { trend: Some(Trend::Steady), ..given });
        assert_eq!(edits.apply(br#"{"t":"x"}"#).unwrap(), br#"{"t":"steady"}"#);
    }

    #[test]
    fn edits_may_come_in_any_order_but_not_on_top_of_each_other() {
        let body = r#"[{"s":1},{"s":2}]"#;
        let edits = [(Spot::Replace(14..15), "s"), (Spot::Replace(6..7), "s")];
        assert_eq!(apply(body, &edits).unwrap(), r#"[{"s":73},{"s":73}]"#);
        assert_eq!(apply(body, &[(Spot::Replace(6..7), "s"), (Spot::Replace(6..7), "s")]), Err(Overlap));
        assert_eq!(apply(body, &[(Spot::Replace(5..9), "s"), (Spot::Replace(6..7), "s")]), Err(Overlap));
        assert_eq!(apply("{}", &[(Spot::Replace(1..9), "s")]), Err(Overlap));
        let add = || Spot::Add { at: 1, empty: true };
        assert_eq!(apply("{}", &[(add(), "s"), (add(), "t"), (add(), "s")]), Err(Overlap));
    }
}
