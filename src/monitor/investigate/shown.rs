//! What a person is shown of times, numbers and values. Whatever stood in a lead's fields stays one line of plain text.

use serde_json::Value as Json;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description};

use super::super::rescore::Row;
use crate::lead::Value;

/// Characters of a text that are shown.
const MOST: usize = 60;

/// A value as JSON; missing is null. Texts are cut.
pub(super) fn json(value: &Value<'_>) -> Json {
    match value {
        Value::Missing | Value::Cleared => Json::Null,
        Value::Number(number) => (*number).into(),
        Value::Boolean(yes) => (*yes).into(),
        Value::Text(text) => line(text).into(),
    }
}

/// What stands for a value that the log may not keep.
const WITHHELD: &str = "(not kept)";

/// A row's values, in the order of the version's schema.
pub(super) fn row(row: &Row<'_>) -> Vec<Json> {
    let values = row.values.iter().enumerate();
    values.map(|(i, value)| if row.withheld.contains(&i) { WITHHELD.into() } else { json(value) }).collect()
}

/// A value as people read it.
pub(super) fn words(value: &Json) -> String {
    match value {
        Json::Null => "missing".into(),
        Json::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Json::Number(number) => number.as_f64().map(|number| number.to_string()).unwrap_or_default(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text without characters that move a cursor or turn a line round, and not too long.
pub(super) fn line(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown: String =
        text.chars().take(MOST).map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// `2026-11-22 14:02:05 UTC`
pub(super) fn time(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    moment(ms).and_then(|at| at.format(&format).ok()).unwrap_or_else(|| format!("{ms} ms"))
}

/// `2026-11-22`
pub(super) fn day(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]");
    moment(ms).and_then(|at| at.format(&format).ok()).unwrap_or_else(|| format!("{ms} ms"))
}

/// `2026-11-22T14:02:05.125Z`, for scripts.
pub(super) fn rfc3339(ms: i64) -> String {
    moment(ms).and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

fn moment(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

/// Milliseconds since 1970 of `2026-11-22T14:02:05Z`, of the end of `2026-11-22`, or of a whole number of them.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let refused =
        || format!("{:?} is no time: give 2026-11-22, 2026-11-22T14:02:05Z or milliseconds", line(text));
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    let ms = |at: OffsetDateTime| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).map_err(|_| refused());
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return ms(at);
    }
    let day = time::Date::parse(text, format_description!("[year]-[month]-[day]")).map_err(|_| refused())?;
    Ok(ms(day.midnight().assume_offset(UtcOffset::UTC))? + 86_400_000 - 1)
}

/// `+1.5`, `-15.1`, `0.0`
pub(super) fn signed(points: f64) -> String {
    if points == 0.0 { "0.0".into() } else { format!("{points:+.1}") }
}

/// `3.6%`
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse_time(text).ok(), expected, "{text}");
        check("1970-01-01T00:00:01Z", Some(1000));
        check("1970-01-01T01:00:01.5+01:00", Some(1500));
        check("1970-01-01", Some(86_399_999));
        check("1234", Some(1234));
        for text in
            ["", "yesterday", "1970-13-01", "1970-01-01T25:00:00Z", "\u{1b}[2J", "99999999999999999999"]
        {
            check(text, None);
        }
        assert_eq!(time(1_795_356_125_125), "2026-11-22 14:02:05 UTC");
        assert_eq!(rfc3339(1_795_356_125_125), "2026-11-22T14:02:05.125Z");
        assert_eq!((day(0).as_str(), time(i64::MAX).as_str()), ("1970-01-01", "9223372036854775807 ms"));
    }

    #[test]
    fn values_stay_one_line() {
        let check = |value: Value<'_>, expected: &str| assert_eq!(words(&json(&value)), expected);
        check(Value::Missing, "missing");
        check(Value::Cleared, "missing");
        check(Value::Number(12_000.0), "12000");
        check(Value::Boolean(true), "yes");
        check(Value::Text("\u{1b}[31mred\n\u{202e}x".into()), "\u{fffd}[31mred\u{fffd}\u{fffd}x");
        check(Value::Text("é".repeat(100).into()), &format!("{}…", "é".repeat(60)));
    }
}
