//! Real connections over the loopback, and time in ticks.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, LocalSet, spawn_local},
};

use super::{Pool, To, UpstreamError, resolve::Resolver};
use crate::{
    config::{Config, Upstream},
    proxy::{
        body::{Body, Read},
        expiry::Expiry,
        tls::{Originate, TlsFiles, TlsSides},
    },
    telemetry::{Latency, Levels, Metrics, render},
};

/// What a server speaks over.
trait Duplex: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Duplex for S {}

const SECOND: Duration = Duration::from_secs(1);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Waits for a condition, at most some seconds.
async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        tokio::time::sleep(SECOND / 1000).await;
    }
    panic!("waited in vain for {what}");
}

/// What a server does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Say(u16),
    Close,
    Hush,
}

/// A server of HTTP/1.1 that counts.
struct Server {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    requests: Rc<Cell<usize>>,
}

/// Serves at an address; what `act` says of the request's number is done.
fn serve(at: SocketAddr, act: impl Fn(usize) -> Act + 'static) -> Server {
    let listener = std::net::TcpListener::bind(at).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server { address, connections: Rc::default(), requests: Rc::default() };
    let (connections, requests, act) = (server.connections.clone(), server.requests.clone(), Rc::new(act));
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.set(connections.get() + 1);
            let (requests, act) = (requests.clone(), act.clone());
            spawn_local(async move { converse(stream, &requests, &*act).await });
        }
    });
    server
}

async fn converse(
    mut stream: impl Duplex,
    requests: &Cell<usize>,
    act: &impl Fn(usize) -> Act,
) -> Option<()> {
    loop {
        read_request(&mut stream).await?;
        requests.set(requests.get() + 1);
        let status = match act(requests.get()) {
            Act::Say(status) => status,
            Act::Close => return None,
            Act::Hush => std::future::pending().await,
        };
        // In chunks, since one of a known length that has come is taken at once, and its connection is free.
        let answer =
            format!("HTTP/1.1 {status} Told\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn read_request(stream: &mut impl Duplex) -> Option<()> {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains("\r\n\r\n") || text.contains("length: 4") && !text.ends_with("body") {
        let read = stream.read(&mut bytes).await.ok().filter(|read| *read > 0)?;
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    Some(())
}

/// A pool in front of what a name stands for.
struct Stage {
    pool: Rc<Pool>,
    expiry: Rc<Expiry>,
    names: Rc<RefCell<Vec<SocketAddr>>>,
    metrics: Metrics,
    upstream: Upstream,
    most: usize,
}

impl Stage {
    fn new(names: &[SocketAddr]) -> Self {
        let (expiry, names) = (Rc::<Expiry>::default(), Rc::new(RefCell::new(names.to_vec())));
        let (metrics, resolver) = (Metrics::default(), Resolver::Fixed(names.clone()));
        let pool = Rc::new(Pool::with_resolver(expiry.clone(), metrics.upstream.clone(), 1, resolver));
        let upstream = Upstream { authority: "crm".parse().unwrap(), port: 80, tls: None, h2c: false };
        Self { pool, expiry, names, metrics, upstream, most: 10 }
    }

    fn to(&self) -> To<'_> {
        let Self { upstream, most, .. } = self;
        To { upstream, tls: None, connect: SECOND, answer: SECOND, most: *most, resolve: 30 * SECOND }
    }

    async fn send(&self, method: Method, body: Body) -> Result<Response<Body>, UpstreamError> {
        let request = Request::builder().method(method).uri("/").header("host", "crm").body(body).unwrap();
        self.pool.send(request, None, self.to()).await
    }

    /// The status of an answer that was read to its end.
    async fn get(&self) -> Result<u16, String> {
        self.ask(Method::GET, Body::empty()).await
    }

    async fn ask(&self, method: Method, body: Body) -> Result<u16, String> {
        let response = self.send(method, body).await.map_err(|error| error.summary().to_owned())?;
        let status = response.status().as_u16();
        assert!(matches!(response.into_body().read(1 << 20).await, Read::Whole(_)));
        settle().await;
        Ok(status)
    }

    fn line(&self) -> Rc<super::line::Line> {
        self.pool.line(&self.to())
    }

    /// The value of a metric by what follows `leadwire_upstream_`.
    fn metric(&self, series: &str) -> f64 {
        let levels = Levels { queue_depth: 0, queue_bytes: 0, leads_known: 0 };
        let text = render(&self.metrics, &Latency::default(), &[], levels);
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("leadwire_upstream_"));
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series}")).trim().parse().unwrap()
    }

    fn sweep(&self) {
        self.pool.sweep(30 * SECOND);
    }
}

/// Lets the connections' tasks see what has happened.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Two servers at one port, of which the second is at another address.
fn pair(first: impl Fn(usize) -> Act + 'static, second: impl Fn(usize) -> Act + 'static) -> [Server; 2] {
    let first = serve("127.0.0.1:0".parse().unwrap(), first);
    let second = serve(SocketAddr::new([127, 0, 0, 2].into(), first.address.port()), second);
    [first, second]
}

fn ok(_: usize) -> Act {
    Act::Say(200)
}

#[test]
fn a_connection_is_used_again_and_new_ones_take_turns() {
    run(async {
        let [first, second] = pair(ok, ok);
        let stage = Stage::new(&[first.address, second.address]);
        for _ in 0..3 {
            assert_eq!(stage.get().await, Ok(200));
        }
        assert_eq!((first.connections.get(), second.connections.get()), (1, 0));
        let answers = [(), ()].map(|()| stage.send(Method::GET, Body::empty()));
        let [one, other] = answers;
        let answers = (one.await.unwrap(), other.await.unwrap());
        assert_eq!((first.connections.get(), second.connections.get()), (1, 1));
        assert_eq!(stage.line().open(), 2);
        drop(answers);
        until("what was not read to be closed", || stage.line().open() == 0).await;
    });
}

#[test]
fn where_one_address_takes_no_connection_the_next_one_does() {
    run(async {
        let server = serve("127.0.0.1:0".parse().unwrap(), ok);
        let dead = SocketAddr::new([127, 0, 0, 3].into(), server.address.port());
        let stage = Stage::new(&[dead, server.address]);
        for _ in 0..20 {
            let answer = stage.send(Method::POST, Body::full("body")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
        let alone = Stage::new(&[dead]);
        for _ in 0..20 {
            assert_eq!(alone.get().await, Err("cannot connect to the upstream".into()));
        }
    });
}

/// Of two addresses one fails in some way; what the tenth to the fifteenth request get.
fn check_ejection(act: Act, is_left_out: bool) {
    run(async move {
        let [good, bad] = pair(ok, move |_| act);
        let stage = Stage::new(&[good.address, bad.address]);
        let ask = async || {
            let sent = stage.send(Method::POST, Body::full("body")).await;
            sent.map(|answer| answer.status().as_u16())
        };
        // What is dropped before its end is closed, so every request makes a connection.
        for _ in 0..10 {
            _ = ask().await;
        }
        assert_eq!(bad.requests.get(), 5);
        for _ in 0..6 {
            let answer = ask().await;
            assert!(!is_left_out || answer.is_ok_and(|status| status == 200), "{act:?}");
        }
        assert_eq!(bad.requests.get() == 5, is_left_out, "{act:?}");
        let out = f64::from(u8::from(is_left_out));
        assert_eq!([stage.metric("ejections_total"), stage.metric("ejected")], [out, out]);
        stage.expiry.pass(290);
        stage.sweep();
        let before = bad.requests.get();
        _ = (ask().await, ask().await);
        assert_eq!(bad.requests.get() > before, !is_left_out, "not for half a minute");
        stage.expiry.pass(20);
        stage.sweep();
        _ = (ask().await, ask().await);
        assert!(bad.requests.get() > before, "it gets another chance");
        assert_eq!([stage.metric("ejections_total"), stage.metric("ejected")], [out, 0.0]);
    });
}

#[test]
fn an_address_that_fails_five_times_in_a_row_is_left_out_for_a_while() {
    for act in [Act::Close, Act::Say(502), Act::Say(503), Act::Say(504)] {
        check_ejection(act, true);
    }
    // A CRM's own errors are answers.
    check_ejection(Act::Say(500), false);
    check_ejection(Act::Say(429), false);
}

#[test]
fn an_address_that_answers_too_late_is_left_out() {
    run(async {
        let [silent, good] = pair(|_| Act::Hush, ok);
        let stage = Stage::new(&[silent.address, good.address]);
        for asked in 1..=5 {
            let sending = stage.send(Method::POST, Body::full("body"));
            let passing = async {
                until("the request", || silent.requests.get() == asked).await;
                stage.expiry.pass(20);
                std::future::pending::<Infallible>().await
            };
            tokio::select! {
                answer = sending => assert!(matches!(answer, Err(UpstreamError::AnswerTimeout))),
                never = passing => match never {},
            }
            // The other one's turn.
            stage.send(Method::POST, Body::full("body")).await.unwrap();
        }
        for _ in 0..4 {
            stage.send(Method::POST, Body::full("body")).await.unwrap();
        }
        assert_eq!(silent.requests.get(), 5);
    });
}

#[test]
fn the_only_address_is_never_left_out() {
    run(async {
        let server =
            serve(
                "127.0.0.1:0".parse().unwrap(),
                |request| {
                    if request <= 20 { Act::Close } else { Act::Say(200) }
                },
            );
        let stage = Stage::new(&[server.address]);
        for _ in 0..20 {
            assert_eq!(stage.get().await, Err("the upstream's answer broke off".into()));
        }
        assert_eq!(stage.get().await, Ok(200));
    });
}

#[test]
fn a_connection_to_an_address_that_vanished_is_not_used_again() {
    run(async {
        let [first, second] = pair(ok, ok);
        let stage = Stage::new(&[first.address]);
        assert_eq!(stage.get().await, Ok(200));
        stage.names.replace(vec![second.address]);
        stage.sweep();
        settle().await;
        assert_eq!(stage.get().await, Ok(200));
        assert_eq!((first.requests.get(), second.requests.get()), (2, 0), "not resolved again yet");
        // So many ticks that the name is due, and its line is still in use.
        for _ in 0..11 {
            stage.expiry.pass(30);
            assert_eq!(stage.get().await, Ok(200));
        }
        let before = first.requests.get();
        stage.sweep();
        settle().await;
        assert_eq!(stage.get().await, Ok(200));
        assert_eq!((first.requests.get(), second.requests.get()), (before, 1));
        // A resolver that fails takes nothing away.
        stage.names.replace(Vec::new());
        stage.expiry.pass(310);
        assert_eq!(stage.get().await, Ok(200));
        stage.sweep();
        settle().await;
        assert_eq!(stage.get().await, Ok(200));
    });
}

#[test]
fn a_name_without_an_address_is_asked_for_again() {
    run(async {
        let server = serve("127.0.0.1:0".parse().unwrap(), ok);
        let stage = Stage::new(&[]);
        for _ in 0..2 {
            assert_eq!(stage.get().await, Err("cannot connect to the upstream".into()));
        }
        assert_eq!(stage.metric("connects_total{result=\"unresolved\"}"), 2.0);
        stage.names.replace(vec![server.address]);
        assert_eq!(stage.get().await, Ok(200));
    });
}

#[test]
fn after_a_failed_connection_the_name_is_resolved_again() {
    run(async {
        let server = serve("127.0.0.1:0".parse().unwrap(), ok);
        let dead = SocketAddr::new([127, 0, 0, 3].into(), server.address.port());
        let stage = Stage::new(&[dead]);
        assert!(stage.get().await.is_err());
        stage.names.replace(vec![server.address]);
        assert!(stage.get().await.is_err(), "not at once");
        stage.expiry.pass(11);
        stage.sweep();
        settle().await;
        assert_eq!(stage.get().await, Ok(200));
    });
}

/// The second request on a connection that was idle for so many ticks breaks it; what became of it, and how often it was
/// seen.
fn check_retry(method: Method, body: &'static str, idle: u64, expected: (Result<u16, &str>, usize)) {
    run(async move {
        let server =
            serve(
                "127.0.0.1:0".parse().unwrap(),
                |request| {
                    if request == 2 { Act::Close } else { Act::Say(200) }
                },
            );
        let stage = Stage::new(&[server.address]);
        assert_eq!(stage.get().await, Ok(200));
        stage.expiry.pass(idle);
        let body = if body.is_empty() { Body::empty() } else { Body::full(body) };
        let got = stage.ask(method.clone(), body).await;
        let got = got.as_ref().map(|status| *status).map_err(String::as_str);
        assert_eq!((got, server.requests.get() - 1), expected, "{method} after {idle}");
        let retried = stage.metric("retries_total{reason=\"broken\"}");
        assert_eq!(retried, if expected.1 == 2 { 1.0 } else { 0.0 });
    });
}

#[test]
fn only_a_request_that_changes_nothing_is_sent_twice_and_only_over_a_connection_that_was_used_before() {
    let broken = Err("the upstream's answer broke off");
    check_retry(Method::GET, "", 3, (Ok(200), 2));
    check_retry(Method::OPTIONS, "", 30, (Ok(200), 2));
    check_retry(Method::GET, "", 0, (Ok(200), 2));
    check_retry(Method::GET, "body", 3, (broken, 1));
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        check_retry(method.clone(), "", 3, (broken, 1));
        check_retry(method, "body", 3, (broken, 1));
    }
}

#[test]
fn a_request_that_breaks_twice_is_given_up() {
    run(async {
        let server =
            serve(
                "127.0.0.1:0".parse().unwrap(),
                |request| {
                    if request == 1 { Act::Say(200) } else { Act::Close }
                },
            );
        let stage = Stage::new(&[server.address]);
        assert_eq!(stage.get().await, Ok(200));
        stage.expiry.pass(5);
        assert!(stage.get().await.is_err());
        assert_eq!(server.requests.get(), 3);
    });
}

#[test]
fn beyond_the_bound_requests_wait_for_their_turn() {
    run(async {
        let server = serve("127.0.0.1:0".parse().unwrap(), ok);
        let stage = Rc::new(Stage { most: 1, ..Stage::new(&[server.address]) });
        let first = stage.send(Method::GET, Body::empty()).await.unwrap();
        let order = Rc::<RefCell<VecDeque<usize>>>::default();
        let wait = |number: usize| -> JoinHandle<()> {
            let (stage, order) = (stage.clone(), order.clone());
            spawn_local(async move {
                assert_eq!(stage.get().await, Ok(200));
                order.borrow_mut().push_back(number);
            })
        };
        let waiting = [wait(1), wait(2), wait(3)];
        settle().await;
        assert_eq!((server.connections.get(), order.borrow().len()), (1, 0));
        assert_eq!([stage.metric("waiting"), stage.metric("connections")], [3.0, 1.0]);
        assert!(matches!(first.into_body().read(9).await, Read::Whole(_)));
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert_eq!(*order.borrow(), [1, 2, 3]);
        assert_eq!(server.connections.get(), 1, "all of them on the one connection there may be");
    });
}

#[test]
fn who_waits_too_long_is_turned_away_and_takes_nobodys_turn() {
    run(async {
        let server = serve("127.0.0.1:0".parse().unwrap(), ok);
        let stage = Rc::new(Stage { most: 1, ..Stage::new(&[server.address]) });
        let first = stage.send(Method::GET, Body::empty()).await.unwrap();
        let second = spawn_local({
            let stage = stage.clone();
            async move { stage.send(Method::GET, Body::empty()).await.map(|_| ()) }
        });
        settle().await;
        stage.expiry.pass(12);
        let error = second.await.unwrap().unwrap_err();
        assert!(matches!(error, UpstreamError::Full));
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!([stage.metric("waiting"), stage.metric("connects_total{result=\"full\"}")], [0.0, 1.0]);
        // One that breaks off frees its place as well.
        drop(first);
        assert_eq!(stage.get().await, Ok(200));
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn targets_that_are_not_used_are_forgotten() {
    run(async {
        let server = serve("127.0.0.1:0".parse().unwrap(), ok);
        let mut stage = Stage::new(&[server.address]);
        assert_eq!(stage.get().await, Ok(200));
        stage.sweep();
        assert_eq!(stage.pool.targets(), 1);
        stage.expiry.pass(605);
        stage.sweep();
        settle().await;
        stage.sweep();
        assert_eq!(stage.pool.targets(), 0);
        for port in 1..200 {
            stage.upstream.port = port;
            assert_eq!(stage.get().await, Ok(200));
        }
        assert_eq!(stage.pool.targets(), 64);
    });
}

/// What a server of HTTP/2 does with a request.
#[derive(Clone, Copy, Debug)]
enum Act2 {
    /// Answers with this text once it may.
    Say(&'static str),
    Refuse,
    Fail,
}

struct Server2 {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    seen: Rc<RefCell<Vec<Request<Bytes>>>>,
    /// Answers wait while this is set.
    hold: Rc<Cell<bool>>,
}

/// Serves HTTP/2 with so many streams at once; `act` is told the request's number.
async fn serve2(streams: u32, act: impl Fn(usize) -> Act2 + 'static) -> Server2 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server2 { address, connections: Rc::default(), seen: Rc::default(), hold: Rc::default() };
    let (connections, seen, hold) = (server.connections.clone(), server.seen.clone(), server.hold.clone());
    let act = Rc::new(act);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.set(connections.get() + 1);
            let mut builder = h2::server::Builder::new();
            let shaken = builder.max_concurrent_streams(streams).handshake::<_, Bytes>(stream).await;
            let Ok(mut connection) = shaken else { continue };
            let (seen, hold, act) = (seen.clone(), hold.clone(), act.clone());
            spawn_local(async move {
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (seen, hold, act) = (seen.clone(), hold.clone(), act.clone());
                    spawn_local(async move {
                        let (parts, mut body) = request.into_parts();
                        let mut bytes = Vec::new();
                        while let Some(Ok(data)) = body.data().await {
                            _ = body.flow_control().release_capacity(data.len());
                            bytes.extend_from_slice(&data);
                        }
                        if let Ok(Some(trailers)) = body.trailers().await {
                            bytes.extend_from_slice(format!("{trailers:?}").as_bytes());
                        }
                        seen.borrow_mut().push(Request::from_parts(parts, bytes.into()));
                        let number = seen.borrow().len();
                        until("the answer to be let go", || !hold.get()).await;
                        match act(number) {
                            Act2::Say(text) => {
                                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                                stream.send_data(text.into(), false).unwrap();
                                let trailers = [("x-last".parse().unwrap(), "told".parse().unwrap())];
                                stream.send_trailers(trailers.into_iter().collect()).unwrap();
                            }
                            Act2::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                            Act2::Fail => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                        }
                    });
                }
            });
        }
    });
    server
}

fn stage2(address: SocketAddr) -> Stage {
    let mut stage = Stage::new(&[address]);
    stage.upstream.h2c = true;
    stage
}

#[test]
fn one_connection_in_http_2_carries_many_requests() {
    run(async {
        let server = serve2(100, |_| Act2::Say("told")).await;
        let stage = Rc::new(stage2(server.address));
        server.hold.set(true);
        let ask = || {
            let stage = stage.clone();
            spawn_local(async move { stage.ask(Method::POST, Body::full("body")).await })
        };
        let asked: Vec<_> = (0..20).map(|_| ask()).collect();
        until("all of them to arrive", || server.seen.borrow().len() == 20).await;
        server.hold.set(false);
        for asked in asked {
            assert_eq!(asked.await.unwrap(), Ok(200));
        }
        assert_eq!(server.connections.get(), 1);
        let seen = server.seen.borrow();
        let request = &seen[0];
        assert_eq!((request.uri().to_string(), request.version()), ("http://crm/".into(), Version::HTTP_2));
        assert_eq!(request.headers().get("host"), None);
        assert_eq!(
            (request.headers()["content-length"].as_bytes(), &request.body()[..]),
            (&b"4"[..], &b"body"[..])
        );
    });
}

#[test]
fn a_full_connection_in_http_2_gets_another_beside_it() {
    run(async {
        let server = serve2(2, |_| Act2::Say("told")).await;
        let stage = Rc::new(stage2(server.address));
        assert_eq!(stage.get().await, Ok(200), "now it is known how many it takes");
        server.hold.set(true);
        let ask = || {
            let stage = stage.clone();
            spawn_local(async move { stage.get().await })
        };
        let asked: Vec<_> = (0..5).map(|_| ask()).collect();
        until("all of them to arrive", || server.seen.borrow().len() == 6).await;
        assert_eq!(server.connections.get(), 3);
        server.hold.set(false);
        for asked in asked {
            assert_eq!(asked.await.unwrap(), Ok(200));
        }
        stage.expiry.pass(60);
        stage.sweep();
        until("idle ones to be closed", || stage.line().open() == 0).await;
    });
}

/// What a request gets where the first answers are these, and how often it was seen.
fn check2(method: Method, acts: &'static [Act2], expected: (Result<u16, &str>, usize)) {
    run(async move {
        let server = serve2(100, move |number| *acts.get(number - 1).unwrap_or(&Act2::Say("told"))).await;
        let stage = stage2(server.address);
        let got = stage.ask(method.clone(), Body::full("body")).await;
        let got = got.as_ref().map(|status| *status).map_err(String::as_str);
        assert_eq!((got, server.seen.borrow().len()), expected, "{method} {acts:?}");
        let again = u32::try_from(expected.1 - 1).unwrap();
        assert_eq!(stage.metric("retries_total{reason=\"refused\"}"), f64::from(again));
    });
}

#[test]
fn what_was_refused_unseen_is_sent_again_and_nothing_else() {
    use Act2::{Fail, Refuse};
    let broken = Err("the upstream's answer broke off");
    for method in [Method::GET, Method::POST] {
        check2(method.clone(), &[], (Ok(200), 1));
        check2(method.clone(), &[Refuse], (Ok(200), 2));
        check2(method.clone(), &[Refuse, Refuse, Refuse], (Ok(200), 4));
        check2(method.clone(), &[Refuse, Refuse, Refuse, Refuse], (broken, 4));
        check2(method.clone(), &[Fail], (broken, 1));
        check2(method, &[Refuse, Fail], (broken, 2));
    }
}

/// A frame of HTTP/2.
async fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, [u8; 4])> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream_id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, stream_id))
}

async fn write_frame(stream: &mut TcpStream, kind: u8, flags: u8, id: [u8; 4], payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[..], &[kind, flags], &id].concat();
    _ = stream.write_all(&[&head, payload].concat()).await;
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

#[test]
fn streams_above_the_last_one_of_a_goaway_are_sent_again() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stage = stage2(listener.local_addr().unwrap());
        let serving = spawn_local(async move {
            let mut seen = Vec::new();
            for last in [Some([0, 0, 0, 0]), Some([0, 0, 0, 1]), None] {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_exact(&mut [0; 24]).await.unwrap();
                write_frame(&mut stream, SETTINGS, 0, [0; 4], &[]).await;
                while let Some((kind, _, id)) = read_frame(&mut stream).await {
                    if kind != HEADERS {
                        continue;
                    }
                    seen.push((last, id));
                    match last {
                        // This one was not looked at, or it was, and there will be no answer.
                        Some(last) => {
                            let payload = [&last[..], &[0; 4]].concat();
                            write_frame(&mut stream, GOAWAY, 0, [0; 4], &payload).await;
                            break;
                        }
                        // `:status: 200`, and the end.
                        None => write_frame(&mut stream, HEADERS, 5, id, &[0x88]).await,
                    }
                    if seen.len() == 4 {
                        return seen;
                    }
                }
            }
            seen
        });
        // Connections end in turn: not looked at, then looked at.
        let refused = stage.ask(Method::POST, Body::full("body")).await;
        assert_eq!(
            refused,
            Err("the upstream's answer broke off".into()),
            "the second one may have happened"
        );
        assert_eq!(stage.ask(Method::POST, Body::full("body")).await, Ok(200));
        drop(stage);
        assert!(serving.await.is_ok_and(|seen| seen.len() >= 3));
    });
}

#[test]
fn trailers_and_large_bodies_pass_in_http_2() {
    run(async {
        let server = serve2(100, |_| Act2::Say("told")).await;
        let stage = stage2(server.address);
        let (first, rest) = (vec![b'a'; 300_000], vec![b'b'; 300_000]);
        let body = Body::Resumed(Some(first.into()), Box::new(Body::full(rest)));
        let answer = stage.send(Method::POST, body).await.unwrap();
        let Read::Whole(whole) = answer.into_body().read(100).await else { panic!("no answer") };
        assert_eq!(&whole.bytes[..], b"told");
        assert_eq!(whole.trailers().unwrap()["x-last"], "told");
        assert_eq!(server.seen.borrow()[0].body().len(), 600_000);
    });
}

#[test]
fn a_request_that_leaves_http_takes_a_connection_in_http_1() {
    run(async {
        let server = serve("127.0.0.1:0".parse().unwrap(), ok);
        let stage = stage2(server.address);
        let request = Request::builder().uri("/").header("host", "crm").header("upgrade", "websocket");
        let request = request.body(Body::empty()).unwrap();
        let answer = stage.pool.send(request, None, stage.to()).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_11);
    });
}

#[test]
fn idle_connections_of_the_other_kind_make_room() {
    run(async {
        let server = serve("127.0.0.1:0".parse().unwrap(), ok);
        let stage = Stage { most: 1, ..stage2(server.address) };
        let wish = || {
            let request = Request::builder().uri("/").header("host", "crm").header("upgrade", "websocket");
            stage.pool.send(request.body(Body::empty()).unwrap(), None, stage.to())
        };
        let answer = wish().await.unwrap();
        assert!(matches!(answer.into_body().read(9).await, Read::Whole(_)));
        settle().await;
        // The server speaks no HTTP/2, but the request reached it.
        assert_eq!(stage.get().await, Err("the upstream's answer broke off".into()));
        assert_eq!(server.connections.get(), 2);
    });
}

/// A server that chooses among protocols, first come, first served, and says which it was.
async fn serve_tls(
    at: SocketAddr,
    protocols: &[&str],
    pair: rcgen::CertifiedKey<rcgen::KeyPair>,
) -> SocketAddr {
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config =
        config.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            if !is_http2 {
                spawn_local(async move { converse(stream, &Cell::new(0), &ok).await });
                continue;
            }
            let mut connection = h2::server::handshake(stream).await.unwrap();
            spawn_local(async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    _ = respond.send_response(Response::new(()), true);
                }
            });
        }
    });
    address
}

/// A certificate for `crm`, and what trusts it.
fn trust() -> (Config, Option<Arc<Originate>>, rcgen::CertifiedKey<rcgen::KeyPair>) {
    let pair = rcgen::generate_simple_self_signed(vec!["crm".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, pair.cert.pem()).unwrap();
    let yaml = format!("upstream: https://crm\nupstream_tls: {{ca: {}}}", ca.display());
    let config = Config::parse(&yaml, &|_| None).unwrap();
    let tls = TlsFiles::read(&config).build(&TlsSides::default()).unwrap().upstream;
    (config, tls, pair)
}

/// What requests in these versions are answered in, by a server that speaks these protocols, and over how many
/// connections.
fn check_tls(
    protocols: &'static [&'static str],
    asked: &'static [Version],
    expected: &'static [Version],
    open: usize,
) {
    run(async move {
        let (config, tls, pair) = trust();
        let stage = Stage::new(&[serve_tls("127.0.0.1:0".parse().unwrap(), protocols, pair).await]);
        let to = To { upstream: &config.upstream, tls: tls.as_ref(), ..stage.to() };
        let mut answered = Vec::new();
        for version in asked {
            let request = Request::builder().uri("/").header("host", "crm").version(*version);
            let answer = stage.pool.send(request.body(Body::empty()).unwrap(), None, to).await.unwrap();
            answered.push(answer.version());
            assert!(matches!(answer.into_body().read(9).await, Read::Whole(_)));
            settle().await;
        }
        assert_eq!(
            (answered.as_slice(), stage.pool.line(&to).open()),
            (expected, open),
            "{protocols:?} {asked:?}"
        );
    });
}

#[test]
fn over_tls_a_request_goes_on_in_what_it_came_in_where_the_other_side_agrees() {
    const ONE: Version = Version::HTTP_11;
    const TWO: Version = Version::HTTP_2;
    check_tls(&["h2", "http/1.1"], &[TWO, TWO, ONE, ONE], &[TWO, TWO, ONE, ONE], 2);
    check_tls(&["http/1.1"], &[TWO, TWO, ONE], &[ONE, ONE, ONE], 1);
    check_tls(&[], &[ONE, TWO], &[ONE, ONE], 2);
}

#[test]
fn an_address_that_says_nothing_leaves_the_next_one_its_share_of_the_time() {
    run(async {
        let (config, tls, pair) = trust();
        // It takes connections, and never shakes hands.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let first = silent.local_addr().unwrap();
        let second = SocketAddr::new([127, 0, 0, 2].into(), first.port());
        let stage = Stage::new(&[first, serve_tls(second, &[], pair).await]);
        let to = To { upstream: &config.upstream, tls: tls.as_ref(), ..stage.to() };
        let request = Request::builder().uri("/").header("host", "crm").body(Body::empty()).unwrap();
        let passing = async {
            let _open = silent.accept().await.unwrap();
            settle().await;
            stage.expiry.pass(6);
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            answer = stage.pool.send(request, None, to) => assert_eq!(answer.unwrap().status(), StatusCode::OK),
            never = passing => match never {},
        }
        let dialled = ["timeout", "connected"].map(|end| format!("connects_total{{result=\"{end}\"}}"));
        assert_eq!(dialled.map(|series| stage.metric(&series)), [1.0, 1.0]);
    });
}
