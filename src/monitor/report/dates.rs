//! Days as people write them. A day is a number of days since 1970, in UTC.

use time::{Date, format_description::BorrowedFormatItem, macros::format_description};

pub(super) const DAY_MS: i64 = 86_400_000;

/// The Julian day of 1970-01-01.
const EPOCH: i64 = 2_440_588;

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// `2026-11-22`; the number itself where no calendar has it.
pub(super) fn day(day: i64) -> String {
    date(day).map_or_else(
        || day.to_string(),
        |date| format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()),
    )
}

/// `2026-11`
pub(super) fn month(day: i64) -> String {
    date(day)
        .map_or_else(|| day.to_string(), |date| format!("{:04}-{:02}", date.year(), u8::from(date.month())))
}

/// `2026-W47`, the week of ISO 8601, which begins on a Monday.
pub(super) fn week(day: i64) -> String {
    let named = |date: Date| {
        let (year, week, _) = date.to_iso_week_date();
        format!("{year:04}-W{week:02}")
    };
    date(day).map_or_else(|| day.to_string(), named)
}

/// Reads `2026-11-22`.
pub(super) fn parse(text: &str) -> Option<i64> {
    let date = Date::parse(text, DATE).ok()?;
    Some(i64::from(date.to_julian_day()) - EPOCH)
}

fn date(day: i64) -> Option<Date> {
    Date::from_julian_day(i32::try_from(day.checked_add(EPOCH)?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_names() {
        let check = |number, names: [&str; 3]| {
            assert_eq!([day(number), month(number), week(number)], names);
            assert_eq!(parse(names[0]), Some(number));
        };
        check(0, ["1970-01-01", "1970-01", "1970-W01"]);
        check(20_779, ["2026-11-22", "2026-11", "2026-W47"]);
        check(20_454, ["2026-01-01", "2026-01", "2026-W01"]);
        check(-1, ["1969-12-31", "1969-12", "1970-W01"]);
        assert_eq!(day(i64::MAX), i64::MAX.to_string());
        for odd in ["", "2026-02-30", "2026-1-1", "yesterday", "2026-11-22T00:00"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
