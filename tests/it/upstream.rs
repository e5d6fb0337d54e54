//! The side towards the CRM, through the whole sidecar: how many connections, what is sent again, HTTP/2.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use crate::support::{
    CONFIG, CREATE, Client, LEAD, Running, Upstream, answer, copy_folder, created, shipped_model, wait,
};

/// A CRM that speaks nothing but HTTP/2, and keeps the heads it saw.
fn http2_crm() -> (SocketAddr, Arc<Mutex<Vec<http::request::Parts>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let keep = seen.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        listener.set_nonblocking(true).unwrap();
        local.block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let keep = keep.clone();
                tokio::task::spawn_local(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::task::spawn_local(create(request, respond, keep.clone()));
                    }
                });
            }
        });
    });
    (address, seen)
}

async fn create(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    keep: Arc<Mutex<Vec<http::request::Parts>>>,
) {
    let (parts, mut body) = request.into_parts();
    while let Some(Ok(data)) = body.data().await {
        _ = body.flow_control().release_capacity(data.len());
    }
    keep.lock().unwrap().push(parts);
    let answer = http::Response::builder()
        .status(201)
        .header("content-type", "application/json")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2");
    let mut stream = respond.send_response(answer.body(()).unwrap(), false).unwrap();
    stream.send_data(r#"{"id":"00Q1","success":true,"errors":[]}"#.into(), true).unwrap();
}

#[test]
fn a_forged_score_does_not_reach_a_crm_in_http_2_though_it_is_all_there_is() {
    let (address, seen) = http2_crm();
    let config = CONFIG.replace("upstream: http://127.0.0.1:8069", "upstream: h2c://127.0.0.1:8069");
    let sidecar = Running::with(address, &config, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    let mut client = sidecar.client();
    client.send(format!("POST {CREATE} HTTP/1.0\r\nX-Lead-Score: 100\r\n\r\n").as_bytes());
    assert_eq!(client.receive().status(), 201);
    let head = seen.lock().unwrap().pop().unwrap();
    assert_eq!((head.uri.path(), head.headers.get("x-lead-score")), (CREATE, None));
}

#[test]
fn a_lead_is_scored_on_its_way_to_a_crm_in_http_2() {
    let (address, seen) = http2_crm();
    let config = CONFIG.replace("upstream: http://127.0.0.1:8069", "upstream: h2c://127.0.0.1:8069");
    let sidecar = Running::with(address, &config, |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    });
    let mut client = sidecar.client();
    let headers = [
        ("Content-Type", "application/json"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("TE", "trailers"),
        ("Cookie", "a=1; b=2"),
        ("X-Other", "kept"),
    ];
    for _ in 0..2 {
        let reply = client.exchange("POST", CREATE, &headers, LEAD.as_bytes());
        assert_eq!(
            (reply.start.as_str(), reply.header("leadwire")),
            ("HTTP/1.1 201 Created", Some("scored"))
        );
        assert!(reply.text().contains("\"Lead_Score__c\""), "{}", reply.text());
        let cookies: Vec<_> =
            reply.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).collect();
        assert_eq!(cookies.len(), 2);
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    let head = &seen[0];
    assert_eq!(head.uri.to_string(), format!("http://crm.example.test{CREATE}"));
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!([header("host"), header("connection"), header("x-hop")], [None; 3]);
    assert_eq!(
        [header("te"), header("cookie"), header("x-other")],
        [Some("trailers"), Some("a=1; b=2"), Some("kept")]
    );
    assert_eq!(sidecar.metric(r#"leadwire_upstream_connects_total{result="connected"}"#), 1.0);
}

#[test]
fn beyond_the_bound_a_request_waits_and_is_then_turned_away() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |_| {
        _ = gone.lock().unwrap().recv();
        created("00Q1")
    });
    // Each of the two workers has one.
    let config = CONFIG.replace("  upstream: 1024\n", "  upstream: 2\n");
    let config = config.replace("  connect: 5s\n", "  connect: 200ms\n");
    let sidecar = Running::with(upstream.address, &config, |_| {});
    let mut clients: Vec<Client> = (0..6).map(|_| sidecar.client()).collect();
    clients.iter_mut().for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    let full = || sidecar.metric(r#"leadwire_upstream_connects_total{result="full"}"#);
    wait("the others to be turned away", || full() >= 4.0);
    assert!(upstream.connections() <= 2);
    assert!(sidecar.metric("leadwire_upstream_connections ") <= 2.0);
    (0..2).for_each(|_| go.send(()).unwrap());
    let statuses: Vec<u16> = clients
        .iter_mut()
        .map(|client| {
            let reply = client.receive();
            let failed = (reply.status() == 503).then_some("failed");
            assert_eq!(reply.header("leadwire"), failed);
            reply.status()
        })
        .collect();
    assert!(statuses.iter().all(|status| [201, 503].contains(status)), "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 503).count() as f64, full(), "{statuses:?}");
    assert_eq!(sidecar.metric("leadwire_upstream_waiting "), 0.0);
    assert_eq!(sidecar.metric(r#"leadwire_requests_total{route="unmatched",outcome="failed"}"#), full());
}

#[test]
fn what_becomes_of_connections_is_counted() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::start(upstream.address);
    let open = || sidecar.metric("leadwire_upstream_connections ");
    let mut client = sidecar.client();
    assert_eq!(client.exchange("GET", "/", &[], b"").text(), "ok");
    assert_eq!(open(), 1.0);
    wait("it to be idle", || sidecar.metric("leadwire_upstream_connections_idle ") == 1.0);
    wait("it to be closed for that", || open() == 0.0);
    wait("that to be told", || sidecar.metric("leadwire_upstream_connections_idle ") == 0.0);

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = nobody.local_addr().unwrap();
    drop(nobody);
    sidecar.reconfigure(nowhere, CONFIG);
    let failed = || sidecar.metric(r#"leadwire_upstream_connects_total{result="failed"}"#);
    wait("the new upstream", || sidecar.client().exchange("GET", "/", &[], b"").status() == 502);
    assert!(failed() >= 1.0);
}
