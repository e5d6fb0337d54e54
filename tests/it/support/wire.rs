//! HTTP/1.1 as bytes on a socket.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A request or an answer, as it was on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `GET / HTTP/1.1` or `HTTP/1.1 200 OK`
    pub start: String,
    /// Names and values as they stood, in order.
    pub headers: Vec<(String, String)>,
    /// Without chunk framing.
    pub body: Vec<u8>,
    /// What followed a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The first value of a header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Reads one message; `None` at the end of the stream. `no_body` for answers to HEAD.
    pub fn read(stream: &mut impl BufRead, no_body: bool) -> Option<Self> {
        let mut message = Self::read_head(stream)?;
        message.read_body(stream, no_body);
        Some(message)
    }

    /// Reads one message from bytes that hold no more.
    pub fn parse(mut bytes: &[u8], no_body: bool) -> Self {
        Self::read(&mut bytes, no_body).unwrap()
    }

    /// The headers that are not of one connection, in order of their lower-case names.
    pub fn end_to_end(&self) -> Vec<(String, String)> {
        let hop = ["connection", "keep-alive"];
        let is_kept = |name: &str| !hop.iter().any(|hop| name.eq_ignore_ascii_case(hop));
        let mut headers: Vec<_> = self.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        headers.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        headers
    }

    pub fn read_head(stream: &mut impl BufRead) -> Option<Self> {
        let start = line(stream)?;
        Some(Self { start, headers: fields(stream), ..Self::default() })
    }

    pub fn read_body(&mut self, stream: &mut impl BufRead, no_body: bool) {
        let is_answer = self.start.starts_with("HTTP/");
        if no_body || is_answer && matches!(self.status(), 100..200 | 204 | 304) {
            return;
        }
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let size =
                    usize::from_str_radix(line(stream).unwrap().split(';').next().unwrap(), 16).unwrap();
                if size == 0 {
                    self.trailers = fields(stream);
                    return;
                }
                let start = self.body.len();
                self.body.resize(start + size, 0);
                stream.read_exact(&mut self.body[start..]).unwrap();
                assert_eq!(line(stream).unwrap(), "");
            }
        }
        match self.header("content-length") {
            Some(length) => {
                self.body = vec![0; length.parse().unwrap()];
                stream.read_exact(&mut self.body).unwrap();
            }
            None if is_answer => _ = stream.read_to_end(&mut self.body).unwrap(),
            None => {}
        }
    }
}

fn line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn fields(stream: &mut impl BufRead) -> Vec<(String, String)> {
    let lines = std::iter::from_fn(|| line(stream).filter(|line| !line.is_empty()));
    lines
        .map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect()
}

/// Posts JSON to an admin listener, under its address: without a token it takes orders under no other name.
pub fn post(admin: SocketAddr, path: &str, body: &str) -> Message {
    let mut client = Client::connect(admin);
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    client.send(&[head.as_bytes(), body.as_bytes()].concat());
    client.receive()
}

/// A client on one connection.
pub struct Client<S = TcpStream> {
    pub stream: BufReader<S>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub fn receive(&mut self) -> Message {
        Message::read(&mut self.stream, false).unwrap()
    }

    /// Sends a request with a Content-Length where it has a body, and reads the answer.
    pub fn exchange(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: crm.example.test\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.send(&[head.as_bytes(), b"\r\n", body].concat());
        Message::read(&mut self.stream, method == "HEAD").unwrap()
    }
}
