//! Times as CRMs write them.

/// Milliseconds since 1970 of `2026-11-02T10:20:30.123Z`, of a day alone (its midnight in UTC), or of the milliseconds
/// themselves. RFC 3339, with the two liberties that CRMs take: a space for the `T`, and offsets without a colon. A time
/// without an offset is not told from another zone's, so it is none.
pub fn millis(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(millis) = text.parse() {
        return Some(millis);
    }
    let (date, rest) = text.split_at_checked(10)?;
    let days = days(date)?;
    if rest.is_empty() {
        return Some(days * 86_400_000);
    }
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [hour, minute, second] = numbers(time, ':')?;
    // A leap second is told as the next one.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    Some(seconds * 1000 + fraction)
}

/// Days from 1970 to `2026-11-02`, by H. Hinnant's `days_from_civil`.
fn days(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, '-')?;
    if year < 1 || !(1..=12).contains(&month) || !(1..=last_day(year, month)).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn last_day(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Three numbers of digits only, each as long as its place in a date or a time is.
fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let first_length = if between == '-' { 4 } else { 2 };
    let numbers =
        [digits(parts.next()?, first_length)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?];
    parts.next().is_none().then_some(numbers)
}

fn digits(text: &str, length: usize) -> Option<i64> {
    let all = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

/// Milliseconds of `.1234`, and what follows.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at_checked(end)?;
    let three: String = fraction.chars().chain("000".chars()).take(3).collect();
    if fraction.is_empty() { None } else { Some((three.parse().ok()?, zone)) }
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, zone.strip_prefix('-')?),
    };
    let (hours, minutes) = rest.split_at_checked(2)?;
    let minutes = minutes.strip_prefix(':').unwrap_or(minutes);
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_crms_write() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:34:56Z", Some(951_827_696_000)),
            ("2026-11-02T10:20:30.123Z", Some(1_793_614_830_123)),
            ("2026-11-02T10:20:30.1Z", Some(1_793_614_830_100)),
            ("2026-11-02t10:20:30.1239999z", Some(1_793_614_830_123)),
            ("2026-11-02T12:20:30+02:00", Some(1_793_614_830_000)),
            ("2026-11-02T05:20:30-0500", Some(1_793_614_830_000)),
            ("2026-11-02 10:20:30Z", Some(1_793_614_830_000)),
            ("2026-11-02", Some(1_793_577_600_000)),
            ("1969-12-31T23:59:59Z", Some(-1_000)),
            (" 1793614830000 ", Some(1_793_614_830_000)),
            ("2026-11-02T10:20:30", None),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-00-10", None),
            ("2026-11-02T24:00:00Z", None),
            ("2026-11-02T10:20:30.Z", None),
            ("2026-11-02T10:20:30+2", None),
            ("2026-11-02T10:20Z", None),
            ("26-11-02", None),
            ("2026-1-002", None),
            ("yesterday", None),
            ("", None),
            ("12.5", None),
            ("2026-11-0é", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }
}
