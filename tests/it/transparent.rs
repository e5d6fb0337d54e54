//! Traffic that is not ours comes out as it went in, and nothing of it is buffered.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use crate::support::{Client, Message, Running, Upstream, answer, wait};

#[test]
fn every_method_passes_with_its_headers_and_its_body() {
    let upstream = Upstream::start(|request| {
        let body = format!("{} seen", request.start);
        answer("200 OK", &[("X-Answer", "Kept  As-Is"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")], &body)
    });
    let sidecar = Running::start(upstream.address);
    let headers =
        [("X-CamelCase", "1"), ("x-lower", "2"), ("Cookie", "a=b"), ("X-CamelCase", "3"), ("Accept", "*/*")];
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
        let body: &[u8] =
            if matches!(method, "POST" | "PUT" | "PATCH") { b"{\"not\": \"ours\" }\n" } else { b"" };
        let path = "/some/path%20with/odd;things?q=%7B&r=a+b#c";
        let reply = sidecar.client().exchange(method, path, &headers, body);
        let request = upstream.requests().pop().unwrap();
        assert_eq!(request.start, format!("{method} {path} HTTP/1.1"));
        assert_eq!(request.body, body);
        let mut expected: Vec<(String, String)> = vec![("Host".into(), "crm.example.test".into())];
        expected.extend(headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !body.is_empty() {
            expected.push(("Content-Length".into(), body.len().to_string()));
        }
        assert_eq!(
            sorted(request.end_to_end()),
            sorted(expected),
            "{method}: names keep their case, nothing is added"
        );
        assert_eq!(reply.start, "HTTP/1.1 200 OK");
        let length = format!("{method} {path} HTTP/1.1 seen").len();
        assert_eq!(reply.body.len(), if method == "HEAD" { 0 } else { length });
        let expected = [("X-Answer", "Kept  As-Is"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")];
        let mut expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        expected.push(("Content-Length".into(), length.to_string()));
        assert_eq!(sorted(reply.end_to_end()), sorted(expected), "{method}");
    }
    assert_eq!(sidecar.metric(r#"leadwire_requests_total{route="unmatched",outcome="passed"}"#), 7.0);
    assert!(upstream.connections() <= 2, "each of the two workers keeps its upstream connection");
}

fn sorted(mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.sort();
    headers
}

#[test]
fn hop_by_hop_headers_stay_on_their_connection() {
    let upstream = Upstream::start(|_| {
        answer("200 OK", &[("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "5")], "ok")
    });
    let sidecar = Running::start(upstream.address);
    let headers = [
        ("Connection", "keep-alive, X-Mine"),
        ("X-Mine", "1"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
    ];
    let reply = sidecar.client().exchange("GET", "/", &headers, b"");
    let names = |message: &Message| {
        message.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&upstream.request()), "Host");
    assert_eq!(names(&reply), "Content-Length");
}

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() {
    let upstream = Upstream::start(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n".into()
    });
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    client.send(
        b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-In\r\nTE: trailers\r\n\r\n\
          5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-In: yes\r\n\r\n",
    );
    let reply = client.receive();
    let request = upstream.request();
    assert_eq!(request.body, b"hello world");
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    assert_eq!(request.header("content-length"), None);
    assert_eq!(request.trailers, [("X-In".to_owned(), "yes".to_owned())].map(lower));
    assert_eq!(reply.body, b"abcdefg");
    assert_eq!(
        reply.trailers.into_iter().map(lower).collect::<Vec<_>>(),
        [("x-sum".to_owned(), "7".to_owned())]
    );
}

fn lower((name, value): (String, String)) -> (String, String) {
    (name.to_ascii_lowercase(), value)
}

#[test]
fn informational_answers_pass_before_the_final_one() {
    let upstream = Upstream::start(|_| {
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".to_vec();
        [early, answer("200 OK", &[], "final")].concat()
    });
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    let early = client.exchange("GET", "/", &[], b"");
    assert_eq!((early.status(), early.header("link")), (103, Some("</a.css>")));
    assert_eq!(client.receive().text(), "final");
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.receive().status(), 100, "the client is told to go on before it sends its body");
    client.send(b"body");
    assert_eq!([client.receive(), client.receive()].map(|reply| reply.status()), [103, 200]);
    assert_eq!(upstream.requests()[1].body, b"body");
}

#[test]
fn an_answer_without_a_body_stays_without_one() {
    let upstream = Upstream::start(|request| match request.start.split('/').nth(1).unwrap() {
        "204 HTTP" => answer("204 No Content", &[], ""),
        _ => b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 42\r\n\r\n".into(),
    });
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    let empty = client.exchange("GET", "/204", &[], b"");
    assert_eq!(
        (empty.status(), empty.header("content-length"), empty.header("transfer-encoding")),
        (204, None, None)
    );
    let unchanged = client.exchange("GET", "/304", &[], b"");
    assert_eq!((unchanged.status(), unchanged.header("etag")), (304, Some("\"a\"")));
    assert_eq!(client.exchange("GET", "/204", &[], b"").status(), 204, "the connection goes on");
}

#[test]
fn a_body_passes_while_it_is_still_coming() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = Running::start(listener.local_addr().unwrap());
    let mut client = sidecar.client();
    client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf.");
    let (mut upstream, _) = listener.accept().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"half.") {
        let mut byte = [0];
        upstream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    // The upstream starts its answer before the request is over, and the client sees that start.
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfir").unwrap();
    let reply = Message::read_head(&mut client.stream).unwrap();
    let mut first = [0; 3];
    client.stream.read_exact(&mut first).unwrap();
    assert_eq!((reply.status(), &first), (200, b"fir"));
    client.send(b"other");
    let mut rest = [0; 5];
    upstream.read_exact(&mut rest).unwrap();
    upstream.write_all(b"st!").unwrap();
    client.stream.read_exact(&mut first).unwrap();
    assert_eq!((&rest, &first), (b"other", b"st!"));
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_served() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    for byte in b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" {
        client.send(&[*byte]);
    }
    assert_eq!(client.receive().text(), "ok");
    assert_eq!(upstream.request().body, b"abc");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|request| answer("200 OK", &[], &request.start));
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        [client.receive(), client.receive()].map(|reply| reply.text().to_owned()),
        ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"]
    );
}

#[test]
fn every_form_of_target_reaches_the_upstream_as_a_server_expects_it() {
    let upstream = Upstream::start(|request| answer("200 OK", &[], &request.start));
    let sidecar = Running::start(upstream.address);
    let forwarded = |target: &str| sidecar.client().exchange("OPTIONS", target, &[], b"").text().to_owned();
    assert_eq!(forwarded("http://crm.example.test/a?b=c"), "OPTIONS /a?b=c HTTP/1.1");
    assert_eq!(forwarded("http://crm.example.test?b=/c"), "OPTIONS /?b=/c HTTP/1.1");
    assert_eq!(forwarded("*"), "OPTIONS * HTTP/1.1");
    assert_eq!(forwarded("//double//slash/../dots"), "OPTIONS //double//slash/../dots HTTP/1.1");
    let tunnel = sidecar.client().exchange("CONNECT", "crm.example.test:443", &[], b"");
    assert_eq!((tunnel.status(), upstream.requests().len()), (400, 4));
}

#[test]
fn a_client_of_http_1_0_gets_its_answer_and_its_end() {
    let upstream = Upstream::start(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into()
    });
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    let reply = client.receive();
    assert_eq!((reply.status(), reply.text(), reply.header("transfer-encoding")), (200, "abc", None));
    let host = upstream.address.to_string();
    assert_eq!(upstream.request().header("host"), Some(host.as_str()), "HTTP/1.1 has to name one");
}

#[test]
fn an_answer_of_an_odd_coding_is_framed_for_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = Running::start(listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = std::io::BufReader::new(stream);
            Message::read(&mut stream, false).unwrap();
            // Its end is the connection's.
            let answer = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: identity\r\n\r\nodd";
            stream.get_mut().write_all(answer).unwrap();
        }
    });
    for path in ["/x", "/services/data/v61.0/sobjects/Lead"] {
        let mut client = sidecar.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
        let reply = client.receive();
        assert_eq!((reply.text(), reply.header("transfer-encoding")), ("odd", Some("chunked")), "{path}");
    }
}

#[test]
fn who_is_told_no_before_the_body_is_told_that_the_connection_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = Running::start(listener.local_addr().unwrap());
    let mut client = sidecar.client();
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let (mut upstream, _) = listener.accept().unwrap();
    upstream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").unwrap();
    let reply = client.receive();
    assert_eq!((reply.status(), reply.header("connection")), (401, Some("close")));
}

const LARGE: u64 = 100 << 20;

#[test]
fn a_hundred_mebibytes_stream_both_ways_without_being_buffered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (report, received) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = std::io::BufReader::new(stream);
        Message::read_head(&mut stream).unwrap();
        report
            .send(std::io::copy(&mut Read::by_ref(&mut stream).take(LARGE), &mut std::io::sink()).unwrap())
            .unwrap();
        let stream = stream.get_mut();
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes()).unwrap();
        std::io::copy(&mut std::io::repeat(7).take(LARGE), stream).unwrap();
    });
    let process = Process::start(address);
    let before = process.peak_kib();
    let mut client = Client::connect(process.listen.parse().unwrap());
    client.send(format!("PUT /file HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes());
    std::io::copy(&mut std::io::repeat(7).take(LARGE), client.stream.get_mut()).unwrap();
    assert_eq!(received.recv_timeout(Duration::from_secs(60)).unwrap(), LARGE);
    let reply = Message::read_head(&mut client.stream).unwrap();
    assert_eq!(reply.header("content-length"), Some(LARGE.to_string().as_str()));
    let down =
        std::io::copy(&mut Read::by_ref(&mut client.stream).take(LARGE), &mut std::io::sink()).unwrap();
    assert_eq!(down, LARGE);
    let after = process.peak_kib();
    println!("peak memory: {before} KiB before, {after} KiB after 100 MiB up and 100 MiB down");
    assert!(after < before + 16 * 1024, "peak memory grew from {before} to {after} KiB");
}

/// The binary, as it is run.
struct Process {
    child: Child,
    listen: String,
    _folder: tempfile::TempDir,
}

impl Process {
    fn start(upstream: std::net::SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Bound and let go: the process takes it a moment later.
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_leadwire"))
            .args(["run", "-c", concat!(env!("CARGO_MANIFEST_DIR"), "/config/leadwire.yaml")])
            .env("LEADWIRE_LISTEN", &listen)
            .env("LEADWIRE_UPSTREAM", format!("http://{upstream}"))
            .env("LEADWIRE_ADMIN", "127.0.0.1:0")
            .env("LEADWIRE_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/models"))
            .env("LEADWIRE_STATE", folder.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, listen, _folder: folder };
        wait("the port", || TcpStream::connect(&process.listen).is_ok());
        process
    }

    /// The most memory it ever had.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
