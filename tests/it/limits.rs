//! What takes too long or is too much: cut or refused, counted, and never in the way of others.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Mutex, mpsc},
    thread,
};

use crate::{
    support::{
        CONFIG, CREATE, Client, LEAD, Message, Running, Upstream, answer, copy_folder, created,
        shipped_model, wait,
    },
    upgrade::HANDSHAKE,
};

/// The shipped configuration with other limits, such as `stall: 1s`.
fn config(limits: &[&str]) -> String {
    limits.iter().fold(CONFIG.to_owned(), |config, limit| {
        let start = format!("  {}:", limit.split(':').next().unwrap());
        let line = CONFIG.lines().find(|line| line.starts_with(&start)).unwrap();
        config.replace(&format!("{line}\n"), &format!("  {limit}\n"))
    })
}

fn start(upstream: SocketAddr, limits: &[&str]) -> Running {
    Running::with(upstream, &config(limits), |models| copy_folder(&shipped_model(), &models.join("lead/1")))
}

fn cut(sidecar: &Running, reason: &str) -> f64 {
    sidecar.metric(&format!("leadwire_connections_cut_total{{reason=\"{reason}\"}}"))
}

/// Reads what is still to come; whether the connection ends then.
fn ends(client: &mut Client) -> bool {
    let ended = client.stream.read_to_end(&mut Vec::new());
    ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn a_head_over_the_limits_is_answered_with_431() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = start(upstream.address, &["headers: 16", "head_size: 8KiB"]);
    let check = |count: usize, length: usize, expected: u16| {
        let header = format!("X: {}\r\n", "v".repeat(length));
        let mut client = sidecar.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", header.repeat(count)).as_bytes());
        assert_eq!(client.receive().status(), expected, "{count} headers of {length} bytes");
    };
    check(15, 8, 200);
    check(1, 7 << 10, 200);
    check(16, 8, 431);
    check(1, 8 << 10, 431);
    assert_eq!(upstream.requests().len(), 2);
    let refused = || sidecar.metric("leadwire_heads_refused_total{protocol=\"http1\"}");
    wait("both to be counted", || refused() == 2.0);
}

/// A CRM that says some bytes to each request's head and then nothing more.
fn saying(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            _ = stream.read(&mut [0; 1024]);
            _ = stream.write_all(bytes);
            open.push(stream);
        }
    });
    address
}

#[test]
fn what_does_not_move_is_cut() {
    let cases: [(&str, &'static [u8], &str); 4] = [
        ("an upload", b"", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345"),
        (
            "a chunked upload",
            b"",
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        ),
        (
            "an answer",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "a tunnel",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
            HANDSHAKE,
        ),
    ];
    for (what, said, request) in cases {
        let sidecar = start(saying(said), &["stall: 1s"]);
        let mut client = sidecar.client();
        client.send(request.as_bytes());
        assert!(ends(&mut client), "{what}");
        assert_eq!(cut(&sidecar, "stall"), 1.0, "{what}");
        wait("it to be gone", || sidecar.metric("leadwire_connections ") == 0.0);
    }
}

#[test]
fn a_reader_that_stops_reading_is_cut_and_a_wait_for_the_answer_is_not() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |request| {
        if request.start.contains("/slow") {
            _ = gone.lock().unwrap().recv();
            return answer("200 OK", &[], "late");
        }
        answer("200 OK", &[], &"x".repeat(64 << 20))
    });
    let sidecar = start(upstream.address, &["stall: 1s"]);
    let mut waiting = sidecar.client();
    waiting.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait("the first to be on its way", || upstream.connections() == 1);
    let mut client = sidecar.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait("the reader to be cut", || cut(&sidecar, "stall") == 1.0);
    go.send(()).unwrap();
    assert_eq!(waiting.receive().text(), "late", "the CRM may take as long as limits.answer");
    assert_eq!(cut(&sidecar, "stall"), 1.0);
}

#[test]
fn an_exchange_has_an_end_and_a_tunnel_has_none() {
    let sidecar = start(saying(b""), &["total: 1s"]);
    let mut client = sidecar.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(ends(&mut client));
    assert_eq!(cut(&sidecar, "total"), 1.0);

    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let sidecar = start(saying(agreed), &["total: 1s", "idle: 1s"]);
    let mut tunnel = sidecar.client();
    tunnel.send(HANDSHAKE.as_bytes());
    assert_eq!(Message::read_head(&mut tunnel.stream).unwrap().status(), 101);
    assert!(ends(&mut sidecar.client()), "an idle connection that began later");
    assert_eq!((cut(&sidecar, "total"), cut(&sidecar, "idle")), (0.0, 1.0));
    wait("the tunnel to be the only one", || sidecar.metric("leadwire_connections ") == 1.0);
}

#[test]
fn a_body_that_comes_too_slowly_goes_on_unscored_and_gives_up_its_place() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = start(upstream.address, &["read: 100ms", "in_flight: 1"]);
    let (first, rest) = LEAD.as_bytes().split_at(100);
    let mut slow: Vec<Client> = (0..8).map(|_| sidecar.client()).collect();
    for (index, client) in slow.iter_mut().enumerate() {
        client.send(
            format!("POST {CREATE} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n").as_bytes(),
        );
        match index % 2 {
            0 => client.send(format!("Content-Length: {}\r\n\r\n", LEAD.len()).as_bytes()),
            _ => client.send(b"Transfer-Encoding: chunked\r\n\r\n64\r\n"),
        }
        client.send(first);
    }
    wait("all to be sent on", || upstream.connections() == 8);
    // Every worker's only place is free, although none of the bodies has ended.
    for _ in 0..4 {
        assert_eq!(sidecar.post(CREATE, LEAD).header("leadwire"), Some("scored"));
    }
    for (index, client) in slow.iter_mut().enumerate() {
        match index % 2 {
            0 => client.send(rest),
            _ => client
                .send(&[format!("\r\n{:x}\r\n", rest.len()).as_bytes(), rest, b"\r\n0\r\n\r\n"].concat()),
        }
        let reply = client.receive();
        let told = reply.header("leadwire").unwrap();
        assert_eq!(reply.status(), 201);
        assert!(matches!(told, "skipped;reason=slow" | "skipped;reason=overload"), "{told}");
    }
    assert!(upstream.requests().iter().all(|request| request.body == LEAD.as_bytes()), "nothing is lost");
    assert!(sidecar.metric(r#"leadwire_skipped_total{route="lead.create",reason="slow"}"#) >= 1.0);
}

#[test]
fn an_answer_that_comes_too_slowly_goes_on_as_it_came() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, gone) = mpsc::channel::<()>();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = std::io::BufReader::new(stream);
        Message::read(&mut stream, false).unwrap();
        let stream = stream.get_mut();
        stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"id\":").unwrap();
        _ = gone.recv();
        stream.write_all(b"\"00Q1\"}").unwrap();
    });
    let sidecar = start(address, &["read: 100ms"]);
    let mut client = sidecar.client();
    client.send(format!("POST {CREATE} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{LEAD}", LEAD.len()).as_bytes());
    let mut reply = Message::read_head(&mut client.stream).unwrap();
    go.send(()).unwrap();
    reply.read_body(&mut client.stream, false);
    assert_eq!((reply.status(), reply.text()), (201, r#"{"id":"00Q1"}"#));
    assert_eq!(reply.header("leadwire"), Some("scored"), "its head says that the lead was taken");
}
