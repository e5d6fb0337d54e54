//! A CRM of a few lines: keeps every request as it came, answers what it is told.

use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::wire::Message;

type Handler = dyn Fn(&Message) -> Vec<u8> + Send + Sync;

/// A listening upstream. Its threads end with their connections.
#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Answers each request with the bytes `handler` gives; none closes the connection.
    pub fn start(handler: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_over(|stream| stream, handler)
    }

    /// The same over what `wrap` makes of each connection.
    pub fn start_over<S: Read + Write>(
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
        handler: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (serving, handler): (_, Arc<Handler>) = (upstream.clone(), Arc::new(handler));
        let wrap = Arc::new(wrap);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (serving, handler, wrap) = (serving.clone(), handler.clone(), wrap.clone());
                thread::spawn(move || serving.serve(wrap(stream), &*handler));
            }
        });
        upstream
    }

    fn serve(&self, stream: impl Read + Write, handler: &Handler) {
        let mut stream = BufReader::new(stream);
        while let Some(mut request) = Message::read_head(&mut stream) {
            if request.header("expect").is_some() {
                stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
            request.read_body(&mut stream, false);
            let mut answer = handler(&request);
            if request.start.starts_with("HEAD ") {
                let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
                answer.truncate(head + 4);
            }
            self.requests.lock().unwrap().push(request);
            if answer.is_empty() || stream.get_mut().write_all(&answer).is_err() {
                return;
            }
        }
    }

    /// Everything that came so far.
    pub fn requests(&self) -> Vec<Message> {
        self.requests.lock().unwrap().clone()
    }

    /// The only request there was.
    pub fn request(&self) -> Message {
        let [request] = self.requests().try_into().expect("one request");
        request
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An answer with a Content-Length.
pub fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !status.starts_with("204") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// What Salesforce answers to a create.
pub fn created(id: &str) -> Vec<u8> {
    let body = format!(r#"{{"id":"{id}","success":true,"errors":[]}}"#);
    answer("201 Created", &[("Content-Type", "application/json;charset=UTF-8")], &body)
}
