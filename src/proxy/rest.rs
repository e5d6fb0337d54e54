//! Whether a route's scores go into requests: after the CRM refused them, that rests for a while.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::config::Limits;

/// One route's injection into requests. Times are milliseconds since the snapshot was made. Workers share it without a
/// lock: two refusals at once may count as one, and the next one counts again.
#[derive(Debug, Default)]
pub(super) struct Rest {
    until: AtomicU64,
    /// Refusals in a row.
    refusals: AtomicU32,
    /// Rests in a row, without an injection between them that was taken.
    rests: AtomicU32,
}

/// Each rest in a row is twice as long as the one before, up to this many doublings: ten minutes become almost two days.
const MAX_DOUBLINGS: u32 = 8;

impl Rest {
    pub(super) fn is_on(&self, now: u64) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until > 0 && until > now
    }

    /// The CRM refused what was written. Whether it rests now: after `limits.refusals` in a row.
    pub(super) fn refused(&self, now: u64, limits: &Limits) -> bool {
        if self.refusals.fetch_add(1, Ordering::Relaxed) + 1 < limits.refusals {
            return false;
        }
        self.refusals.store(0, Ordering::Relaxed);
        let doublings = self.rests.fetch_add(1, Ordering::Relaxed).min(MAX_DOUBLINGS);
        let pause = u64::try_from(limits.pause.as_millis()).unwrap_or(u64::MAX);
        self.until.store(now.saturating_add(pause.saturating_mul(1 << doublings)), Ordering::Relaxed);
        true
    }

    /// The CRM took what was written, so refusals are counted from the start.
    pub(super) fn taken(&self) {
        for count in [&self.refusals, &self.rests] {
            // Mostly there is nothing to write, and what is not written stays in every worker's cache.
            if count.load(Ordering::Relaxed) > 0 {
                count.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Goes on from `before`, when that one's time is `then` and this one's `now`.
    pub(super) fn inherit(&self, now: u64, before: &Rest, then: u64) {
        let left = before.until.load(Ordering::Relaxed).saturating_sub(then);
        if left > 0 {
            self.until.store(now + left, Ordering::Relaxed);
        }
        self.refusals.store(before.refusals.load(Ordering::Relaxed), Ordering::Relaxed);
        self.rests.store(before.rests.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn limits(limits: &str) -> Limits {
        let text = format!("upstream: http://crm\nlimits: {limits}");
        Config::parse(&text, &|_| None).unwrap().limits
    }

    #[test]
    fn it_rests_after_so_many_refusals_in_a_row() {
        let (limits, rest) = (limits("{refusals: 2, pause: 10s}"), Rest::default());
        assert!(!rest.refused(0, &limits) && !rest.is_on(0));
        rest.taken();
        assert!(!rest.refused(1, &limits), "one in a row");
        assert!(rest.refused(2, &limits));
        assert!(rest.is_on(10_001) && !rest.is_on(10_002));
    }

    #[test]
    fn it_rests_longer_each_time_until_something_is_taken() {
        let (limits, rest) = (limits("{pause: 1s}"), Rest::default());
        let mut now = 0;
        let mut lasts = |rest: &Rest| {
            assert!(rest.refused(now, &limits));
            let started = now;
            while rest.is_on(now) {
                now += 1_000;
            }
            (now - started) / 1_000
        };
        assert_eq!([lasts(&rest), lasts(&rest), lasts(&rest)], [1, 2, 4]);
        rest.taken();
        assert_eq!(lasts(&rest), 1);
        assert_eq!((0..12).map(|_| lasts(&rest)).max(), Some(256));
    }

    #[test]
    fn a_swap_neither_wakes_it_nor_forgets_how_often_it_rested() {
        let (limits, before, after) = (limits("{pause: 1s}"), Rest::default(), Rest::default());
        before.refused(5_000, &limits);
        after.inherit(100, &before, 5_400);
        assert!(after.is_on(699) && !after.is_on(700));
        after.refused(700, &limits);
        assert!(after.is_on(2_699) && !after.is_on(2_700), "twice as long");
    }
}
