//! Coarse time-outs: one ticking task per worker instead of a timer per request, which would cost every request an
//! eventfd write and two thousand instructions. A time-out comes up to one tick late.
//!
//! Nor has a worker's runtime any timers, for which it would ask the clock twice whenever it waits: one thread tells all
//! workers when a tick is over.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::pin,
    rc::Rc,
    sync::Weak,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// How late a time-out may be.
pub(super) const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 100;

/// Tells workers when a tick is over, as long as there is one. A tick that this thread or a worker was too busy for is passed
/// over; those that follow are not late for it.
pub(super) fn tell_ticks(workers: &[Weak<Notify>]) {
    let mut next = Instant::now();
    loop {
        while next <= Instant::now() {
            next += TICK;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let told = workers.iter().filter_map(Weak::upgrade).map(|worker| worker.notify_one());
        if told.count() == 0 {
            return;
        }
    }
}

/// The time-outs of one worker.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    now: Cell<u64>,
    waiting: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

/// The time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expired;

impl Expiry {
    /// Ticks since the worker started.
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// The ticks after which `limit` has surely passed: one more than fit, because the current one is partly over.
    pub(super) fn ticks(limit: Duration) -> u64 {
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX / 2);
        millis.div_ceil(TICK_MILLIS) + 1
    }

    /// What is left of `limit` since a tick.
    pub(super) fn left(&self, limit: Duration, since: u64) -> Duration {
        let passed = u32::try_from(self.now().saturating_sub(since)).unwrap_or(u32::MAX);
        limit.saturating_sub(TICK.saturating_mul(passed))
    }

    /// Lets ticks pass.
    #[cfg(test)]
    pub(super) fn pass(&self, ticks: u64) {
        self.now.set(self.now.get() + ticks);
        self.waiting.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    /// Moves time on by a tick whenever `tick` is over; runs as long as the worker.
    pub(super) async fn tick(self: Rc<Self>, tick: impl AsyncFn()) {
        loop {
            tick().await;
            self.now.set(self.now.get() + 1);
            // Few wait longer than a tick, so each looks for itself whether its time is over.
            for waker in self.waiting.borrow().iter().flatten() {
                waker.wake_by_ref();
            }
        }
    }

    /// Lets `time` pass.
    pub(super) async fn sleep(&self, time: Duration) {
        _ = self.within(time, || true, std::future::pending::<()>()).await;
    }

    /// The future's output, unless it takes longer than `limit` from the moment that `started` says yes.
    pub(super) async fn within<F: Future>(
        &self,
        limit: Duration,
        started: impl Fn() -> bool,
        future: F,
    ) -> Result<F::Output, Expired> {
        let ticks = Self::ticks(limit);
        let mut ends = None;
        let mut slot = Slot { expiry: self, index: None };
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            if ends.is_none() && started() {
                ends = Some(self.now.get() + ticks);
            }
            if ends.is_some_and(|ends| self.now.get() >= ends) {
                return Poll::Ready(Err(Expired));
            }
            slot.wait(context.waker());
            Poll::Pending
        })
        .await
    }
}

/// A place in the waiting list, given back when its request ends.
struct Slot<'e> {
    expiry: &'e Expiry,
    index: Option<usize>,
}

impl Slot<'_> {
    fn wait(&mut self, waker: &Waker) {
        let mut waiting = self.expiry.waiting.borrow_mut();
        let index = *self.index.get_or_insert_with(|| {
            self.expiry.free.borrow_mut().pop().unwrap_or_else(|| {
                waiting.push(None);
                waiting.len() - 1
            })
        });
        match waiting.get_mut(index) {
            Some(Some(known)) if known.will_wake(waker) => {}
            Some(slot) => *slot = Some(waker.clone()),
            None => {}
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let Some(index) = self.index else { return };
        if let Some(slot) = self.expiry.waiting.borrow_mut().get_mut(index) {
            *slot = None;
            self.expiry.free.borrow_mut().push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn futures_end_in_time_or_expire() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let expiry = Rc::new(Expiry::default());
                tokio::task::spawn_local(expiry.clone().tick(async || tokio::time::sleep(TICK).await));
                let sleep = |millis| tokio::time::sleep(Duration::from_millis(millis));
                let started = tokio::time::Instant::now();
                assert_eq!(expiry.within(SECOND, || true, sleep(500)).await, Ok(()));
                assert_eq!(expiry.within(SECOND, || true, sleep(5_000)).await, Err(Expired));
                let took = started.elapsed().as_millis();
                assert!((1_500..1_800).contains(&took), "{took} ms");
                assert_eq!(expiry.within(SECOND, || false, sleep(5_000)).await, Ok(()), "it has not started");
                assert_eq!(expiry.waiting.borrow().iter().flatten().count(), 0, "every slot is given back");
                assert_eq!(expiry.waiting.borrow().len(), 1, "and used again");
            })
            .await;
    }

    #[test]
    fn workers_are_told_of_ticks_as_long_as_there_is_one() {
        let workers = [(); 2].map(|()| Arc::new(Notify::new()));
        let told: Vec<_> = workers.iter().map(Arc::downgrade).collect();
        let teller = std::thread::spawn(move || tell_ticks(&told));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let [first, second] = workers;
        runtime.block_on(first.notified());
        drop(first);
        runtime.block_on(second.notified());
        drop(second);
        teller.join().unwrap();
    }
}
