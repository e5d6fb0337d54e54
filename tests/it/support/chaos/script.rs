//! What request number n is, what is answered, and what goes wrong.

use std::io::Write;

use crate::support::{CREATE, LEAD};

/// From which everything follows.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub seed: u64,
    /// How many requests.
    pub count: u64,
    /// The longest body.
    pub largest: usize,
    /// One in so many requests is never answered, which takes as long as `limits.answer`.
    pub silent: u64,
}

/// Numbers that look random and are always the same (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes
    }
}

/// What the CRM does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The request's head is read, and the connection reset.
    ResetInRequest,
    ResetBeforeHead,
    EndBeforeHead,
    ResetInHead,
    EndInHead,
    ResetInBody,
    EndInBody,
    Nonsense,
    /// Nothing until the other side hangs up.
    Silent,
    /// The answer comes before the request's body is read.
    Early,
    /// `Connection: close`.
    Closes,
    /// The connection ends without a word after the answer.
    Drops,
    /// The head comes byte by byte.
    Slow,
    /// 60 KiB of headers.
    HugeHead,
    /// What was written into the request is refused.
    Refuses,
}

impl Fault {
    pub const ALL: [Fault; 16] = [
        Fault::None,
        Fault::ResetInRequest,
        Fault::ResetBeforeHead,
        Fault::EndBeforeHead,
        Fault::ResetInHead,
        Fault::EndInHead,
        Fault::ResetInBody,
        Fault::EndInBody,
        Fault::Nonsense,
        Fault::Silent,
        Fault::Early,
        Fault::Closes,
        Fault::Drops,
        Fault::Slow,
        Fault::HugeHead,
        Fault::Refuses,
    ];

    /// Whether it leaves the client without the whole answer.
    pub fn breaks(self) -> bool {
        use Fault::{
            EndBeforeHead, EndInBody, EndInHead, Nonsense, ResetBeforeHead, ResetInBody, ResetInHead,
        };
        let others =
            [EndBeforeHead, EndInBody, EndInHead, Nonsense, ResetBeforeHead, ResetInBody, ResetInHead];
        matches!(self, Fault::ResetInRequest | Fault::Silent) || others.contains(&self)
    }
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length,
    /// In chunks of so many bytes at most.
    Chunks(usize),
    /// By the end of the connection; answers only.
    End,
}

/// What the sidecar makes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Create,
    Update,
    Other,
}

/// One request and its answer.
pub struct Exchange {
    pub id: u64,
    pub kind: Kind,
    pub fault: Fault,
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
    /// It waits for `100 Continue` before its body.
    pub waits: bool,
    /// The client sends nothing more and says so.
    pub ends: bool,
    /// Leads of one variant have one score.
    pub variant: usize,
    pub answer: Answer,
}

/// The CRM's answer.
pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    /// Without its coding.
    pub body: Vec<u8>,
    pub framing: Framing,
    pub gzip: bool,
}

/// As many different leads as there are.
pub const VARIANTS: usize = 8;

impl Script {
    /// The request of a number, the same each time.
    pub fn exchange(&self, id: u64) -> Exchange {
        let mut dice = Dice(self.seed ^ id.wrapping_mul(0x2545_f491_4f6c_dd1d));
        dice.next();
        let kind = [Kind::Create, Kind::Update, Kind::Other, Kind::Other][dice.below(4) as usize];
        let fault = self.fault(kind, &mut dice);
        let variant = dice.below(VARIANTS as u64) as usize;
        let (method, path, body) = self.request(id, kind, variant, &mut dice);
        let framing = if dice.below(4) == 0 {
            Framing::Chunks(1 + dice.below(9_000) as usize)
        } else {
            Framing::Length
        };
        let mut headers = vec![("Host", "crm.example.test".to_owned()), ("X-Id", id.to_string())];
        if kind != Kind::Other {
            headers.push(("Content-Type", "application/json".into()));
        }
        headers.extend([("Cookie", format!("a={}", dice.below(9))), ("x-Odd-CASE", "ü; q=\"1\"".into())]);
        let waits = !body.is_empty() && dice.below(16) == 0;
        if waits {
            headers.push(("Expect", "100-continue".into()));
        }
        let ends = !waits && dice.below(64) == 0;
        let answer = self.answer(id, kind, fault, &mut dice);
        Exchange { id, kind, fault, method, path, headers, body, framing, waits, ends, variant, answer }
    }

    fn fault(&self, kind: Kind, dice: &mut Dice) -> Fault {
        if dice.below(self.silent) == 0 {
            return Fault::Silent;
        }
        // One in three has a fault.
        let fault = Fault::ALL.get(dice.below(48) as usize).copied().unwrap_or(Fault::None);
        match fault {
            Fault::Silent => Fault::None,
            Fault::Refuses if kind != Kind::Create => Fault::None,
            fault => fault,
        }
    }

    fn size(&self, dice: &mut Dice) -> usize {
        let most = match dice.below(100) {
            0..70 => 2 << 10,
            70..99 => 16 << 10,
            _ => self.largest as u64,
        };
        dice.below(most + 1) as usize
    }

    fn request(
        &self,
        id: u64,
        kind: Kind,
        variant: usize,
        dice: &mut Dice,
    ) -> (&'static str, String, Vec<u8>) {
        let lead = LEAD.replace("Lead00000", &format!("Lead{id}"));
        let lead =
            lead.replace("\"age__c\":56.0", &format!("\"age__c\":{}.0", 20 + 7 * variant)).into_bytes();
        match kind {
            Kind::Create => ("POST", CREATE.to_owned(), lead),
            Kind::Update => ("PATCH", format!("{CREATE}/00Q{id:015}"), lead),
            Kind::Other => {
                let method = ["GET", "PUT", "POST", "DELETE", "HEAD"][dice.below(5) as usize];
                let has_body = matches!(method, "PUT" | "POST");
                let size = if has_body { self.size(dice) } else { 0 };
                (method, format!("/files/{id}?q=%C3%BC&r=%2F"), dice.bytes(size))
            }
        }
    }

    fn answer(&self, id: u64, kind: Kind, fault: Fault, dice: &mut Dice) -> Answer {
        let mut headers =
            vec![("X-Id", id.to_string()), ("ETag", format!("\"{id}\"")), ("x-CaSe", "kept".into())];
        headers.extend([("Set-Cookie", "a=1".to_owned()), ("Set-Cookie", "b=2".into())]);
        if fault == Fault::HugeHead {
            headers.extend((0..60).map(|_| ("X-Large", "y".repeat(1 << 10))));
        }
        let (status, body) = match kind {
            Kind::Create => {
                headers.push(("Content-Type", "application/json;charset=UTF-8".into()));
                ("201 Created", format!(r#"{{"id":"00Q{id:015}","success":true,"errors":[]}}"#).into_bytes())
            }
            Kind::Update => ("204 No Content", Vec::new()),
            // An early answer must fit into what the sockets hold, or both sides wait for each other.
            Kind::Other if fault == Fault::Early => ("413 Too Large", dice.bytes(1 << 10)),
            Kind::Other => {
                let size = self.size(dice).max(8);
                (["200 OK", "404 Not Found", "500 Oops"][dice.below(3) as usize], dice.bytes(size))
            }
        };
        // Without a length an end that comes too early is none, and nothing could be read after an early answer.
        let has_end = matches!(fault, Fault::EndInBody | Fault::ResetInBody | Fault::Early);
        let framing = match dice.below(8) {
            0..3 => Framing::Chunks(1 + dice.below(9_000) as usize),
            3 if !has_end => Framing::End,
            _ => Framing::Length,
        };
        let gzip = kind != Kind::Update && dice.below(8) == 0;
        if gzip {
            headers.push(("Content-Encoding", "gzip".into()));
        }
        Answer { status, headers, body, framing, gzip }
    }
}

impl Answer {
    /// The body on the wire.
    pub fn coded(&self) -> Vec<u8> {
        if !self.gzip {
            return self.body.clone();
        }
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        coder.write_all(&self.body).unwrap();
        coder.finish().unwrap()
    }
}

/// The bytes of a message: head and body apart.
pub fn write(start: &str, headers: &[(&str, String)], framing: Framing, body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut head = format!("{start}\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let framed = match framing {
        _ if start.contains(" 204 ") => body.to_vec(),
        Framing::End => body.to_vec(),
        Framing::Length => {
            if !body.is_empty() || start.starts_with("HTTP/") {
                head.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
            }
            body.to_vec()
        }
        Framing::Chunks(size) => {
            head.extend_from_slice(b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n");
            let mut framed = Vec::with_capacity(body.len() + 64);
            for chunk in body.chunks(size) {
                framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                framed.extend_from_slice(chunk);
                framed.extend_from_slice(b"\r\n");
            }
            framed.extend_from_slice(b"0\r\nX-Sum: 7\r\n\r\n");
            framed
        }
    };
    head.extend_from_slice(b"\r\n");
    (head, framed)
}
