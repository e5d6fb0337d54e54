//! When leads came: the time column, which orders rows and says what stretch a table covers.

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{TrainError, kinds, table::Table};

/// Numbers in this range are seconds since 1970: 1990 to 2100.
const SECONDS: std::ops::Range<f64> = 631_152_000.0..4_102_444_800.0;

/// The time of each row.
#[derive(Clone, Debug)]
pub(super) struct Times {
    values: Vec<f64>,
    /// Milliseconds since 1970; else numbers that only give an order.
    dates: bool,
}

impl Times {
    /// Milliseconds since 1970.
    pub(super) fn of_millis(values: Vec<f64>) -> Self {
        Self { values, dates: true }
    }

    /// Reads a column. All of it must be dates, or all numbers; every row has one.
    pub(super) fn read(table: &Table, name: &str) -> Result<Self, TrainError> {
        let column = table.column(name)?;
        let read = |of: fn(&str) -> Option<f64>| -> Result<Vec<f64>, usize> {
            (0..table.rows()).map(|row| column.word(row).and_then(of).ok_or(row)).collect()
        };
        let bad = match read(kinds::number) {
            Ok(numbers) => return Ok(Self::of_numbers(numbers)),
            Err(row) => row,
        };
        // Which of the two was meant is told by the first row.
        read(moment).map(Self::of_millis).map_err(|row| {
            let row = if column.word(0).and_then(kinds::number).is_some() { bad } else { row };
            table.refuse(
                row,
                name,
                "no time such as 2026-11-02, 2026-11-02T10:20:30Z or a number, as each row has",
            )
        })
    }

    /// Seconds or milliseconds since 1970 are dates; all else, such as a running number, is only an order.
    fn of_numbers(values: Vec<f64>) -> Self {
        let all = |factor: f64| !values.is_empty() && values.iter().all(|x| SECONDS.contains(&(x / factor)));
        match () {
            () if all(1.0) => Self::of_millis(values.iter().map(|seconds| seconds * 1000.0).collect()),
            () if all(1000.0) => Self::of_millis(values),
            () => Self { values, dates: false },
        }
    }

    /// A row's; rows are ordered by it.
    pub(super) fn value(&self, row: usize) -> f64 {
        self.values.get(row).copied().unwrap_or_default()
    }

    /// The times of some rows, in their order.
    pub(super) fn of(&self, rows: &[usize]) -> Self {
        Self { values: rows.iter().map(|row| self.value(*row)).collect(), dates: self.dates }
    }

    /// Rows after a time that was told, as [`Times::range`] tells it; `None` where that is no time of the same kind.
    pub(super) fn after(&self, told: &str) -> Option<Vec<usize>> {
        // A date was told to the second.
        let end = if self.dates { moment(told)? + 1000.0 } else { kinds::number(told)?.next_up() };
        let rows = self.values.iter().enumerate().filter(|(_, value)| **value >= end);
        Some(rows.map(|(row, _)| row).collect())
    }

    /// The first and the last.
    pub(super) fn range(&self) -> Option<(String, String)> {
        let least = self.values.iter().copied().min_by(f64::total_cmp)?;
        let most = self.values.iter().copied().max_by(f64::total_cmp)?;
        Some((self.text(least), self.text(most)))
    }

    /// The last of some rows.
    pub(super) fn last(&self, rows: &[usize]) -> Option<f64> {
        rows.iter().map(|row| self.value(*row)).max_by(f64::total_cmp)
    }

    /// As it is written into reports and manifests.
    pub(super) fn text(&self, value: f64) -> String {
        if self.dates { told(value as i64) } else { value.to_string() }
    }
}

/// Milliseconds since 1970 as people write them: `2026-11-02T10:20:30Z`, to the second.
pub(super) fn told(millis: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(millis.div_euclid(1000));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| millis.to_string())
}

/// Milliseconds since 1970 of a day or of RFC 3339, with a space for the `T`; without an offset it is read as UTC, which
/// keeps the order of times of one clock.
pub(super) fn moment(text: &str) -> Option<f64> {
    let (day, rest) = text.split_at_checked(10)?;
    if !day.bytes().enumerate().all(|(i, b)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() })
    {
        return None;
    }
    let rest = if rest.is_empty() { "00:00:00" } else { rest.strip_prefix(['T', 't', ' '])? };
    let parse = |zone: &str| OffsetDateTime::parse(&format!("{day}T{rest}{zone}"), &Rfc3339).ok();
    let time = parse("").or_else(|| parse("Z")).or_else(|| parse(":00Z"))?;
    let since = time - OffsetDateTime::UNIX_EPOCH;
    Some(since.whole_milliseconds() as f64).filter(|_| since.abs() < Duration::days(365 * 10_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_after_a_time_are_told_by_what_was_written_of_it() {
        let check = |times: Times, told: &str, expected: Option<&[usize]>| {
            assert_eq!(times.after(told).as_deref(), expected, "{told}");
        };
        let days = Times::of_millis(vec![1_793_577_600_000.0, 1_793_577_600_999.0, 1_793_577_601_000.0]);
        check(days.clone(), "2026-11-02T00:00:00Z", Some(&[2]));
        check(days.of(&[2, 0]), "2026-11-01T00:00:00Z", Some(&[0, 1]));
        check(days.clone(), "2027-01-01T00:00:00Z", Some(&[]));
        let order = Times::of_numbers(vec![3.0, 7.5, 8.0]);
        check(order.clone(), &order.of(&[1]).range().unwrap().1, Some(&[2]));
        // A running number says nothing of a date.
        check(order, "2026-11-02T00:00:00Z", None);
        check(days, "41185", None);
    }

    #[test]
    fn moments_are_days_and_times_and_nothing_else() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(moment(text).map(|ms| told(ms as i64)).as_deref(), expected, "{text}");
        };
        check("2026-11-02", Some("2026-11-02T00:00:00Z"));
        check("2026-11-02T10:20:30Z", Some("2026-11-02T10:20:30Z"));
        check("2026-11-02T10:20:30.999+02:00", Some("2026-11-02T08:20:30Z"));
        check("2026-11-02 10:20:30", Some("2026-11-02T10:20:30Z"));
        check("2026-11-02 10:20", Some("2026-11-02T10:20:00Z"));
        for text in
            ["2026-02-29", "2026-11-2", "02.11.2026", "20261102", "2026-11-02x", "2026-11-0é", "", "may"]
        {
            check(text, None);
        }
    }
}
