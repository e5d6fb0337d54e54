//! The addresses of a target: those that its name stands for, in turn, without those that fail.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use tokio::sync::Notify;

use super::health::{FAILURES, Health, may_eject};
use crate::{proxy::expiry::Expiry, telemetry::UpstreamMetrics};

/// A name that was resolved just now is not resolved again at once, whatever happens.
const LEAST: Duration = Duration::from_secs(1);

/// One of them. Connections hold on to theirs.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) socket: SocketAddr,
    health: Cell<Health>,
}

impl Address {
    fn new(socket: SocketAddr) -> Rc<Self> {
        Rc::new(Self { socket, health: Cell::default() })
    }

    /// Whether it gets requests.
    pub(super) fn is_in(&self) -> bool {
        self.health.get().is_in()
    }

    /// It answered.
    pub(super) fn succeeded(&self) {
        self.health.set(self.health.get().succeeded());
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Addresses {
    /// As the resolver gave them, without duplicates.
    all: RefCell<Vec<Rc<Address>>>,
    /// Where the next turn starts.
    next: Cell<usize>,
    /// What was configured is an address, so there is nothing to resolve.
    is_literal: bool,
    /// When they were resolved.
    resolved: Cell<Option<u64>>,
    /// A connection to one of them failed since then.
    is_doubted: Cell<bool>,
    is_resolving: Cell<bool>,
    failure: RefCell<Option<(io::ErrorKind, String)>>,
    /// The resolver has answered.
    answered: Notify,
    metrics: UpstreamMetrics,
}

impl Addresses {
    pub(super) fn new(host: &str, port: u16, metrics: UpstreamMetrics) -> Self {
        let literal = host.parse().ok().map(|ip| Address::new(SocketAddr::new(ip, port)));
        Self {
            is_literal: literal.is_some(),
            all: RefCell::new(literal.into_iter().collect()),
            next: Cell::new(0),
            resolved: Cell::new(None),
            is_doubted: Cell::new(false),
            is_resolving: Cell::new(false),
            failure: RefCell::default(),
            answered: Notify::new(),
            metrics,
        }
    }

    /// Whether the name has to be resolved now; whoever asks does that.
    pub(super) fn begin(&self, now: u64, resolve: Duration) -> bool {
        let age = self.resolved.get().map_or(u64::MAX, |at| now.saturating_sub(at));
        let wait = if self.is_doubted.get() { LEAST } else { resolve };
        let is_due = self.all.borrow().is_empty() || age >= Expiry::ticks(wait);
        !self.is_literal && is_due && !self.is_resolving.replace(true)
    }

    /// What the resolver said. Where it failed, the addresses that are known stay.
    pub(super) fn resolved(&self, found: io::Result<Vec<SocketAddr>>, now: u64) {
        self.is_resolving.set(false);
        self.is_doubted.set(false);
        self.resolved.set(Some(now));
        match found {
            Ok(found) if !found.is_empty() => self.replace(&found),
            Ok(_) => self.unresolved(io::ErrorKind::NotFound, "the name has no address".to_owned()),
            Err(error) => self.unresolved(error.kind(), error.to_string()),
        }
        self.answered.notify_waiters();
    }

    fn unresolved(&self, kind: io::ErrorKind, error: String) {
        let known = self.all.borrow().len();
        tracing::warn!(error, known, "an upstream's name cannot be resolved");
        self.failure.replace(Some((kind, error)));
    }

    fn replace(&self, found: &[SocketAddr]) {
        let mut all = self.all.borrow_mut();
        let before = std::mem::take(&mut *all);
        for socket in found {
            if !all.iter().any(|known| known.socket == *socket) {
                let known = before.iter().find(|known| known.socket == *socket);
                all.push(known.cloned().unwrap_or_else(|| Address::new(*socket)));
            }
        }
        for gone in before.iter().filter(|old| !all.iter().any(|new| Rc::ptr_eq(old, new))) {
            if gone.health.replace(gone.health.get().gone()).is_out() {
                self.metrics.ejected.decrement(1.0);
            }
        }
    }

    /// Waits for the resolver where nothing is known yet.
    pub(super) async fn known(&self) -> io::Result<()> {
        if self.all.borrow().is_empty() {
            self.answered.notified().await;
        }
        match &*self.failure.borrow() {
            Some((kind, error)) if self.all.borrow().is_empty() => Err(io::Error::new(*kind, error.clone())),
            _ => Ok(()),
        }
    }

    /// Those to try, one after the other; all of them where the name stands for none but those that are left out.
    pub(super) fn in_turn(&self) -> Vec<Rc<Address>> {
        let all = self.all.borrow();
        let mut healthy: Vec<_> = all.iter().filter(|address| address.is_in()).cloned().collect();
        if healthy.is_empty() {
            healthy.clone_from(&all);
        }
        let turn = self.next.replace(self.next.get().wrapping_add(1));
        let first = turn.checked_rem(healthy.len()).unwrap_or(0);
        healthy.rotate_left(first);
        healthy
    }

    /// An address failed. Whether it is left out now.
    pub(super) fn failed(&self, address: &Address, now: u64) -> bool {
        address.health.set(address.health.get().failed());
        let all = self.all.borrow();
        let out = all.iter().filter(|address| address.health.get().is_out()).count();
        if !address.health.get().is_failing() || !may_eject(all.len(), out) {
            return false;
        }
        let (health, rest) = address.health.get().eject(now);
        address.health.set(health);
        self.metrics.ejections.increment(1);
        self.metrics.ejected.increment(1.0);
        let (address, seconds) = (address.socket, rest.as_secs());
        tracing::warn!(%address, failures = FAILURES, seconds, "an upstream's address fails and is left out");
        true
    }

    /// No connection could be made: perhaps the name stands for other addresses by now.
    pub(super) fn doubt(&self) {
        self.is_doubted.set(true);
    }

    /// Lets those in again whose time is over.
    pub(super) fn sweep(&self, now: u64) {
        for address in self.all.borrow().iter() {
            if let Some(back) = address.health.get().back(now) {
                address.health.set(back);
                self.metrics.ejected.decrement(1.0);
                tracing::info!(address = %address.socket, "an upstream's address gets requests again");
            }
        }
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        let out = self.all.borrow().iter().filter(|address| address.health.get().is_out()).count();
        (0..out).for_each(|_| self.metrics.ejected.decrement(1.0));
    }
}
