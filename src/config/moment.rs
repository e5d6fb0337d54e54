//! Moments as people give them to a command: how long ago, a day, or a time.

use std::{str::FromStr, time::Duration};

use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long before now.
    Ago(Duration),
    /// In milliseconds since 1970.
    At(i64),
}

impl Moment {
    /// In milliseconds since 1970.
    pub fn ms(self, now_ms: i64) -> i64 {
        match self {
            Moment::At(ms) => ms,
            Moment::Ago(ago) => now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

/// `30d`, a day in UTC, which is its beginning, or RFC 3339.
impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(ago) = super::time(text) {
            return Ok(Moment::Ago(ago));
        }
        let format = format_description!("[year]-[month]-[day]");
        let day = || Some(Date::parse(text, format).ok()?.midnight().assume_utc());
        let time = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(day);
        let ms = time.and_then(|time| i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
        ms.map(Moment::At).ok_or("expected 30d, 12h, 2026-11-22 or 2026-11-22T08:03:00Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_ages() {
        const NOW: i64 = 1_000_000_000_000;
        for (text, expected) in [
            ("30d", Some(NOW - 30 * 86_400_000)),
            ("36h", Some(NOW - 36 * 3_600_000)),
            ("1970-01-02", Some(86_400_000)),
            ("1970-01-02T00:00:01Z", Some(86_401_000)),
            ("1970-01-02T00:00:01.250Z", Some(86_401_250)),
            ("1970-01-02T01:00:01.5+01:00", Some(86_401_500)),
            ("18446744073709551615s", Some(i64::MIN + NOW + 1)),
            ("30", None),
            ("1970-13-02", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Moment>().ok().map(|moment| moment.ms(NOW)), expected, "{text}");
        }
    }
}
