//! One pool per worker: a line to each target that was asked for lately.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use super::{line::Line, resolve::Resolver, target::To};
use crate::{
    proxy::{alone::Dial, expiry::Expiry},
    telemetry::UpstreamMetrics,
};

/// Targets that a worker remembers; beyond them the one that was used least lately is forgotten.
const MAX_TARGETS: usize = 64;

/// How long a target is remembered that nothing is sent to.
const MAX_UNUSED: Duration = Duration::from_secs(60);

/// One worker's connections.
#[derive(Debug)]
pub(in crate::proxy) struct Pool {
    pub(super) common: Rc<Common>,
    lines: RefCell<Vec<Rc<Line>>>,
    /// Idle connections as last told.
    told_idle: Cell<usize>,
}

/// What all lines of a worker share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) expiry: Rc<Expiry>,
    pub(super) metrics: UpstreamMetrics,
    pub(super) resolver: Resolver,
    /// Workers that share the process's bounds.
    pub(super) share: usize,
}

impl Pool {
    /// No connections yet, in one of `share` workers.
    pub(in crate::proxy) fn new(expiry: Rc<Expiry>, metrics: UpstreamMetrics, share: usize) -> Self {
        Self::with_resolver(expiry, metrics, share, Resolver::System)
    }

    /// Connections that `dial` gives, in the only worker.
    pub(in crate::proxy) fn dialled(expiry: Rc<Expiry>, metrics: UpstreamMetrics, dial: Dial) -> Self {
        Self::with_resolver(expiry, metrics, 1, Resolver::Dial(dial))
    }

    pub(super) fn with_resolver(
        expiry: Rc<Expiry>,
        metrics: UpstreamMetrics,
        share: usize,
        resolver: Resolver,
    ) -> Self {
        let common = Rc::new(Common { expiry, metrics, resolver, share });
        Self { common, lines: RefCell::default(), told_idle: Cell::new(0) }
    }

    /// The line to a target. There are few, and the CRM's is mostly the first.
    pub(super) fn line(&self, to: &To<'_>) -> Rc<Line> {
        let mut lines = self.lines.borrow_mut();
        let now = self.common.expiry.now();
        let found = lines.iter().position(|line| line.target.is(to));
        if let Some(line) = found.and_then(|found| lines.get(found)) {
            line.used.set(now);
            return line.clone();
        }
        if lines.len() >= MAX_TARGETS {
            let oldest = lines.iter().enumerate().min_by_key(|(_, line)| line.used.get());
            if let Some((oldest, _)) = oldest {
                lines.swap_remove(oldest).close();
            }
        }
        let line = Rc::new(Line::new(to, self.common.clone()));
        line.used.set(now);
        lines.push(line.clone());
        line
    }

    /// Closes what has been idle for too long, lets addresses back in, resolves names again and forgets targets. Called
    /// twice a second, so that no request has to.
    pub(in crate::proxy) fn sweep(&self, resolve: Duration) {
        let oldest = self.common.expiry.now().saturating_sub(Expiry::ticks(MAX_UNUSED));
        let mut lines = self.lines.borrow_mut();
        lines.retain(|line| {
            line.sweep(resolve);
            let is_kept = line.used.get() >= oldest || line.is_busy();
            if !is_kept {
                line.close();
            }
            is_kept
        });
        self.tell_idle(lines.iter().map(|line| line.idle()).sum());
    }

    /// The gauge is the sum of all workers, so each tells what has changed.
    fn tell_idle(&self, idle: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a number of connections")]
        let changed = idle as f64 - self.told_idle.replace(idle) as f64;
        self.common.metrics.idle.increment(changed);
    }

    #[cfg(test)]
    pub(super) fn targets(&self) -> usize {
        self.lines.borrow().len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.lines.borrow().iter().for_each(|line| line.close());
        self.tell_idle(0);
    }
}
