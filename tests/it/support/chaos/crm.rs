//! The CRM: takes requests, compares them with what the script says was sent, answers and breaks as it says.

use std::{
    io::{BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use super::{
    http::{Broken, Message},
    script::{Exchange, Fault, Framing, Kind, Script, write},
    tally::{Tally, written},
};

/// A listening CRM. Its threads end with their connections.
pub struct Crm {
    pub address: SocketAddr,
    pub tally: Arc<Tally>,
}

impl Crm {
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, tally) = (listener.local_addr().unwrap(), Arc::new(Tally::new(script)));
        let shared = tally.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tally = shared.clone();
                thread::spawn(move || Talk { script, tally, stream: BufReader::new(stream) }.run());
            }
        });
        Self { address, tally }
    }
}

struct Talk {
    script: Script,
    tally: Arc<Tally>,
    stream: BufReader<TcpStream>,
}

impl Talk {
    fn run(mut self) {
        _ = self.stream.get_ref().set_nodelay(true);
        while let Some(true) = self.exchange() {}
    }

    /// Takes one request; whether the connection goes on.
    fn exchange(&mut self) -> Option<bool> {
        let mut request = Message::head(&mut self.stream).ok()?;
        let id = request.header("x-id").and_then(|id| id.parse().ok()).filter(|id| *id < self.script.count);
        let Some(id) = id else {
            let nobody = self.script.exchange(0);
            self.tally.wrong(&nobody, &format!("a request without a number: {:?}", request.start));
            return None;
        };
        let exchange = self.script.exchange(id);
        compare_heads(&exchange, &request, &self.tally);
        if exchange.fault == Fault::ResetInRequest {
            self.tally.arrived(&exchange, None);
            return self.reset();
        }
        let is_early = exchange.fault == Fault::Early;
        if is_early {
            self.answer(&exchange)?;
        } else if exchange.waits {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        match request.rest(&mut self.stream, false) {
            Ok(()) => {}
            // Whoever has its answer need not send the rest.
            Err(Broken::Cut) if is_early => return None,
            Err(broken) => {
                self.tally.wrong(&exchange, &format!("the request is {broken:?}"));
                return None;
            }
        }
        let points = self.compare_bodies(&exchange, &request.body);
        self.tally.arrived(&exchange, points);
        match exchange.fault {
            Fault::Early => Some(true),
            Fault::Refuses if points.is_some() => {
                let body = br#"[{"errorCode":"INVALID_FIELD"}]"#;
                let headers = [("Content-Type", "application/json".to_owned())];
                let (head, body) = write("HTTP/1.1 400 Bad Request", &headers, Framing::Length, body);
                self.send(&[head, body].concat())
            }
            _ => self.answer(&exchange),
        }
    }

    fn compare_bodies(&self, exchange: &Exchange, body: &[u8]) -> Option<u8> {
        let points = match exchange.kind {
            Kind::Create => written(&exchange.body, body),
            _ => (exchange.body == body).then_some(None),
        };
        if points.is_none() {
            let (sent, got) = (exchange.body.len(), body.len());
            self.tally
                .wrong(exchange, &format!("another body in the request: {sent} bytes sent, {got} here"));
        }
        points.flatten()
    }

    fn answer(&mut self, exchange: &Exchange) -> Option<bool> {
        let (answer, fault) = (&exchange.answer, exchange.fault);
        let mut headers = answer.headers.clone();
        if fault == Fault::Closes || answer.framing == Framing::End {
            headers.push(("Connection", "close".into()));
        }
        let start = format!("HTTP/1.1 {}", answer.status);
        let (head, body) = write(&start, &headers, answer.framing, &answer.coded());
        let has_body = exchange.method != "HEAD" && !answer.body.is_empty();
        let body = if has_body { body } else { Vec::new() };
        let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
        match fault {
            Fault::ResetBeforeHead => return self.reset(),
            Fault::EndBeforeHead => return None,
            Fault::Nonsense => {
                self.send(b"\x16\x03\x01 this is no HTTP\r\n\r\n");
                return None;
            }
            Fault::ResetInHead | Fault::EndInHead => self.send(&half(&head)),
            Fault::ResetInBody | Fault::EndInBody if has_body => self.send(&[head, half(&body)].concat()),
            // Until the sidecar hangs up.
            Fault::Silent => {
                _ = self.stream.read(&mut [0; 16]);
                return None;
            }
            Fault::Slow => {
                for byte in &head {
                    self.send(&[*byte])?;
                }
                self.send(&body)
            }
            _ => self.send(&[head, body].concat()),
        }?;
        match fault {
            Fault::ResetInHead => self.reset(),
            Fault::ResetInBody if has_body => self.reset(),
            Fault::EndInHead | Fault::Closes | Fault::Drops => None,
            Fault::EndInBody if has_body => None,
            _ if answer.framing == Framing::End => None,
            _ => Some(true),
        }
    }

    /// Whoever has hung up gets nothing more.
    fn send(&mut self, bytes: &[u8]) -> Option<bool> {
        self.stream.get_mut().write_all(bytes).ok().map(|()| true)
    }

    fn reset(&mut self) -> Option<bool> {
        _ = socket2::SockRef::from(self.stream.get_ref()).set_linger(Some(std::time::Duration::ZERO));
        None
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let lingers = socket2::SockRef::from(self.stream.get_ref()).linger();
        if lingers.is_ok_and(|linger| linger.is_none()) {
            // What has been sent arrives, even where something unread would make a reset of the end.
            _ = self.stream.get_ref().shutdown(Shutdown::Write);
        }
    }
}

/// Headers that are about framing or one connection, or that the sidecar declares to write.
const NOT_COMPARED: [&str; 5] =
    ["content-length", "transfer-encoding", "accept-encoding", "connection", "content-encoding"];

fn compare_heads(exchange: &Exchange, request: &Message, tally: &Tally) {
    let start = format!("{} {} HTTP/1.1", exchange.method, exchange.path);
    if request.start != start {
        tally.wrong(exchange, &format!("{:?} instead of {start:?}", request.start));
    }
    let mut expected = sorted(exchange.headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    if matches!(exchange.framing, Framing::Chunks(_)) {
        expected = sorted(
            expected.iter().map(|(n, v)| (n.as_str(), v.as_slice())).chain([("Trailer", &b"X-Sum"[..])]),
        );
    }
    let seen =
        request.headers.iter().filter(|(name, _)| !NOT_COMPARED.contains(&&*name.to_ascii_lowercase()));
    let seen = sorted(seen.map(|(name, value)| (name.as_str(), value.as_slice())));
    if seen != expected {
        tally.wrong(exchange, &format!("headers {seen:?} instead of {expected:?}"));
    }
}

/// In order of names; those of one name stay in theirs.
pub fn sorted<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    headers.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    headers
}
