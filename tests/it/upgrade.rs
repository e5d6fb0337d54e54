//! WebSockets and their like pass: after the CRM agreed, bytes go both ways.

use std::{
    io::{BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use crate::support::{CONFIG, Message, Running, Upstream, answer};

pub const HANDSHAKE: &str = "GET /websocket HTTP/1.1\r\nHost: crm\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Other: kept\r\n\r\n";

/// A CRM that agrees to every upgrade and then says everything back in upper case. Returns each handshake.
fn shouting() -> (SocketAddr, std::sync::mpsc::Receiver<Message>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, handshakes) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let Some(handshake) = Message::read_head(&mut stream) else { return };
                _ = seen.send(handshake);
                let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
                stream.get_mut().write_all(agreed.as_bytes()).unwrap();
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    let said = bytes[..read].to_ascii_uppercase();
                    if stream.get_mut().write_all(&said).is_err() {
                        return;
                    }
                }
                stream.get_mut().write_all(b" bye").unwrap();
                _ = stream.get_mut().shutdown(Shutdown::Both);
            });
        }
    });
    (address, handshakes)
}

fn read_exactly(stream: &mut BufReader<TcpStream>, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn bytes_go_both_ways_once_the_crm_agreed() {
    let (address, handshakes) = shouting();
    let sidecar = Running::start(address);
    let mut client = sidecar.client();
    client.send(format!("{HANDSHAKE}early").as_bytes());
    let head = Message::read_head(&mut client.stream).unwrap();
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    let header = |name| head.header(name).unwrap().to_owned();
    assert_eq!([header("connection"), header("upgrade")], ["Upgrade", "websocket"]);
    assert_eq!(header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let asked = handshakes.recv().unwrap();
    assert_eq!((asked.header("upgrade"), asked.header("x-other")), (Some("websocket"), Some("kept")));

    assert_eq!(read_exactly(&mut client.stream, 10), "helloEARLY", "what came with either head is not lost");
    let long = "x".repeat(300_000);
    let mut writer = client.stream.get_mut().try_clone().unwrap();
    let sent = long.clone();
    let writing = thread::spawn(move || {
        writer.write_all(sent.as_bytes()).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(read_exactly(&mut client.stream, long.len()), long.to_ascii_uppercase());
    writing.join().unwrap();
    let mut last = String::new();
    client.stream.read_to_string(&mut last).unwrap();
    assert_eq!(last, " bye", "a half-closed tunnel still speaks the other way");
    assert_eq!(sidecar.metric(r#"leadwire_requests_total{route="unmatched",outcome="passed"}"#), 1.0);
}

#[test]
fn a_crm_that_does_not_agree_answers_as_usual() {
    let upstream = Upstream::start(|_| answer("426 Upgrade Required", &[("X-Why", "no")], "no"));
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    for _ in 0..2 {
        client.send(HANDSHAKE.as_bytes());
        let reply = client.receive();
        assert_eq!((reply.status(), reply.header("x-why"), reply.text()), (426, Some("no"), "no"));
    }
}

#[test]
fn http_2_does_not_slip_past_as_an_upgrade() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "plain"));
    let sidecar = Running::start(upstream.address);
    for wish in [": h2c", ": h2c, websocket", ": websocket, H2C", ": h2\r\nHTTP2-Settings: AAMAAABk"] {
        let mut client = sidecar.client();
        client.send(HANDSHAKE.replace(": websocket", wish).as_bytes());
        assert_eq!(client.receive().text(), "plain", "{wish}");
        let request = upstream.requests().pop().unwrap();
        assert_eq!((request.header("upgrade"), request.header("http2-settings")), (None, None), "{wish}");
    }
}

#[test]
fn a_lead_does_not_slip_past_as_an_upgrade() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "plain"));
    let sidecar = Running::start(upstream.address);
    let mut client = sidecar.client();
    let handshake = HANDSHAKE.replace("GET /websocket", "POST /services/data/v61.0/sobjects/Lead");
    client.send(handshake.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\n{}").as_bytes());
    assert!(client.receive().header("leadwire").is_some(), "it was looked at");
    assert_eq!(upstream.request().header("upgrade"), None);
}

#[test]
fn a_handshake_with_a_whole_url_asks_for_its_path() {
    let (address, handshakes) = shouting();
    let sidecar = Running::start(address);
    let mut client = sidecar.client();
    client.send(HANDSHAKE.replace(" /websocket", " http://crm/websocket").as_bytes());
    assert_eq!(Message::read_head(&mut client.stream).unwrap().status(), 101);
    assert_eq!(handshakes.recv().unwrap().start, "GET /websocket HTTP/1.1");
}

#[test]
fn a_drain_waits_for_tunnels_no_longer_than_it_may() {
    let (address, _handshakes) = shouting();
    let config = CONFIG.replace("drain: 30s", "drain: 300ms");
    assert_ne!(config, CONFIG);
    let sidecar = Running::with(address, &config, |_| {});
    let mut client = sidecar.client();
    client.send(HANDSHAKE.as_bytes());
    assert_eq!(Message::read_head(&mut client.stream).unwrap().status(), 101);
    assert_eq!(read_exactly(&mut client.stream, 5), "hello");
    let started = Instant::now();
    drop(sidecar);
    assert!(started.elapsed().as_millis() >= 300, "a tunnel in use is not cut at once");
    let mut rest = Vec::new();
    _ = client.stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "cut");
}
