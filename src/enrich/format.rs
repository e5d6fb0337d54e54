//! How a value is written.

use std::io::Write;

use super::reasons;
use crate::{
    config::{Field, Format, WriteAs},
    lead::{Grade, ModelId, Reason, Score, Trend},
};

/// What a lead was given, as far as it can be written somewhere.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The probability.
    pub score: Score,
    /// The band.
    pub grade: Grade,
    /// The version that answered.
    pub model: &'a ModelId,
    /// Why, the strongest first. Empty where nothing asks for them.
    pub reasons: &'a [Reason],
    /// Against its previous score; `None` where there is none.
    pub trend: Option<Trend>,
}

impl Given<'_> {
    /// Whether there is something to write for `field`.
    pub(super) fn has(&self, field: Field) -> bool {
        field != Field::Trend || self.trend.is_some()
    }

    /// Appends `field` as JSON.
    pub(super) fn write_json(&self, field: Field, format: &Format, out: &mut Vec<u8>) {
        let probability = f64::from(self.score.probability());
        let (value, decimals) = match field {
            Field::Score => (probability, format.decimals),
            // Unless digits are asked for, points are whole.
            Field::Points => (probability * 100.0, format.decimals.or(Some(0))),
            Field::Grade => return write_text(self.grade.as_str(), out),
            Field::Model => return write_text(&self.model.to_string(), out),
            Field::Reasons => return write_text(&reasons::text(self.reasons), out),
            Field::Trend => return write_text(self.trend.map_or("", Trend::as_str), out),
        };
        match format.write_as {
            WriteAs::Number => write_number(value, format, decimals, out),
            WriteAs::Integer => write_number(value, format, Some(0), out),
            WriteAs::Text => {
                out.push(b'"');
                write_number(value, format, decimals, out);
                out.push(b'"');
            }
        }
    }
}

/// Clamped, scaled and rounded, in the shortest form.
fn write_number(value: f64, format: &Format, decimals: Option<u8>, out: &mut Vec<u8>) {
    let clamped = format.clamp.map_or(value, |(least, greatest)| value.clamp(least, greatest));
    let scaled = clamped * format.scale.unwrap_or(1.0);
    let start = out.len();
    // Writing to a Vec does not fail.
    match decimals {
        // The score is an f32; printed as f64 it would drag along digits that nobody computed.
        None => _ = write!(out, "{}", scaled as f32),
        // What `{:.0}` writes, which takes thrice as long.
        Some(0) if scaled.abs() < 1e15 => match scaled.round_ties_even() as i64 {
            // Points, nearly always.
            digit @ 0..10 => out.push(b'0' + digit as u8),
            digits @ 10..100 => out.extend([b'0' + (digits / 10) as u8, b'0' + (digits % 10) as u8]),
            number => _ = write!(out, "{number}"),
        },
        Some(decimals) => {
            _ = write!(out, "{scaled:.*}", usize::from(decimals));
            while decimals > 0 && out.pop_if(|last| *last == b'0').is_some() {}
            out.pop_if(|last| *last == b'.');
        }
    }
    if out.get(start..) == Some(b"-0") {
        out.remove(start);
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing a str to a Vec fails neither in serde_json nor in Vec.
    _ = serde_json::to_writer(out.by_ref(), text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(probability: f32, field: Field, format: &Format, expected: &str) {
        let model = ModelId { model: "lead".into(), version: "3".into(), digest: "00".into() };
        let given = Given {
            score: Score::new(probability).unwrap(),
            grade: Grade::B,
            model: &model,
            reasons: &[],
            trend: Some(Trend::Improving),
        };
        let mut out = Vec::new();
        given.write_json(field, format, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{field:?} {format:?}");
    }

    #[test]
    fn whole_numbers_are_rounded_as_the_formatter_rounds_them() {
        let format = Format { scale: Some(-8.0), ..Format::default() };
        for eighths in [-81, -20, -13, -12, -11, -4, -1, 0, 1, 3, 4, 5, 12, 20, 100, 801] {
            let mut out = Vec::new();
            write_number(f64::from(eighths) / 64.0, &format, Some(0), &mut out);
            let expected = format!("{:.0}", f64::from(-eighths) / 8.0);
            let expected = if expected == "-0" { "0" } else { &expected };
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn values_are_written_as_the_crm_takes_them() {
        let plain = Format::default;
        check(0.731_234_56, Field::Score, &plain(), "0.73123455");
        check(0.731_234_56, Field::Points, &plain(), "73");
        check(0.731_234_56, Field::Grade, &plain(), "\"B\"");
        check(0.731_234_56, Field::Model, &plain(), "\"lead/3\"");
        check(0.731_234_56, Field::Trend, &plain(), "\"improving\"");
        check(0.731_25, Field::Score, &Format { decimals: Some(4), ..plain() }, "0.7312");
        check(0.5, Field::Score, &Format { decimals: Some(4), ..plain() }, "0.5");
        check(0.0, Field::Score, &Format { scale: Some(-1.0), decimals: Some(2), ..plain() }, "0");
        check(
            0.417,
            Field::Score,
            &Format { scale: Some(100.0), write_as: WriteAs::Integer, ..plain() },
            "42",
        );
        check(
            0.417,
            Field::Points,
            &Format { decimals: Some(1), write_as: WriteAs::Text, ..plain() },
            "\"41.7\"",
        );
        check(0.999, Field::Score, &Format { clamp: Some((0.05, 0.95)), ..plain() }, "0.95");
        check(0.00001, Field::Score, &plain(), "0.00001");
    }
}
