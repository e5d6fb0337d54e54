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

    /// Reads a column. All of it must be dates of one kind, or all numbers; every row has one.
    pub(super) fn read(table: &Table, name: &str) -> Result<Self, TrainError> {
        let column = table.column(name)?;
        let read = |of: &dyn Fn(&str) -> Option<f64>| -> Result<Vec<f64>, usize> {
            (0..table.rows()).map(|row| column.word(row).and_then(of).ok_or(row)).collect()
        };
        let bad = match read(&kinds::number) {
            Ok(numbers) => return Ok(Self::of_numbers(numbers)),
            Err(row) => row,
        };
        let [year, day, month] = ORDERS.map(|order| read(&move |text| moment_in(text, order)));
        match (year, day, month) {
            (Ok(times), ..) | (_, Ok(times), Err(_)) | (_, Err(_), Ok(times)) => Ok(Self::of_millis(times)),
            (_, Ok(_), Ok(_)) => {
                Err(table.refuse(0, name, "the day or the month may come first; write 2026-11-02"))
            }
            // Which was meant is told by the first row.
            (Err(year), Err(day), Err(month)) => {
                let row = if column.word(0).and_then(kinds::number).is_some() {
                    bad
                } else {
                    year.max(day).max(month)
                };
                Err(table.refuse(row, name, NO_TIME))
            }
        }
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

/// Of a row whose time cannot be read.
const NO_TIME: &str = "no time such as 2026-11-02, 2026-11-02T10:20:30Z or a number, as each row has";

/// What comes first in a date. Only the year's is sure; the others are told by a whole column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Year,
    Day,
    Month,
}

const ORDERS: [Order; 3] = [Order::Year, Order::Day, Order::Month];

/// Whether it is a date, in whatever order.
pub(super) fn is_moment(text: &str) -> bool {
    ORDERS.iter().any(|order| moment_in(text, *order).is_some())
}

/// `20261102`, of this century or the last years of the one before.
pub(super) fn is_compact_day(text: &str) -> bool {
    let parts = || Some((text.get(..4)?, text.get(4..6)?, text.get(6..)?));
    let is_day = |(year, month, day): (&str, &str, &str)| {
        ("1990".."2100").contains(&year) && moment(&format!("{year}-{month}-{day}")).is_some()
    };
    text.len() == 8 && parts().is_some_and(is_day)
}

/// Milliseconds since 1970 of `2026-11-02`, `2026/11/2`, `2.11.2026` or `11/2/2026`, with or without a time of day.
fn moment_in(text: &str, order: Order) -> Option<f64> {
    if order == Order::Year
        && let Some(moment) = moment(text)
    {
        return Some(moment);
    }
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let separator = date.chars().find(|c| !c.is_ascii_digit()).filter(|c| "-/.".contains(*c))?;
    let mut parts = date.split(separator);
    let parts = [parts.next()?, parts.next()?, parts.next().filter(|_| parts.next().is_none())?];
    let [year, month, day] = match (order, parts) {
        (Order::Year, [year, month, day]) | (Order::Day, [day, month, year]) => [year, month, day],
        (Order::Month, [month, day, year]) => [year, month, day],
    };
    // Nobody writes a month first before points.
    let is_odd = order == Order::Month && separator == '.';
    let short = |part: &str| (1..=2).contains(&part.len());
    let fits = !is_odd && year.len() == 4 && short(month) && short(day);
    let date = format!("{year}-{month:0>2}-{day:0>2}");
    if fits { moment(&format!("{date}{}", clock(time)?)) } else { None }
}

/// ` 21:05:00` of `9:05 PM`; nothing of nothing.
fn clock(time: &str) -> Option<String> {
    if time.is_empty() {
        return Some(String::new());
    }
    let upper = time.to_ascii_uppercase();
    let (digits, later) = match (upper.strip_suffix("AM"), upper.strip_suffix("PM")) {
        (Some(digits), _) => (digits.trim_end(), Some(0)),
        (_, Some(digits)) => (digits.trim_end(), Some(12)),
        _ => (upper.as_str(), None),
    };
    let (hour, rest) = digits.split_once(':')?;
    let hour: u32 = hour.parse().ok()?;
    let hour = match later {
        None => hour,
        Some(later) => (1..=12).contains(&hour).then_some(hour % 12 + later)?,
    };
    Some(format!(" {hour:02}:{rest}"))
}

/// Milliseconds since 1970 of a day or of RFC 3339, with a space for the `T`; without an offset it is read as UTC, which
/// keeps the order of times of one clock.
fn moment(text: &str) -> Option<f64> {
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

    #[test]
    fn dates_of_other_orders_are_told_by_their_column() {
        let check = |cells: &[&str], expected: Result<[&str; 2], &str>| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("a");
            std::fs::write(&file, format!("at\n{}\n", cells.join("\n"))).unwrap();
            let table = Table::read(std::slice::from_ref(&file)).unwrap();
            match (Times::read(&table, "at"), expected) {
                (Ok(times), Ok([first, last])) => {
                    assert_eq!(times.range(), Some((first.into(), last.into())), "{cells:?}");
                }
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (other, _) => panic!("{cells:?}: {other:?}"),
            }
        };
        check(&["2.11.2026", "31.10.2026 9:05"], Ok(["2026-10-31T09:05:00Z", "2026-11-02T00:00:00Z"]));
        check(
            &["11/2/2026 12:30 AM", "10/31/2026 1:05 pm"],
            Ok(["2026-10-31T13:05:00Z", "2026-11-02T00:30:00Z"]),
        );
        check(&["2/11/2026", "31/10/2026"], Ok(["2026-10-31T00:00:00Z", "2026-11-02T00:00:00Z"]));
        check(&["2026/11/2", "2026-10-31"], Ok(["2026-10-31T00:00:00Z", "2026-11-02T00:00:00Z"]));
        // Of two days below the thirteenth nobody knows; before points the day comes first.
        check(&["2/11/2026", "3/11/2026"], Err("line 2, column `at`: the day or the month may come first"));
        check(&["2.11.2026", "3.11.2026"], Ok(["2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"]));
        for wrong in ["13/13/2026", "1/2/26", "1/2/3/2026", "1-2/2026", "1/2/2026 13:00 PM", "1/2/2026 noon"]
        {
            check(&["31/10/2026", wrong], Err("line 3, column `at`: no time such as"));
        }
    }

    #[test]
    fn a_day_may_be_eight_digits() {
        for (text, expected) in [
            ("20261102", true),
            ("20261302", false),
            ("19891102", false),
            ("2026110", false),
            ("2026é02", false),
        ] {
            assert_eq!(is_compact_day(text), expected, "{text}");
        }
    }
}
