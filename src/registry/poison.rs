//! Poison: a version that panics again and again is taken out of service.
//!
//! Each panic costs the request it happens in its score, and is caught; but a version that panics three times within a
//! minute has a defect that its golden samples do not show, and every further try costs time and a log line. It stays out
//! until it is loaded anew. No lock: a worker that scores pays one load.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// Three panics within so many milliseconds are too many. One that panics more rarely costs no more than those requests.
const WINDOW: i64 = 60_000;

/// What is known of a version's panics. All that serve it share this.
#[derive(Debug)]
pub struct Poison {
    /// When it panicked last, and the time before that, in milliseconds since 1970.
    last: AtomicI64,
    before: AtomicI64,
    out: AtomicBool,
}

impl Default for Poison {
    fn default() -> Self {
        let never = || AtomicI64::new(i64::MIN);
        Self { last: never(), before: never(), out: AtomicBool::new(false) }
    }
}

impl Poison {
    /// Whether the version is out of service.
    pub fn is_out(&self) -> bool {
        self.out.load(Relaxed)
    }

    /// Counts a panic at `now`, in milliseconds since 1970. Whether it is the one that takes the version out of service.
    pub fn panicked(&self, now: i64) -> bool {
        let before = self.before.swap(self.last.swap(now, Relaxed), Relaxed);
        now.saturating_sub(before) <= WINDOW && !self.out.swap(true, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(panics: &[i64], told: &[bool]) {
        let poison = Poison::default();
        let said: Vec<bool> = panics.iter().map(|now| poison.panicked(*now)).collect();
        assert_eq!(said, told, "{panics:?}");
        assert_eq!(poison.is_out(), told.contains(&true), "{panics:?}");
    }

    #[test]
    fn three_panics_within_a_minute_are_too_many() {
        check(&[], &[]);
        check(&[0, 1], &[false, false]);
        check(&[0, 1, 2], &[false, false, true]);
        check(&[0, 30_000, 60_000, 60_001], &[false, false, true, false]);
        check(&[0, 30_000, 60_001, 90_001, 90_002], &[false, false, false, false, true]);
        check(&[0, 60_001, 120_002, 180_003], &[false; 4]);
        // A clock that goes back says nothing against it.
        check(&[100, 50, 0], &[false, false, true]);
    }
}
