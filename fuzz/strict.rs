//! HTTP/1.1 for whom every doubt is a mistake: what is read here has one reading only. Shares no code with hyper.

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The three parts of the first line.
    pub start: [String; 3],
    /// In order, names as they stood.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without chunk framing.
    pub body: Vec<u8>,
    /// What followed a chunked body.
    pub trailers: Vec<(String, Vec<u8>)>,
}

/// What was read and how many bytes it took; `None` where more are needed; or what is wrong.
pub type Read<T> = Result<Option<(T, usize)>, &'static str>;

/// A length beyond this is no length: who counts in signed numbers would read another.
const LONGEST: usize = usize::MAX / 2;

impl Message {
    /// The values of a header, whatever the name's case.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let headers = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        headers.map(|(_, value)| value.as_slice()).collect()
    }

    /// Whether the sender ends the connection after it.
    pub fn is_last(&self) -> bool {
        let tokens = self.values("connection");
        tokens.iter().any(|value| value.to_ascii_lowercase().windows(5).any(|token| token == b"close"))
    }
}

/// One request from the start of `bytes`.
pub fn request(bytes: &[u8]) -> Read<Message> {
    let Some((mut message, start)) = head(bytes)? else { return Ok(None) };
    let [method, target, version] = &message.start;
    // Letters beyond ASCII are no URL's, but they are sent, and read in one way.
    let is_odd = |byte: u8| !(byte.is_ascii_graphic() || byte >= 0x80);
    if !method.bytes().all(is_token) || target.bytes().any(is_odd) {
        return Err("no method and target");
    }
    if !matches!(version.as_str(), "HTTP/1.0" | "HTTP/1.1") {
        return Err("no version");
    }
    match framing(&message)? {
        Framing::Chunked if version == "HTTP/1.0" => Err("chunks in HTTP/1.0"),
        Framing::None => Ok(Some((message, start))),
        framing => Ok(body(&mut message, &bytes[start..], framing)?.map(|used| (message, start + used))),
    }
}

/// One answer from the start of `bytes`, after which nothing follows where neither length nor chunks say otherwise.
pub fn answer(bytes: &[u8], bodiless: bool) -> Read<Message> {
    let Some((mut message, start)) = head(bytes)? else { return Ok(None) };
    let [version, status, _] = &message.start;
    let is_version = matches!(version.as_str(), "HTTP/1.0" | "HTTP/1.1");
    if !is_version || status.len() != 3 || !status.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("no version and status");
    }
    let bodiless = bodiless || status.starts_with('1') || matches!(status.as_str(), "204" | "304");
    match framing(&message)? {
        _ if bodiless => Ok(Some((message, start))),
        Framing::None => {
            message.body = bytes[start..].to_vec();
            Ok(Some((message, bytes.len())))
        }
        framing => Ok(body(&mut message, &bytes[start..], framing)?.map(|used| (message, start + used))),
    }
}

/// A head alone.
pub fn head(bytes: &[u8]) -> Read<Message> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = split(&bytes[..end]).into_iter();
    let start = String::from_utf8(lines.next().unwrap_or_default().to_vec()).map_err(|_| "no first line")?;
    // An answer's reason may hold spaces, or be missing.
    let parts: Vec<&str> = start.splitn(3, ' ').collect();
    let [first, second, third] = parts[..] else { return Err("no three parts") };
    if first.is_empty() || second.is_empty() {
        return Err("an empty part");
    }
    let start = [first, second, third].map(str::to_owned);
    let headers = lines.map(field).collect::<Result<_, _>>()?;
    Ok(Some((Message { start, headers, ..Message::default() }, end + 4)))
}

#[derive(Clone, Copy)]
enum Framing {
    None,
    Length(usize),
    Chunked,
}

fn framing(message: &Message) -> Result<Framing, &'static str> {
    match (message.values("content-length")[..].as_ref(), message.values("transfer-encoding")[..].as_ref()) {
        ([], []) => Ok(Framing::None),
        ([length], []) => Ok(Framing::Length(number(length, 10)?)),
        ([], [codings]) => {
            let codings: Vec<_> = codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
            let chunked = codings.iter().filter(|coding| coding.eq_ignore_ascii_case(b"chunked")).count();
            let is_last = codings.last().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            if chunked == 1 && is_last { Ok(Framing::Chunked) } else { Err("not chunked once, and last") }
        }
        _ => Err("framed twice"),
    }
}

fn body(message: &mut Message, bytes: &[u8], framing: Framing) -> Result<Option<usize>, &'static str> {
    if let Framing::Length(length) = framing {
        let body = bytes.get(..length).map(<[u8]>::to_vec);
        return Ok(body.map(|body| {
            message.body = body;
            length
        }));
    }
    let mut at = 0;
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = number(&bytes[at..at + line], 16)?;
        at += line + 2;
        if size == 0 {
            break;
        }
        let Some(data) = bytes.get(at..at + size) else { return Ok(None) };
        message.body.extend_from_slice(data);
        at += size;
        match bytes.get(at..at + 2) {
            None => return Ok(None),
            Some(b"\r\n") => at += 2,
            Some(_) => return Err("a chunk longer than its size"),
        }
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some(at + 2));
    }
    let Some(end) = find(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
    message.trailers = split(&bytes[at..at + end]).into_iter().map(field).collect::<Result<_, _>>()?;
    Ok(Some(at + end + 4))
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    // Looked for before white space is cut off, which they count as.
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err("half a line end");
    }
    let colon = find(line, b":").ok_or("no colon")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err("no name");
    }
    if value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
        return Err("a value with control characters");
    }
    Ok((String::from_utf8_lossy(name).into_owned(), value.to_vec()))
}

fn number(digits: &[u8], radix: u32) -> Result<usize, &'static str> {
    let is_plain = digits.iter().all(|byte| char::from(*byte).is_digit(radix));
    let text = std::str::from_utf8(digits).map_err(|_| "no number")?;
    let number = usize::from_str_radix(text, radix).ok().filter(|number| is_plain && *number <= LONGEST);
    number.ok_or("no number")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = find(bytes, b"\r\n") {
        lines.push(&bytes[..end]);
        bytes = &bytes[end + 2..];
    }
    lines.push(bytes);
    lines
}
