//! A line to one target: its connections and its places.
//!
//! A request takes the idle connection that was used last, or shares one that speaks HTTP/2. Without one it takes a place
//! and connects, and where every place is taken it waits for its turn.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::{sync::Notify, task::spawn_local};

use super::{
    address::{Address, Addresses},
    connect::{self, Spoken},
    error::UpstreamError,
    http2::{MAX_STREAMS, Shared},
    lease::Held,
    pool::Common,
    target::{Target, To, Wants},
};
use crate::{
    proxy::{
        expiry::Expiry,
        h1::{Io, Wire},
    },
    telemetry::Dial,
};

/// Idle connections a worker keeps to one target. A CRM's clients rarely hold more than this many requests open at a time.
const MAX_IDLE: usize = 256;

/// Idle for longer, a connection is not used again: servers close theirs after five seconds and up, and a request that
/// crosses that on its way is lost.
const MAX_IDLE_TIME: Duration = Duration::from_secs(4);

/// What a worker has of one target.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) target: Target,
    pub(super) common: Rc<Common>,
    pub(super) addresses: Addresses,
    host: Box<str>,
    port: u16,
    /// The tick of its last request.
    pub(super) used: Cell<u64>,
    /// Connections in HTTP/1.1, the one used last at the end.
    idle: RefCell<Vec<Idle>>,
    /// Connections in HTTP/2, in use or not.
    shared: RefCell<Vec<Rc<Shared>>>,
    open: Cell<usize>,
    waiting: Cell<usize>,
    freed: Notify,
    /// A connection that many requests will share is being made.
    is_dialling: Cell<bool>,
    /// Requests at once that the last connection in HTTP/2 allowed.
    pub(super) streams: Cell<usize>,
    /// The other side did not choose HTTP/2 when it could.
    is_http1: Cell<bool>,
}

/// A connection that waits for a request.
#[derive(Debug)]
struct Idle {
    wire: Box<Wire>,
    link: Rc<Link>,
    since: u64,
}

/// What a connection is, whatever it speaks: it has a place, and leads to an address.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: Rc<Address>,
    place: Place,
}

/// A place for a connection, from before it is made until it is gone.
#[derive(Debug)]
pub(super) struct Place(Weak<Line>, Rc<Common>);

impl Place {
    fn new(line: &Rc<Line>) -> Self {
        line.open.set(line.open.get() + 1);
        line.common.metrics.open.increment(1.0);
        Self(Rc::downgrade(line), line.common.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.1.metrics.open.decrement(1.0);
        if let Some(line) = self.0.upgrade() {
            line.open.set(line.open.get() - 1);
            line.freed();
        }
    }
}

impl Link {
    /// Its line, unless that was forgotten.
    pub(super) fn line(&self) -> Option<Rc<Line>> {
        self.place.0.upgrade()
    }

    pub(super) fn now(&self) -> u64 {
        self.place.1.expiry.now()
    }

    /// The connection, where it is one in memory.
    pub(super) fn dialled(&self) -> Option<Io> {
        self.place.1.resolver.dialled()
    }

    /// The address gave no answer, or one that says that there is nobody behind it.
    pub(super) fn failed(&self) {
        if let Some(line) = self.line() {
            line.failed(&self.address);
        }
    }
}

impl Line {
    pub(super) fn new(to: &To<'_>, common: Rc<Common>) -> Self {
        let (host, port) = (to.upstream.host(), to.upstream.port);
        Self {
            target: Target::new(to),
            addresses: Addresses::new(host, port, common.metrics.clone()),
            common,
            host: host.into(),
            port,
            used: Cell::new(0),
            idle: RefCell::default(),
            shared: RefCell::default(),
            open: Cell::new(0),
            waiting: Cell::new(0),
            freed: Notify::new(),
            is_dialling: Cell::new(false),
            streams: Cell::new(MAX_STREAMS),
            is_http1: Cell::new(false),
        }
    }

    /// A connection for one request: one that is there, a new one, or one that becomes free.
    pub(super) async fn connection(
        self: &Rc<Self>,
        wants: Wants,
        to: &To<'_>,
    ) -> Result<Held, UpstreamError> {
        if self.waiting.get() == 0
            && let Some(held) = self.pooled(wants)
        {
            return Ok(held);
        }
        // Elsewhere, so that requests that find a connection are no larger for it.
        Box::pin(self.new_connection(wants, to)).await
    }

    /// A new connection, or one that becomes free.
    async fn new_connection(self: &Rc<Self>, wants: Wants, to: &To<'_>) -> Result<Held, UpstreamError> {
        let (expiry, since) = (&self.common.expiry, self.common.expiry.now());
        match expiry.within(to.connect, || true, self.turn(wants, to)).await {
            Ok(Turn::Pooled(held)) => Ok(held),
            Ok(Turn::Place(place, _dialling)) => self.dial(wants, to, place, since).await,
            // Who waits for another's attempt to connect is not kept out by a bound.
            Err(_) if self.is_dialling.get() => Err(UpstreamError::ConnectTimeout),
            Err(_) => {
                self.common.metrics.dialled(Dial::Full);
                Err(UpstreamError::Full)
            }
        }
    }

    /// A connection of the pool that can take a request now.
    fn pooled(&self, wants: Wants) -> Option<Held> {
        match wants {
            Wants::Http1 => self.take_idle(),
            Wants::Http2 => self.share(),
            Wants::Either if self.is_http1.get() => self.share().or_else(|| self.take_idle()),
            Wants::Either => self.share(),
        }
    }

    /// The connection used last; closed and old ones are thrown away on the way.
    fn take_idle(&self) -> Option<Held> {
        let mut idle = self.idle.borrow_mut();
        let oldest = self.oldest();
        let kept = idle.partition_point(|idle| idle.since < oldest);
        idle.drain(..kept);
        while let Some(Idle { mut wire, link, since }) = idle.pop() {
            if wire.is_quiet() {
                return Some(Held::Http1 { wire, link, since: Some(since) });
            }
        }
        None
    }

    /// A connection in HTTP/2 that has room for one more request.
    fn share(&self) -> Option<Held> {
        let mut shared = self.shared.borrow_mut();
        let oldest = self.oldest();
        shared.retain(|connection| connection.is_kept(oldest));
        let roomy = shared.iter().find(|connection| connection.has_room(self.streams.get()))?;
        Some(Held::Http2(Shared::stream(roomy)))
    }

    fn oldest(&self) -> u64 {
        self.common.expiry.now().saturating_sub(Expiry::ticks(MAX_IDLE_TIME))
    }

    /// Waits for a connection or a place, first come, first served.
    async fn turn(self: &Rc<Self>, wants: Wants, to: &To<'_>) -> Turn {
        let most = to.most.div_ceil(self.common.share);
        let mut queued = None;
        loop {
            if queued.is_some() || self.waiting.get() == 0 {
                if let Some(held) = self.pooled(wants) {
                    return Turn::Pooled(held);
                }
                if let Some(turn) = self.place(wants, most) {
                    return turn;
                }
            }
            queued.get_or_insert_with(|| Queued::new(self));
            self.freed.notified().await;
        }
    }

    /// A place for a connection. Where many requests can share one, only one at a time is made.
    fn place(self: &Rc<Self>, wants: Wants, most: usize) -> Option<Turn> {
        let is_shared = wants == Wants::Http2 || wants == Wants::Either && !self.is_http1.get();
        if is_shared && self.is_dialling.get() {
            return None;
        }
        if self.open.get() >= most {
            self.give_up_one(wants);
        }
        if self.open.get() >= most {
            return None;
        }
        Some(Turn::Place(Place::new(self), is_shared.then(|| Dialling::new(self))))
    }

    /// Where all places are taken, idle connections that speak something else make room.
    fn give_up_one(&self, wants: Wants) {
        if wants == Wants::Http1 {
            let mut shared = self.shared.borrow_mut();
            if let Some(idle) = shared.iter().position(|connection| connection.is_idle()) {
                shared.remove(idle);
            }
        } else {
            let mut idle = self.idle.borrow_mut();
            let least_used = ..idle.len().min(1);
            idle.drain(least_used);
        }
    }

    /// A new connection, to the first address that takes one.
    async fn dial(
        self: &Rc<Self>,
        wants: Wants,
        to: &To<'_>,
        place: Place,
        since: u64,
    ) -> Result<Held, UpstreamError> {
        let metrics = &self.common.metrics;
        let addresses = self.resolved(to, since).await.inspect_err(|_| metrics.dialled(Dial::Unresolved))?;
        let mut failure = UpstreamError::ConnectTimeout;
        let mut place = Some(place);
        for (tried, address) in addresses.iter().enumerate() {
            // Each address gets its share of what is left of the time.
            let left = self.common.expiry.left(to.connect, since);
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let Some(taken) = place.take() else { break };
            let link = Rc::new(Link { address: address.clone(), place: taken });
            let connected = connect::connect(to, wants, &link);
            let end = match self.common.expiry.within(share, || true, connected).await {
                Ok(Ok(spoken)) => {
                    metrics.dialled(Dial::Connected);
                    return Ok(self.keep(spoken, link, wants));
                }
                Ok(Err(error)) => {
                    let end = if matches!(error, UpstreamError::Tls(_)) { Dial::Tls } else { Dial::Failed };
                    failure = error;
                    end
                }
                Err(_) => {
                    failure = UpstreamError::ConnectTimeout;
                    Dial::Timeout
                }
            };
            metrics.dialled(end);
            self.failed(address);
            self.addresses.doubt();
            place = Rc::into_inner(link).map(|link| link.place);
        }
        Err(failure)
    }

    /// The addresses to try. The first request waits for the name to be resolved; after that it happens beside them.
    async fn resolved(self: &Rc<Self>, to: &To<'_>, since: u64) -> Result<Vec<Rc<Address>>, UpstreamError> {
        self.resolve_if_due(to.resolve);
        let left = self.common.expiry.left(to.connect, since);
        let known = self.common.expiry.within(left, || true, self.addresses.known()).await;
        known.map_err(|_| UpstreamError::ConnectTimeout)??;
        Ok(self.addresses.in_turn())
    }

    fn resolve_if_due(self: &Rc<Self>, resolve: Duration) {
        if self.addresses.begin(self.common.expiry.now(), resolve) {
            let line = self.clone();
            spawn_local(async move {
                let found = line.common.resolver.look_up(&line.host, line.port).await;
                line.addresses.resolved(found, line.common.expiry.now());
                line.prune();
            });
        }
    }

    /// A new connection in use, and kept where it can be shared.
    fn keep(&self, spoken: Spoken, link: Rc<Link>, wants: Wants) -> Held {
        if wants == Wants::Either {
            self.is_http1.set(matches!(spoken, Spoken::Http1(_)));
        }
        match spoken {
            Spoken::Http1(wire) => Held::Http1 { wire, link, since: None },
            Spoken::Http2(sender, most) => {
                let connection = Rc::new(Shared::new(sender, most, link));
                self.shared.borrow_mut().push(connection.clone());
                Held::Http2(Shared::stream(&connection))
            }
        }
    }

    /// Takes a connection back.
    pub(super) fn give_back(&self, wire: Box<Wire>, link: Rc<Link>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && link.address.is_in() {
            idle.push(Idle { wire, link, since: self.common.expiry.now() });
        }
        drop(idle);
        self.freed();
    }

    /// A connection or a place is free for whoever waits longest.
    pub(super) fn freed(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    fn failed(&self, address: &Address) {
        if self.addresses.failed(address, self.common.expiry.now()) {
            self.prune();
        }
    }

    /// Throws connections away that lead to addresses which get no requests.
    fn prune(&self) {
        self.idle.borrow_mut().retain(|idle| idle.link.address.is_in());
        let oldest = self.oldest();
        self.shared.borrow_mut().retain(|connection| connection.is_kept(oldest));
    }

    /// What is due twice a second.
    pub(super) fn sweep(self: &Rc<Self>, resolve: Duration) {
        self.addresses.sweep(self.common.expiry.now());
        let oldest = self.oldest();
        self.idle.borrow_mut().retain_mut(|idle| idle.since >= oldest && idle.wire.is_quiet());
        self.prune();
        // A name that nobody uses is resolved when somebody does.
        if self.used.get() >= self.common.expiry.now().saturating_sub(Expiry::ticks(resolve)) {
            self.resolve_if_due(resolve);
        }
    }

    /// Connections that no request uses.
    pub(super) fn idle(&self) -> usize {
        let shared = self.shared.borrow();
        self.idle.borrow().len() + shared.iter().filter(|connection| connection.is_idle()).count()
    }

    /// Whether some request uses it.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting.get() > 0 || self.open.get() > self.idle()
    }

    /// Throws every connection away that no request uses; the others end with theirs.
    pub(super) fn close(&self) {
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    /// Takes a connection out of the pool, whose requests go on.
    pub(super) fn retire(&self, connection: &Rc<Shared>) {
        self.shared.borrow_mut().retain(|known| !Rc::ptr_eq(known, connection));
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }
}

/// What waiting led to.
enum Turn {
    Pooled(Held),
    Place(Place, Option<Dialling>),
}

/// A request that waits.
struct Queued<'l>(&'l Line);

impl<'l> Queued<'l> {
    fn new(line: &'l Line) -> Self {
        line.waiting.set(line.waiting.get() + 1);
        line.common.metrics.waiting.increment(1.0);
        Self(line)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.common.metrics.waiting.decrement(1.0);
    }
}

/// A connection that is being made for many. However that ends, those that wait look again.
struct Dialling(Rc<Line>);

impl Dialling {
    fn new(line: &Rc<Line>) -> Self {
        line.is_dialling.set(true);
        Self(line.clone())
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.is_dialling.set(false);
        self.0.freed.notify_waiters();
    }
}
