//! Both ends of the traffic. Neither's own cost counts, so both are plain.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream as Blocking},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
};

use super::wire::{self, Answers, Asked};

/// Longest message.
const BUFFER: usize = 8 << 10;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// The CRM: a thread that answers whatever is complete, as long as the process runs.
pub fn upstream() -> anyhow::Result<SocketAddr> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let socket = std::net::TcpListener::from(socket);
    let address = socket.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        let answers = Rc::new(RefCell::new(Answers::new()));
        LocalSet::new().block_on(&runtime, async move {
            let listener = TcpListener::from_std(socket).expect("a socket that listens");
            while let Ok((stream, _)) = listener.accept().await {
                let answers = answers.clone();
                // An error is a proxy that closed its connection.
                spawn_local(async move { _ = answer(stream, &answers).await });
            }
        });
    };
    std::thread::Builder::new().name("upstream".into()).spawn(serve)?;
    Ok(address)
}

async fn answer(mut stream: TcpStream, answers: &RefCell<Answers>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut out) = (Vec::with_capacity(BUFFER), Vec::with_capacity(BUFFER));
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if let Some(length) = wire::length(&buffer) {
            out.clear();
            out.extend_from_slice(answers.borrow_mut().to(&buffer));
            buffer.drain(..length);
            stream.write_all(&out).await?;
        }
    }
}

/// Clients on kept connections, each of which asks again as soon as it has its answer.
pub struct Closed<'l> {
    pub address: SocketAddr,
    pub asked: Asked,
    pub connections: usize,
    /// Before anything counts.
    pub warm_up: Duration,
    pub lasts: Duration,
    /// Called at both ends of what counts.
    pub meter: &'l dyn Fn() -> anyhow::Result<u64>,
}

/// What a time under load came to.
pub struct Counted {
    pub requests: u64,
    /// What the meter says at the end less what it said at the start.
    pub metered: u64,
    pub lasted: Duration,
}

impl Closed<'_> {
    /// Runs the load. An answer that fails fails all of it.
    pub fn run(&self) -> anyhow::Result<Counted> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.load())
    }

    async fn load(&self) -> anyhow::Result<Counted> {
        let (count, failed) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let request: Rc<[u8]> = self.asked.request().into();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.address).await?;
            let (request, count, failed) = (request.clone(), count.clone(), failed.clone());
            spawn_local(async move {
                let error = ask(stream, &request, &count).await.err();
                failed.replace(error);
            });
        }
        tokio::time::sleep(self.warm_up).await;
        let (start, before, metered) = (Instant::now(), count.get(), (self.meter)()?);
        tokio::time::sleep(self.lasts).await;
        let (requests, lasted) = (count.get() - before, start.elapsed());
        let metered = (self.meter)()?.saturating_sub(metered);
        if let Some(error) = failed.take() {
            return Err(error).context("a request failed");
        }
        anyhow::ensure!(requests > 0, "no request was answered in {lasted:?}");
        Ok(Counted { requests, metered, lasted })
    }
}

async fn ask(mut stream: TcpStream, request: &[u8], count: &Cell<u64>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        stream.write_all(request).await?;
        let length = loop {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(length) = wire::length(&buffer) {
                break length;
            }
        };
        check(&buffer)?;
        buffer.drain(..length);
        count.set(count.get() + 1);
    }
}

/// Fails unless the status is 2xx.
fn check(answer: &[u8]) -> io::Result<()> {
    match answer.get(..10) {
        Some(b"HTTP/1.1 2") => Ok(()),
        other => Err(io::Error::other(format!("answered {:?}", other.map(String::from_utf8_lossy)))),
    }
}

/// One kept connection, without a runtime.
pub struct Client {
    stream: Blocking,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr, asked: Asked) -> anyhow::Result<Self> {
        let stream = Blocking::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: asked.request(), buffer: Vec::new() })
    }

    /// Asks once; the answer.
    pub fn ask(&mut self) -> anyhow::Result<&[u8]> {
        self.stream.write_all(&self.request)?;
        self.buffer.clear();
        let mut part = [0; BUFFER];
        while wire::length(&self.buffer).is_none() {
            match self.stream.read(&mut part)? {
                0 => anyhow::bail!("the connection was closed"),
                read => self.buffer.extend(part.iter().take(read)),
            }
        }
        check(&self.buffer)?;
        Ok(&self.buffer)
    }

    /// Asks so many times a second, whether answers are slow or not. A request that waits for the one before it has
    /// waited since it was due; one that is sent late because this thread woke late has not.
    pub fn pace(&mut self, per_second: u32, lasts: Duration) -> anyhow::Result<Vec<Duration>> {
        let (start, step) = (Instant::now(), Duration::from_secs(1) / per_second);
        let mut times = Vec::new();
        while start.elapsed() < lasts {
            let due = start + step * (times.len() as u32 + 1);
            let since = match due.checked_duration_since(Instant::now()) {
                Some(early) => {
                    std::thread::sleep(early);
                    Instant::now()
                }
                None => due,
            };
            self.ask()?;
            times.push(since.elapsed());
        }
        Ok(times)
    }
}
