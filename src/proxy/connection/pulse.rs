//! What a connection is at, so that the sweep sees which of them wait for too long. No timer is set for any of this: a
//! request costs a few stores, and whoever is overdue is found at the next sweep.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{config::Limits, proxy::expiry::Expiry, telemetry::Cut};

/// A connection, or one stream of HTTP/2. Only its own thread looks at it; hyper wants it to be `Send`.
#[derive(Debug)]
pub(in crate::proxy) struct Pulse {
    /// Requests whose answer has not ended.
    in_flight: AtomicU32,
    /// The tick since when it waits: for a request, or for the rest of a head.
    since: AtomicU64,
    /// Something of a head has come.
    in_head: AtomicBool,
    /// The sweep has seen that, and `since` is when.
    seen: AtomicBool,
    /// The tick when its exchange began; never for what is no single exchange.
    began: AtomicU64,
    /// A request's body is on its way.
    receiving: AtomicBool,
    /// An answer's body is.
    answering: AtomicBool,
    /// The peer takes nothing of what is written.
    blocked: AtomicBool,
    /// Bytes went since the sweep looked last.
    moved: AtomicBool,
    /// The sweep has seen that something is on its way, and `still` is since when it does not move.
    watched: AtomicBool,
    still: AtomicU64,
    cut: AtomicBool,
}

/// When no exchange has begun.
const NEVER: u64 = u64::MAX;

/// The limits of one sweep, in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    head: u64,
    idle: u64,
    stall: u64,
    total: u64,
}

impl Bounds {
    pub(super) fn of(limits: &Limits) -> Self {
        let ticks = |limit: Duration| Expiry::ticks(limit);
        Self {
            head: ticks(limits.head),
            idle: ticks(limits.idle),
            stall: ticks(limits.stall),
            total: ticks(limits.total),
        }
    }
}

impl Pulse {
    /// It waits since this tick.
    pub(in crate::proxy) fn new(now: u64) -> Self {
        Self {
            since: AtomicU64::new(now),
            began: AtomicU64::new(NEVER),
            in_flight: AtomicU32::default(),
            in_head: AtomicBool::default(),
            seen: AtomicBool::default(),
            receiving: AtomicBool::default(),
            answering: AtomicBool::default(),
            blocked: AtomicBool::default(),
            moved: AtomicBool::default(),
            watched: AtomicBool::default(),
            still: AtomicU64::default(),
            cut: AtomicBool::default(),
        }
    }

    /// Looks in every now and then; why the connection is to be cut, if it is.
    pub(super) fn overdue(&self, now: u64, bounds: &Bounds) -> Option<Cut> {
        let is_over = |since: u64, limit: u64| now.saturating_sub(since) > limit;
        let is_busy = self.in_flight.load(Relaxed) > 0;
        if self.is_cut() {
            return None;
        }
        if is_busy && is_over(self.began.load(Relaxed), bounds.total) {
            return Some(Cut::Total);
        }
        let on_its_way = self.receiving.load(Relaxed) || self.answering.load(Relaxed);
        if self.blocked.load(Relaxed) || is_busy && on_its_way {
            let first_seen = !self.watched.swap(true, Relaxed);
            if self.moved.swap(false, Relaxed) || first_seen {
                self.still.store(now, Relaxed);
            }
            return is_over(self.still.load(Relaxed), bounds.stall).then_some(Cut::Stall);
        }
        self.watched.store(false, Relaxed);
        if is_busy {
            return None;
        }
        let in_head = self.in_head.load(Relaxed);
        if in_head && !self.seen.swap(true, Relaxed) {
            self.since.store(now, Relaxed);
        }
        let (limit, reason) = if in_head { (bounds.head, Cut::Head) } else { (bounds.idle, Cut::Idle) };
        is_over(self.since.load(Relaxed), limit).then_some(reason)
    }

    /// Something came.
    pub(in crate::proxy) fn heard(&self) {
        if self.in_flight.load(Relaxed) == 0 {
            self.in_head.store(true, Relaxed);
        } else if self.receiving.load(Relaxed) {
            self.moved();
        }
    }

    /// A request begins. Only one thread counts, so nobody has to be kept out meanwhile.
    fn begins(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
    }

    fn ends(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Something was taken by the peer, or nothing more is.
    pub(in crate::proxy) fn wrote(&self, is_blocked: bool) {
        self.flushed(is_blocked);
        if !is_blocked {
            self.moved();
        }
    }

    /// All was taken, or not all.
    pub(in crate::proxy) fn flushed(&self, is_blocked: bool) {
        self.blocked.store(is_blocked, Relaxed);
    }

    /// Bytes of a body went.
    pub(in crate::proxy) fn moved(&self) {
        self.moved.store(true, Relaxed);
    }

    /// An answer's head is there.
    pub(in crate::proxy) fn answers(&self) {
        self.answering.store(true, Relaxed);
        self.moved();
    }

    /// The request's body has ended.
    pub(in crate::proxy) fn received(&self) {
        self.receiving.store(false, Relaxed);
    }

    /// What came is no head: frames of HTTP/2.
    pub(super) fn has_no_heads(&self) {
        self.in_head.store(false, Relaxed);
    }

    /// It leaves HTTP: bytes go both ways for as long as they go.
    pub(in crate::proxy) fn leaves(&self) {
        self.begins();
        self.began.store(NEVER, Relaxed);
        self.receiving.store(true, Relaxed);
        self.answering.store(true, Relaxed);
        self.moved();
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }
}

/// Something that keeps a connection from being idle, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    pulse: Arc<Pulse>,
    expiry: Rc<Expiry>,
}

impl Busy {
    pub(super) fn new(pulse: &Arc<Pulse>, expiry: &Rc<Expiry>) -> Self {
        pulse.begins();
        pulse.in_head.store(false, Relaxed);
        pulse.seen.store(false, Relaxed);
        Self { pulse: Arc::clone(pulse), expiry: Rc::clone(expiry) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.pulse.since.store(self.expiry.now(), Relaxed);
        self.pulse.ends();
    }
}

/// A request that is being answered, until the end of the answer's body.
#[derive(Debug)]
pub(in crate::proxy) struct Answering(Busy);

impl Answering {
    /// One begins; `has_body` where more than its head comes.
    pub(in crate::proxy) fn new(pulse: &Arc<Pulse>, expiry: &Rc<Expiry>, has_body: bool) -> Self {
        pulse.began.store(expiry.now(), Relaxed);
        pulse.receiving.store(has_body, Relaxed);
        Self(Busy::new(pulse, expiry))
    }

    pub(in crate::proxy) fn pulse(&self) -> &Arc<Pulse> {
        &self.0.pulse
    }

    /// The answer's head is there.
    pub(in crate::proxy) fn answered(&self) {
        self.0.pulse.answers();
    }

    /// Bytes of its body went.
    pub(in crate::proxy) fn moved(&self) {
        self.0.pulse.moved();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // One that has left HTTP has more to move.
        if self.0.pulse.began.load(Relaxed) != NEVER {
            self.0.pulse.received();
            self.0.pulse.answering.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { head: 30, idle: 60, stall: 20, total: 100 };

    /// What the sweep says, one tick after the other, of a pulse to which something happens before each.
    fn check(happens: impl Fn(u64, &Pulse), expected: Option<(u64, Cut)>) {
        let pulse = Pulse::new(0);
        let found = (0..200).find_map(|now| {
            happens(now, &pulse);
            Some((now, pulse.overdue(now, &BOUNDS)?))
        });
        assert_eq!(found, expected);
    }

    fn begin(pulse: &Pulse, now: u64) {
        pulse.in_flight.store(1, Relaxed);
        pulse.began.store(now, Relaxed);
    }

    #[test]
    fn each_wait_has_its_limit() {
        check(|_, _| {}, Some((61, Cut::Idle)));
        check(|_, pulse| pulse.heard(), Some((31, Cut::Head)));
        let waits = |now, pulse: &Pulse| {
            if now == 0 {
                begin(pulse, now);
            }
        };
        check(waits, Some((101, Cut::Total)));
        let uploads = |moves: fn(u64) -> bool| {
            move |now, pulse: &Pulse| {
                waits(now, pulse);
                pulse.receiving.store(true, Relaxed);
                if moves(now) {
                    pulse.heard();
                }
            }
        };
        check(uploads(|_| false), Some((21, Cut::Stall)));
        check(uploads(|now| now == 10), Some((31, Cut::Stall)));
        check(uploads(|now| now % 20 == 0), Some((101, Cut::Total)));
        let early = |now, pulse: &Pulse| {
            waits(now, pulse);
            pulse.heard();
            if now == 5 {
                pulse.answering.store(true, Relaxed);
            }
        };
        check(early, Some((26, Cut::Stall)));
        check(|_, pulse| pulse.wrote(true), Some((21, Cut::Stall)));
        check(|now, pulse| pulse.wrote(now > 5), Some((27, Cut::Stall)));
    }

    #[test]
    fn what_has_left_http_has_no_end_but_may_not_stand_still() {
        check(|_, pulse| pulse.leaves(), None);
        check(
            |now, pulse| {
                if now == 3 {
                    pulse.leaves();
                }
            },
            Some((24, Cut::Stall)),
        );
    }
}
