//! Messages from peers who may break off at any byte.

use std::io::{BufRead, Read};

/// What was read.
#[derive(Debug, Default)]
pub struct Message {
    pub start: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// No whole message came.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing of it.
    Ended,
    /// A part of it.
    Cut,
    /// It is none.
    Wrong(String),
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    pub fn status(&self) -> &str {
        self.start.split_once(' ').map_or("", |(_, status)| status)
    }

    /// The head alone.
    pub fn head(stream: &mut impl BufRead) -> Result<Self, Broken> {
        let start = match line(stream) {
            Err(Broken::Cut) => return Err(Broken::Ended),
            start => String::from_utf8_lossy(&start?).into_owned(),
        };
        Ok(Self { start, headers: fields(stream)?, body: Vec::new() })
    }

    /// The body that its head announces; `bodiless` for answers to HEAD.
    pub fn rest(&mut self, stream: &mut impl BufRead, bodiless: bool) -> Result<(), Broken> {
        let is_answer = self.start.starts_with("HTTP/");
        if bodiless || is_answer && (self.status().starts_with('1') || self.status().starts_with("204")) {
            return Ok(());
        }
        if self.header("transfer-encoding").is_some() {
            return self.chunks(stream);
        }
        match self.header("content-length").map(str::parse::<usize>) {
            Some(Ok(length)) => self.take(stream, length),
            Some(Err(_)) => Err(Broken::Wrong("a length".into())),
            None if is_answer => stream.read_to_end(&mut self.body).map(|_| ()).map_err(|_| Broken::Cut),
            None => Ok(()),
        }
    }

    fn chunks(&mut self, stream: &mut impl BufRead) -> Result<(), Broken> {
        loop {
            let size = line(stream)?;
            let size = std::str::from_utf8(&size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            match size.ok_or_else(|| Broken::Wrong("a chunk's size".into()))? {
                0 => return fields(stream).map(|_| ()),
                size => self.take(stream, size)?,
            }
            if !line(stream)?.is_empty() {
                return Err(Broken::Wrong("a chunk's end".into()));
            }
        }
    }

    fn take(&mut self, stream: &mut impl BufRead, length: usize) -> Result<(), Broken> {
        let whole = stream.take(length as u64).read_to_end(&mut self.body);
        if whole.is_ok_and(|read| read == length) { Ok(()) } else { Err(Broken::Cut) }
    }
}

fn line(stream: &mut impl BufRead) -> Result<Vec<u8>, Broken> {
    let mut line = Vec::new();
    match stream.read_until(b'\n', &mut line) {
        Ok(_) if line.ends_with(b"\r\n") => line.truncate(line.len() - 2),
        _ => return Err(Broken::Cut),
    }
    Ok(line)
}

fn fields(stream: &mut impl BufRead) -> Result<Vec<(String, Vec<u8>)>, Broken> {
    let mut fields = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let colon =
            line.iter().position(|byte| *byte == b':').ok_or_else(|| Broken::Wrong("a header".into()))?;
        let name = String::from_utf8_lossy(&line[..colon]).into_owned();
        fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
}
