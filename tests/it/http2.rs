//! Clients that speak HTTP/2: leads are scored as over HTTP/1.1, and the CRM sees HTTP/1.1.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, runtime::Runtime};

use crate::support::{
    CONFIG, CREATE, LEAD, Running, Upstream, answer, copy_folder, created,
    http2::{self as wire, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, block},
    shipped_model,
    tls::Ca,
    wait,
};

type Sent = BoxBody<Bytes, std::convert::Infallible>;

/// hyper's own client on one connection.
struct Client {
    runtime: Runtime,
    sender: http2::SendRequest<Sent>,
    connection: tokio::task::JoinHandle<()>,
}

/// An answer with all that came.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        Self::over(async move { TcpStream::connect(address).await.unwrap() })
    }

    fn over<S>(stream: impl Future<Output = S>) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sender, connection) = runtime.block_on(async {
            let io = TokioIo::new(stream.await);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            (sender, tokio::spawn(async { _ = connection.await }))
        });
        Self { runtime, sender, connection }
    }

    fn exchange(&mut self, request: Request<Sent>) -> Reply {
        let answer = self.sender.send_request(request);
        self.runtime.block_on(async { heard(answer.await.unwrap()).await })
    }

    fn post(&mut self, path: &str, body: &str) -> Reply {
        let request = Request::post(format!("http://crm.example.test{path}"))
            .header("content-type", "application/json");
        self.exchange(request.body(full(body)).unwrap())
    }
}

/// A body of no known length.
struct Pieces(VecDeque<Frame<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

async fn heard(answer: Response<hyper::body::Incoming>) -> Reply {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes(), trailers }
}

fn full(body: &str) -> Sent {
    Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed()
}

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("http://crm.example.test{path}"))
}

#[test]
fn leads_are_scored_and_written_to_as_over_http_1() {
    let config = CONFIG.replace("      request: []", "      request: [{at: /Lead_Score__c, value: points}]");
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, &config, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    let before = sidecar.post(CREATE, LEAD);
    let mut client = Client::connect(sidecar.listen);
    for _ in 0..3 {
        let reply = client.post(CREATE, LEAD);
        assert_eq!((reply.status, reply.header("leadwire")), (201, Some("scored")));
        assert_eq!(reply.header("x-lead-score"), before.header("x-lead-score"));
        assert_eq!(reply.text(), before.text());
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    let one = |protocol| sidecar.metric(&format!("leadwire_connections_total{{protocol=\"{protocol}\"}}"));
    assert_eq!((one("http1"), one("http2")), (1.0, 1.0));
    let (log, _folder) = sidecar.stop();
    assert_eq!(log.scores_of("00Q1").unwrap().len(), 4);
}

#[test]
fn the_crm_sees_http_1() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::start(upstream.address);
    let mut client = Client::connect(sidecar.listen);
    let check =
        |client: &mut Client, request: Request<Sent>, start: &str, headers: &[(&str, &str)], body: &str| {
            assert_eq!(client.exchange(request).text(), "ok");
            let seen = upstream.requests().pop().unwrap();
            let mut expected: Vec<(String, String)> =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            expected.sort_by_key(|(name, _)| name.to_ascii_lowercase());
            assert_eq!((seen.start.as_str(), std::str::from_utf8(&seen.body).unwrap()), (start, body));
            assert_eq!(seen.end_to_end(), expected);
        };
    let host = ("host", "crm.example.test");
    check(
        &mut client,
        get("/a?q=%7B")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .body(full(""))
            .unwrap(),
        "GET /a?q=%7B HTTP/1.1",
        &[host, ("cookie", "a=1; b=2"), ("te", "trailers")],
        "",
    );
    check(
        &mut client,
        Request::put("http://crm.example.test/b").body(full("hello")).unwrap(),
        "PUT /b HTTP/1.1",
        &[host, ("content-length", "5")],
        "hello",
    );
    let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("5"))]);
    let frames = [Frame::data(Bytes::from("hel")), Frame::data(Bytes::from("lo")), Frame::trailers(sum)];
    let streamed = Pieces(frames.into()).boxed();
    let streamed =
        Request::put("http://crm.example.test/c").header("trailer", "x-sum").body(streamed).unwrap();
    check(
        &mut client,
        streamed,
        "PUT /c HTTP/1.1",
        &[host, ("trailer", "x-sum"), ("Transfer-Encoding", "chunked")],
        "hello",
    );
    assert_eq!(upstream.requests().pop().unwrap().trailers, [("x-sum".to_owned(), "5".to_owned())]);
}

#[test]
fn answers_come_back_without_what_belongs_to_http_1() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                   Trailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n";
    let upstream = Upstream::start(move |request| match request.start.split(' ').nth(1).unwrap() {
        "/chunked" => chunked.into(),
        "/none" => answer("204 No Content", &[], ""),
        "/same" => b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 9\r\n\r\n".into(),
        _ => answer("200 OK", &[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], "twelve bytes"),
    });
    let sidecar = Running::start(upstream.address);
    let mut client = Client::connect(sidecar.listen);
    let mut check = |method: &str, path: &str, status: u16, body: &str, headers: &[&str]| {
        let request = get(path).method(method).body(full("")).unwrap();
        let reply = client.exchange(request);
        assert_eq!((reply.status, reply.text()), (status, body), "{method} {path}");
        let mut found: Vec<String> = reply
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        found.sort();
        assert_eq!(found, headers, "{method} {path}");
        reply.trailers
    };
    let plain = ["content-length: 12", "set-cookie: a=1", "set-cookie: b=2"];
    check("GET", "/", 200, "twelve bytes", &plain);
    check("HEAD", "/", 200, "", &plain);
    check("GET", "/none", 204, "", &[]);
    check("GET", "/same", 304, "", &["content-length: 9", "etag: \"1\""]);
    let trailers = check("GET", "/chunked", 200, "abc", &["trailer: X-Sum"]).unwrap();
    assert_eq!(trailers.get("x-sum").unwrap(), "3");
}

#[test]
fn many_requests_share_a_connection_and_none_waits_for_another() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |request| {
        if request.start.contains("/slow") {
            _ = gone.lock().unwrap().recv();
        }
        answer("200 OK", &[], &"x".repeat(100_000))
    });
    let sidecar = Running::start(upstream.address);
    let mut client = Client::connect(sidecar.listen);
    let slow = client.sender.send_request(get("/slow").body(full("")).unwrap());
    for _ in 0..50 {
        assert_eq!(client.exchange(get("/").body(full("")).unwrap()).body.len(), 100_000);
    }
    assert_eq!(sidecar.metric("leadwire_connections "), 1.0);
    go.send(()).unwrap();
    assert_eq!(client.runtime.block_on(async { heard(slow.await.unwrap()).await }).status, 200);
}

#[test]
fn a_large_body_goes_up_and_comes_down() {
    let upstream =
        Upstream::start(|request| answer("200 OK", &[], std::str::from_utf8(&request.body).unwrap()));
    let sidecar = Running::start(upstream.address);
    let mut client = Client::connect(sidecar.listen);
    let large = "0123456789abcdef".repeat(1 << 18);
    assert!(client.post("/echo", &large).text() == large);
}

#[test]
fn over_tls_clients_choose_by_alpn() {
    let ca = Ca::new("own");
    let folder = tempfile::tempdir().unwrap();
    let pair = ca.issue(&["crm.test"]).write(folder.path());
    let config = format!("tls: {{cert: {0}/tls.crt, key: {0}/tls.key}}\n{CONFIG}", pair.display());
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = Running::with(upstream.address, &config, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    let (listen, trusting) = (sidecar.listen, ca.client(rustls::ALL_VERSIONS, None));
    let connect = |protocols: &[&[u8]]| {
        let mut config = (*trusting).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        async move {
            let stream = TcpStream::connect(listen).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            connector.connect("crm.test".try_into().unwrap(), stream).await
        }
    };
    let mut client = Client::over(async { connect(&[b"h2", b"http/1.1"]).await.unwrap() });
    assert_eq!(client.post(CREATE, LEAD).header("leadwire"), Some("scored"));
    for (offered, chosen) in [
        (&[b"http/1.1".as_slice(), b"h2"][..], Some(b"h2".as_slice())),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = client.runtime.block_on(connect(offered)).unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
    }
    assert!(client.runtime.block_on(connect(&[b"spdy/3"])).is_err());
}

#[test]
fn at_the_drain_open_requests_finish_and_the_connection_ends() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |_| {
        _ = gone.lock().unwrap().recv();
        answer("200 OK", &[], "late")
    });
    let sidecar = Running::start(upstream.address);
    let mut frames = Frames::connect(sidecar.listen);
    frames.send(&request(1, "/").bytes());
    wait("the request to be on its way", || upstream.connections() == 1);
    let stopping = std::thread::spawn(move || drop(sidecar));
    let told = frames.next_of(&[GOAWAY]).unwrap();
    assert_eq!(told.code(), 0);
    let ping = frames.next_of(&[PING]).unwrap();
    frames.send(&wire::Frame::new(PING, 1, 0, ping.payload).bytes());
    let last = frames.next_of(&[GOAWAY]).unwrap();
    assert_eq!(last.payload[..4], [0, 0, 0, 1], "the last stream that is answered");
    go.send(()).unwrap();
    let data = frames.next_of(&[DATA, RST_STREAM]).unwrap();
    assert_eq!((data.kind, &*data.payload), (DATA, &b"late"[..]));
    assert_eq!(frames.next_of(&[HEADERS]), None, "the connection has ended");
    stopping.join().unwrap();
}

#[test]
fn an_idle_connection_is_told_to_go_and_a_working_one_is_not() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |_| {
        _ = gone.lock().unwrap().recv();
        answer("200 OK", &[], "late")
    });
    let config = CONFIG.replace("  idle: 10m\n", "  idle: 1s\n").replace("  head: 30s\n", "  head: 1s\n");
    let sidecar = Running::with(upstream.address, &config, |_| {});
    let mut working = Client::connect(sidecar.listen);
    let slow = working.sender.send_request(get("/").body(full("")).unwrap());
    working.runtime.block_on(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    });
    wait("the request to be on its way", || upstream.connections() == 1);
    let mut idle = Frames::connect(sidecar.listen);
    assert_eq!(idle.next_of(&[GOAWAY]).unwrap().code(), 0);
    // It does not answer, and is cut all the same.
    while idle.next().is_some() {}
    assert_eq!(sidecar.metric("leadwire_connections_cut_total{reason=\"idle\"}"), 1.0);
    // A preface that stops is a head that never ends.
    let mut half = sidecar.client();
    half.send(b"PRI * HTTP");
    wait("half a preface to be cut", || {
        sidecar.metric("leadwire_connections_cut_total{reason=\"head\"}") == 1.0
    });
    go.send(()).unwrap();
    assert_eq!(working.runtime.block_on(async { heard(slow.await.unwrap()).await }).text(), "late");
    assert!(!working.connection.is_finished());
}

fn request(stream: u32, path: &str) -> wire::Frame {
    let headers: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", path.as_bytes()), (b":authority", b"crm")];
    wire::Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, block(&headers))
}

#[test]
fn a_stream_that_stalls_or_takes_too_long_is_reset_and_the_others_go_on() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |request| match request.start.split(' ').nth(1).unwrap() {
        "/large" => answer("200 OK", &[], &"x".repeat(1 << 20)),
        "/never" => {
            _ = gone.lock().unwrap().recv();
            Vec::new()
        }
        _ => answer("200 OK", &[], "ok"),
    });
    for (limit, path, reason) in [("stall: 5m", "/large", "stall"), ("total: 1d", "/never", "total")] {
        let short = format!("  {}: 1s\n", limit.split(':').next().unwrap());
        let config = CONFIG.replace(&format!("  {limit}\n"), &short);
        assert_ne!(config, CONFIG);
        let sidecar = Running::with(upstream.address, &config, |_| {});
        let mut frames = Frames::connect(sidecar.listen);
        let started = Instant::now();
        // Its window is never opened again.
        frames.send(&request(1, path).bytes());
        let reset = frames.next_of(&[RST_STREAM, GOAWAY]).unwrap();
        assert_eq!((reset.kind, reset.stream), (RST_STREAM, 1), "{reason}");
        assert!(started.elapsed().as_secs() >= 1);
        assert_eq!(sidecar.metric(&format!("leadwire_connections_cut_total{{reason=\"{reason}\"}}")), 1.0);
        // What the first has taken of the connection's window stays taken.
        frames.send(&wire::Frame::new(8, 0, 0, 65_535u32.to_be_bytes()).bytes());
        frames.send(&request(3, "/").bytes());
        assert_eq!(frames.next_of(&[DATA, RST_STREAM, GOAWAY]).unwrap().payload, b"ok", "{reason}");
    }
    drop(go);
}

#[test]
fn a_head_over_the_limits_is_answered_with_431_and_the_connection_goes_on() {
    let config = CONFIG.replace("  headers: 512\n", "  headers: 16\n");
    let config = config.replace("  head_size: 128KiB\n", "  head_size: 8KiB\n");
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::with(upstream.address, &config, |_| {});
    let mut client = Client::connect(sidecar.listen);
    let mut check = |count: usize, length: usize, expected: u16| {
        let value = HeaderValue::from_bytes(&vec![b'v'; length]).unwrap();
        let request =
            (0..count).fold(get("/"), |request, index| request.header(format!("x-{index}"), &value));
        let reply = client.exchange(request.body(full("")).unwrap());
        assert_eq!(reply.status, expected, "{count} headers of {length} bytes");
    };
    check(15, 8, 200);
    check(17, 8, 431);
    check(1, 8 << 10, 431);
    // Over twice the limit the library answers, before all of it is held.
    check(1, 32 << 10, 431);
    check(1, 8, 200);
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(sidecar.metric("leadwire_heads_refused_total{protocol=\"http2\"}"), 2.0);
}

#[test]
fn a_client_that_takes_its_request_back_costs_the_crm_nothing_more() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::start(upstream.address);
    let mut frames = Frames::connect(sidecar.listen);
    let post: [(&[u8], &[u8]); 4] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", CREATE.as_bytes()),
        (b":authority", b"crm"),
    ];
    frames.send(&wire::Frame::new(HEADERS, END_HEADERS, 1, block(&post)).bytes());
    frames.send(&wire::Frame::new(DATA, 0, 1, b"{\"age__c\":".as_slice()).bytes());
    frames.send(&wire::Frame::new(RST_STREAM, 0, 1, 8u32.to_be_bytes()).bytes());
    frames.send(&request(3, "/").bytes());
    assert_eq!(frames.next_of(&[DATA, RST_STREAM]).unwrap().payload, b"ok");
    assert_eq!(upstream.request().start, "GET / HTTP/1.1");
}
