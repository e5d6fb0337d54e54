//! When an address is left out: after a row of failures, for a while that grows. Pure; the time is told in ticks.

use std::time::Duration;

use crate::proxy::expiry::Expiry;

/// So many failures in a row are no accident.
pub(super) const FAILURES: u32 = 5;

/// How long an address is left out for the first time; twice as long the second time, and so on.
const REST: Duration = Duration::from_secs(30);

/// The longest it is left out. One that serves for as long has made up for its past.
const LONGEST: Duration = Duration::from_secs(300);

/// How an address has been doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Failures since the last success.
    failures: u32,
    /// How often it was left out, lately.
    times: u32,
    standing: Standing,
}

/// Whether an address gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It does, since this tick.
    In(u64),
    /// It is left out until this tick.
    Out(u64),
    /// The name does not stand for it any more.
    Gone,
}

impl Default for Standing {
    fn default() -> Self {
        Standing::In(0)
    }
}

impl Health {
    /// Whether it gets requests.
    pub(super) fn is_in(self) -> bool {
        matches!(self.standing, Standing::In(_))
    }

    /// Whether it is left out for its failures.
    pub(super) fn is_out(self) -> bool {
        matches!(self.standing, Standing::Out(_))
    }

    /// It answered.
    pub(super) fn succeeded(self) -> Self {
        Self { failures: 0, ..self }
    }

    /// It did not.
    pub(super) fn failed(self) -> Self {
        Self { failures: self.failures.saturating_add(1), ..self }
    }

    /// Whether it is better left out.
    pub(super) fn is_failing(self) -> bool {
        self.is_in() && self.failures >= FAILURES
    }

    /// Leaves it out from now on; and for how long.
    pub(super) fn eject(self, now: u64) -> (Self, Duration) {
        let since = if let Standing::In(since) = self.standing { since } else { now };
        let has_made_up = now.saturating_sub(since) >= Expiry::ticks(LONGEST);
        let times = if has_made_up { 1 } else { self.times.saturating_add(1) };
        let rest = REST.saturating_mul(times).min(LONGEST);
        (Self { failures: 0, times, standing: Standing::Out(now + Expiry::ticks(rest)) }, rest)
    }

    /// In again, where its time is over.
    pub(super) fn back(self, now: u64) -> Option<Self> {
        match self.standing {
            Standing::Out(until) if now >= until => Some(Self { standing: Standing::In(now), ..self }),
            _ => None,
        }
    }

    /// The name does not stand for it any more.
    pub(super) fn gone(self) -> Self {
        Self { standing: Standing::Gone, ..self }
    }
}

/// Whether one more of so many addresses may be left out: never more than half, so never the only one.
pub(super) fn may_eject(all: usize, out: usize) -> bool {
    (out + 1) * 2 <= all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each letter is what happens: a failure, a success, or nothing for a minute. What is left out comes back when its
    /// time is over, and how long that is stands where it happens.
    fn check(story: &str, expected: &str) {
        let (mut health, mut now, mut told) = (Health::default(), 0, Vec::new());
        for event in story.chars() {
            match event {
                'f' => health = health.failed(),
                's' => health = health.succeeded(),
                'm' => now += 600,
                other => panic!("{other}"),
            }
            if let Some(back) = health.back(now) {
                health = back;
                told.push("in".to_owned());
            }
            if health.is_failing() {
                let (out, rest) = health.eject(now);
                health = out;
                told.push(format!("{}s", rest.as_secs()));
            }
        }
        assert_eq!(told.join(" "), expected, "{story}");
    }

    #[test]
    fn a_row_of_failures_leaves_an_address_out_for_longer_each_time() {
        check("ffff", "");
        check("fffff", "30s");
        check("ffffsffff", "");
        check("fffffm", "30s in");
        check("fffffffffff", "30s");
        check("fffffm fffffmm fffffmm fffff".replace(' ', "").as_str(), "30s in 60s in 90s in 120s");
        let often = "fffffmmmmmm".repeat(12);
        let rests = [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300];
        check(&often, &rests.map(|rest| format!("{rest}s in")).join(" "));
        check("fffffmfffffmmmmmmmmmmfffff", "30s in 60s in 30s");
    }

    #[test]
    fn never_more_than_half_are_left_out() {
        let most = |all: usize| (0..).take_while(|out| may_eject(all, *out)).count();
        assert_eq!([0, 1, 2, 3, 4, 5, 8].map(most), [0, 0, 1, 1, 2, 2, 4]);
    }

    #[test]
    fn what_is_gone_stays_gone() {
        let health = Health::default().gone();
        assert!(!health.is_in() && !health.is_out() && health.back(u64::MAX).is_none());
        assert!(!(0..9).fold(health, |health, _| health.failed()).is_failing());
    }
}
