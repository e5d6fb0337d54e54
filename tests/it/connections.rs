//! Clients' connections have bounds: how many there are, and how long they may keep a place without a request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use crate::support::{
    CONFIG, CREATE, Client, LEAD, Running, Upstream, answer, copy_folder, created, shipped_model, wait,
};

fn start(upstream: SocketAddr, limits: &[(&str, &str)]) -> Running {
    let mut config = CONFIG.to_owned();
    for (shipped, limit) in limits {
        assert!(config.contains(&format!("  {shipped}\n")), "{shipped}");
        config = config.replace(&format!("  {shipped}\n"), &format!("  {limit}\n"));
    }
    Running::with(upstream, &config, |_| {})
}

fn is_cut(client: &mut Client) -> bool {
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).is_ok() && rest.is_empty()
}

fn cut(sidecar: &Running, reason: &str) -> f64 {
    sidecar.metric(&format!("leadwire_connections_cut_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_head_that_never_ends_is_cut_and_a_request_on_its_way_is_not() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::start(move |request| {
        if request.start.starts_with("GET /slow") {
            _ = gone.lock().unwrap().recv();
        }
        answer("200 OK", &[], "late")
    });
    let sidecar = start(upstream.address, &[("head: 30s", "head: 1s"), ("idle: 10m", "idle: 1s")]);
    let mut slow = sidecar.client();
    slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut drip = sidecar.client();
    drip.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Endless: ");
    // A letter now and then buys no more time.
    let mut stream = drip.stream.get_ref().try_clone().unwrap();
    let dripping = thread::spawn(move || {
        while stream.write_all(b"a").is_ok() {
            thread::park_timeout(std::time::Duration::from_millis(50));
        }
    });
    wait("the head to be cut", || cut(&sidecar, "head") == 1.0);
    dripping.join().unwrap();
    go.send(()).unwrap();
    assert_eq!(slow.receive().text(), "late", "as long as the CRM takes, it is not idle");
    wait("the idle connection to be cut", || cut(&sidecar, "idle") == 1.0);
    assert!(is_cut(&mut slow));
    wait("both to be gone", || sidecar.metric("leadwire_connections ") == 0.0);
}

#[test]
fn an_answer_that_streams_slowly_is_not_idle() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").unwrap();
        _ = gone.recv();
        stream.write_all(b"cd").unwrap();
    });
    let sidecar = start(address, &[("idle: 10m", "idle: 1s")]);
    let mut idle = sidecar.client();
    let mut client = sidecar.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // The other connection is cut for want of a request, so this one would have been too.
    assert!(is_cut(&mut idle));
    go.send(()).unwrap();
    assert_eq!(client.receive().text(), "abcd");
}

#[test]
fn beyond_the_limit_connections_wait_until_there_is_room() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    // Two workers share it.
    let sidecar = start(upstream.address, &[("connections: 10000", "connections: 2")]);
    let mut clients: Vec<Client> = (0..8).map(|_| sidecar.client()).collect();
    wait("both places to be taken", || sidecar.metric("leadwire_connections ") >= 1.0);
    clients
        .iter_mut()
        .for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    for client in &mut clients {
        assert_eq!(client.receive().text(), "ok", "nobody is turned away");
    }
    assert!(sidecar.metric("leadwire_connections ") <= 2.0);
}

#[test]
fn under_overload_scoring_goes_first_and_traffic_never() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::start(move |request| {
        if request.header("x-wait").is_some() {
            _ = gone.lock().unwrap().recv();
        }
        created("00Q1")
    });
    let config = CONFIG.replace("  in_flight: 1000\n", "  in_flight: 1\n");
    let sidecar = Running::with(upstream.address, &config, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    let post = |client: &mut Client, wait: &str| {
        let head = format!("POST {CREATE} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{wait}");
        client.send(format!("{head}Content-Length: {}\r\n\r\n{LEAD}", LEAD.len()).as_bytes());
    };
    // Each of the two workers has one place; some connection shares a worker with one that waits.
    let mut waiting: Vec<Client> = (0..8).map(|_| sidecar.client()).collect();
    waiting.iter_mut().for_each(|client| post(client, "X-Wait: 1\r\n"));
    wait("all to be on their way", || upstream.connections() >= 8);
    waiting.iter().for_each(|_| go.send(()).unwrap());
    let told: Vec<String> = waiting
        .iter_mut()
        .map(|client| {
            let reply = client.receive();
            assert_eq!(reply.status(), 201);
            reply.header("leadwire").unwrap().to_owned()
        })
        .collect();
    let count = |what: &str| told.iter().filter(|told| *told == what).count();
    let scored = count("scored");
    assert!((1..=2).contains(&scored), "{told:?}");
    assert_eq!(count("skipped;reason=overload"), 8 - scored, "{told:?}");
    let mut client = sidecar.client();
    post(&mut client, "");
    assert_eq!(client.receive().header("leadwire"), Some("scored"), "places are free again");
}
