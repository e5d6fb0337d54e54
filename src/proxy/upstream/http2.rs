//! Connections in HTTP/2, which carry many requests at once.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2},
    rt::Executor,
};

use super::line::Link;
use crate::proxy::body::Body;

/// Requests that share a connection, where the other side allows more. With the window of each, it bounds the memory
/// that slow clients can tie up.
pub(super) const MAX_STREAMS: usize = 100;

/// A connection in HTTP/2.
pub(super) struct Shared {
    sender: RefCell<http2::SendRequest<Body>>,
    link: Rc<Link>,
    /// Streams that the other side allows now.
    most: Most,
    streams: Cell<usize>,
    /// The tick at which the last stream ended.
    used: Cell<u64>,
    has_answered: Cell<bool>,
    is_retired: Cell<bool>,
}

/// Tells how many streams the other side allows; none once the connection has ended.
pub(super) type Most = Box<dyn Fn() -> usize>;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(sender: http2::SendRequest<Body>, most: Most, link: Rc<Link>) -> Self {
        Self {
            sender: RefCell::new(sender),
            used: Cell::new(link.now()),
            link,
            most,
            streams: Cell::new(0),
            has_answered: Cell::new(false),
            is_retired: Cell::new(false),
        }
    }

    /// One more request on it.
    pub(super) fn stream(this: &Rc<Self>) -> Stream {
        this.streams.set(this.streams.get() + 1);
        Stream(this.clone())
    }

    /// Whether it may take requests, now or later.
    pub(super) fn is_kept(&self, oldest: u64) -> bool {
        let is_fresh = !self.is_idle() || self.used.get() >= oldest;
        is_fresh && !self.is_retired.get() && !self.sender.borrow().is_closed() && self.link.address.is_in()
    }

    /// Whether it may take one more now. Until it has answered, it is taken to allow as many as the one before it did.
    pub(super) fn has_room(&self, before: usize) -> bool {
        let most = (self.most)();
        let most = if self.has_answered.get() { most } else { most.min(before) };
        self.streams.get() < most.min(MAX_STREAMS)
    }

    /// Whether no request uses it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }
}

/// One request on a connection, until its answer has ended.
#[derive(Debug)]
pub(in crate::proxy) struct Stream(Rc<Shared>);

impl Stream {
    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let answer = self.0.sender.borrow_mut().try_send_request(request);
        answer.await
    }

    pub(super) fn link(&self) -> &Link {
        &self.0.link
    }

    /// Others share the connection, so what counts is that it has answered before.
    pub(super) fn idle_for(&self) -> Option<u64> {
        self.0.has_answered.get().then(|| self.0.link.now().saturating_sub(self.0.used.get()))
    }

    pub(super) fn answered(&self) {
        self.0.has_answered.set(true);
        if let Some(line) = self.0.link.line() {
            line.streams.set((self.0.most)());
        }
    }

    /// There was no answer in time, or the connection broke. Nobody else is to use it.
    pub(super) fn failed(&self) {
        self.retire();
        self.link().failed();
    }

    /// The connection takes no further requests; those on it go on.
    pub(super) fn retire(&self) {
        self.0.is_retired.set(true);
        if let Some(line) = self.0.link.line() {
            line.retire(&self.0);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.used.set(self.0.link.now());
        if let Some(line) = self.0.link.line() {
            line.freed();
        }
    }
}

/// Runs what hyper splits off on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
