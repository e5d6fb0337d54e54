//! Clients on connections that are kept: each answer is the one that the script says, to the byte, or a truthful failure.

use std::{
    io::{BufReader, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{
    crm::sorted,
    http::{Broken, Message},
    script::{Exchange, Fault, Framing, Kind, Script, write},
    tally::{Tally, is_ours, written},
};

/// Sends every request of the script through the sidecar at `address`, over so many connections at once.
pub fn run(script: Script, address: SocketAddr, tally: &Tally, clients: usize) {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| Client { script, address, tally, stream: None }.run(&next));
        }
    });
}

struct Client<'t> {
    script: Script,
    address: SocketAddr,
    tally: &'t Tally,
    stream: Option<BufReader<TcpStream>>,
}

/// Requests that are taken at once, and pipelined where nothing is to go wrong with them.
const TAKEN: u64 = 3;

impl Client<'_> {
    fn run(mut self, next: &AtomicU64) {
        loop {
            let first = next.fetch_add(TAKEN, Relaxed);
            let last = (first + TAKEN).min(self.script.count);
            if first >= last {
                return;
            }
            let exchanges: Vec<Exchange> = (first..last).map(|id| self.script.exchange(id)).collect();
            match exchanges.iter().all(is_calm) {
                true => self.pipelined(&exchanges),
                false => exchanges.iter().for_each(|exchange| self.one(exchange)),
            }
        }
    }

    fn pipelined(&mut self, exchanges: &[Exchange]) {
        let requests = exchanges.iter().flat_map(|exchange| <[_; 2]>::from(request(exchange)));
        self.send(&requests.flatten().collect::<Vec<u8>>());
        for exchange in exchanges {
            let answer = self.receive(exchange);
            let is_over = answer.is_err();
            self.judge(exchange, &answer);
            if is_over {
                self.stream = None;
            }
        }
    }

    fn one(&mut self, exchange: &Exchange) {
        let (head, body) = request(exchange);
        let answer = if exchange.waits {
            self.send(&head);
            match self.interim() {
                Ok(interim) if interim.status().starts_with("100") => {
                    self.send(&body);
                    self.receive(exchange)
                }
                Ok(answer) => self.rest(exchange, answer),
                Err(broken) => Err(broken),
            }
        } else {
            self.send(&[head, body].concat());
            if exchange.ends {
                _ = self.connected().get_ref().shutdown(Shutdown::Write);
            }
            self.receive(exchange)
        };
        // The sidecar hangs up where it has answered by itself, or before it had the whole request.
        let is_over = match &answer {
            Ok(answer) => answer.header("leadwire") == Some("failed") || exchange.fault == Fault::Early,
            Err(_) => true,
        };
        self.judge(exchange, &answer);
        if is_over || exchange.ends {
            self.stream = None;
        }
    }

    fn connected(&mut self) -> &mut BufReader<TcpStream> {
        let address = self.address;
        self.stream.get_or_insert_with(|| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            BufReader::new(stream)
        })
    }

    /// What cannot be sent shows in the answer.
    fn send(&mut self, bytes: &[u8]) {
        _ = self.connected().get_mut().write_all(bytes);
    }

    fn interim(&mut self) -> Result<Message, Broken> {
        Message::head(self.connected())
    }

    fn receive(&mut self, exchange: &Exchange) -> Result<Message, Broken> {
        loop {
            let answer = self.interim()?;
            if !answer.status().starts_with("100") {
                return self.rest(exchange, answer);
            }
        }
    }

    fn rest(&mut self, exchange: &Exchange, mut answer: Message) -> Result<Message, Broken> {
        answer.rest(self.connected(), exchange.method == "HEAD")?;
        Ok(answer)
    }

    fn judge(&self, exchange: &Exchange, answer: &Result<Message, Broken>) {
        match answer {
            Ok(answer) if answer.header("leadwire") == Some("failed") => self.failed(exchange, answer),
            Ok(answer) => self.compare(exchange, answer),
            Err(broken) => {
                let faults = [Fault::ResetInBody, Fault::EndInBody, Fault::ResetInRequest];
                if !faults.contains(&exchange.fault) || matches!(broken, Broken::Wrong(_)) {
                    let arrived = self.tally.arrivals(exchange.id);
                    self.tally.wrong(exchange, &format!("lost: {broken:?}, {arrived} times at the CRM"));
                }
            }
        }
        self.tally.done.fetch_add(1, Relaxed);
    }

    /// The sidecar says that there is no answer: is that so?
    fn failed(&self, exchange: &Exchange, answer: &Message) {
        let status = answer.status().get(..3).unwrap_or_default();
        let is_truthful = match exchange.fault {
            Fault::Silent => status == "504",
            Fault::ResetInRequest => matches!(status, "502" | "400"),
            fault if fault.breaks() => status == "502",
            _ => false,
        };
        if is_truthful {
        } else if status == "502" && self.tally.arrivals(exchange.id) == 0 {
            self.tally.missed();
        } else {
            let arrived = self.tally.arrivals(exchange.id);
            self.tally.wrong(exchange, &format!("lost: {:?}, {arrived} times at the CRM", answer.start));
        }
    }

    fn compare(&self, exchange: &Exchange, answer: &Message) {
        let wrong = |what: String| self.tally.wrong(exchange, &what);
        let expected = &exchange.answer;
        let has_body = exchange.method != "HEAD" && !expected.body.is_empty();
        let is_broken = match exchange.fault {
            Fault::EndInBody | Fault::ResetInBody => has_body,
            fault => fault.breaks(),
        };
        if is_broken {
            return wrong(format!("an answer, where there was none: {:?}", answer.start));
        }
        if answer.status() != expected.status {
            return wrong(format!("{:?} instead of {}", answer.start, expected.status));
        }
        let said = answer.header("leadwire");
        let patched = match (is_ours(exchange), said) {
            (false, None) => false,
            (true, Some("scored")) => self.scored(exchange, answer),
            (true, Some("skipped;reason=deadline" | "skipped;reason=overload")) => false,
            _ => return wrong(format!("Leadwire: {said:?}")),
        };
        if !patched && has_body && answer.body != expected.coded() {
            wrong(format!("another body in the answer: {} bytes", answer.body.len()));
        }
        let expected = expected_headers(exchange, patched);
        let is_compared = |name: &str| !NOT_COMPARED.contains(&&*name.to_ascii_lowercase());
        let seen = answer.headers.iter().filter(|(name, _)| is_compared(name));
        let seen = sorted(seen.map(|(name, value)| (name.as_str(), value.as_slice())));
        if seen != expected {
            wrong(format!("headers {seen:?} instead of {expected:?}"));
        }
    }

    /// Whether the answer's body holds the score, as that of a create does.
    fn scored(&self, exchange: &Exchange, answer: &Message) -> bool {
        let wrong = |what: &str| self.tally.wrong(exchange, what);
        let points = answer.header("x-lead-score").and_then(|points| points.parse().ok());
        let (Some(points), Some(model)) = (points, answer.header("x-lead-model")) else {
            wrong("scored without a score");
            return false;
        };
        self.tally.scored(exchange, model, points);
        if exchange.kind != Kind::Create {
            return false;
        }
        if written(&exchange.answer.body, &answer.body) != Some(Some(points)) {
            wrong("another body in the answer than the CRM's and the score");
        }
        true
    }
}

/// Headers about framing, of one connection, or declared to be written.
const NOT_COMPARED: [&str; 7] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "leadwire",
    "x-lead-score",
    "x-lead-grade",
    "x-lead-model",
];

fn expected_headers(exchange: &Exchange, patched: bool) -> Vec<(String, Vec<u8>)> {
    // These vouch for bytes that were changed.
    let is_gone = |name: &str| patched && matches!(name, "ETag" | "Content-Encoding");
    let headers = exchange.answer.headers.iter().filter(|(name, _)| !is_gone(name));
    let headers = headers.map(|(name, value)| (*name, value.as_bytes()));
    let has_body = exchange.kind != Kind::Update;
    let is_chunked = matches!(exchange.answer.framing, Framing::Chunks(_)) && has_body;
    sorted(headers.chain(is_chunked.then_some(("Trailer", &b"X-Sum"[..]))))
}

/// Whether it can be pipelined: nothing goes wrong with it, and it is small.
fn is_calm(exchange: &Exchange) -> bool {
    let Exchange { fault, waits, ends, body, .. } = exchange;
    *fault == Fault::None && !waits && !ends && body.len() < 4 << 10
}

fn request(exchange: &Exchange) -> (Vec<u8>, Vec<u8>) {
    let start = format!("{} {} HTTP/1.1", exchange.method, exchange.path);
    write(&start, &exchange.headers, exchange.framing, &exchange.body)
}
