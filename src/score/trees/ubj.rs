//! Universal binary JSON (draft 12): one byte says what follows, numbers are big-endian.
//!
//! Every length is checked against the bytes left before anything is allocated for it.

use std::collections::BTreeMap;

use super::{TreeError, document::Document};

/// Deeper than any model; bounds the recursion.
const MAX_DEPTH: usize = 32;

/// Reads one value that takes all the bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Document, TreeError> {
    let mut reader = Reader { bytes, at: 0 };
    let marker = reader.marker()?;
    let document = reader.value(marker, 0)?;
    if reader.at < bytes.len() {
        return Err(reader.error("something follows the document"));
    }
    Ok(document)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// How a container goes on after its opening bracket.
struct Shape {
    /// The marker all its values share.
    kind: Option<u8>,
    /// How many; without it, a closing bracket ends them.
    count: Option<usize>,
}

impl<'a> Reader<'a> {
    fn error(&self, reason: &'static str) -> TreeError {
        TreeError::Ubj { at: self.at, reason }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], TreeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.first_chunk::<N>().ok_or_else(|| self.error("the file ends here"))?;
        self.at += N;
        Ok(*taken)
    }

    /// The next marker; no-ops stand for nothing.
    fn marker(&mut self) -> Result<u8, TreeError> {
        loop {
            let [marker] = self.take()?;
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn number(&mut self, marker: u8) -> Result<Option<f64>, TreeError> {
        Ok(Some(match marker {
            b'i' => f64::from(i8::from_be_bytes(self.take()?)),
            b'U' => f64::from(u8::from_be_bytes(self.take()?)),
            b'I' => f64::from(i16::from_be_bytes(self.take()?)),
            b'l' => f64::from(i32::from_be_bytes(self.take()?)),
            b'L' => i64::from_be_bytes(self.take()?) as f64,
            b'd' => f64::from(f32::from_be_bytes(self.take()?)),
            b'D' => f64::from_be_bytes(self.take()?),
            _ => return Ok(None),
        }))
    }

    /// A length: at most the bytes left over `size`.
    fn length(&mut self, size: usize) -> Result<usize, TreeError> {
        let marker = self.marker()?;
        let length = match marker {
            b'L' => i64::from_be_bytes(self.take()?),
            b'i' | b'U' | b'I' | b'l' => self.number(marker)?.unwrap_or(-1.0) as i64,
            _ => return Err(self.error("a length is not a whole number")),
        };
        let left = self.bytes.len() - self.at;
        let fits = usize::try_from(length).ok().filter(|length| *length <= left / size);
        fits.ok_or_else(|| self.error("a length is more than the bytes left"))
    }

    fn text(&mut self) -> Result<String, TreeError> {
        let length = self.length(1)?;
        let bytes = self.bytes.get(self.at..self.at + length).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| self.error("text is not UTF-8"))?;
        self.at += length;
        Ok(text.to_owned())
    }

    fn value(&mut self, marker: u8, depth: usize) -> Result<Document, TreeError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        if let Some(number) = self.number(marker)? {
            return Ok(Document::Number(number));
        }
        match marker {
            b'Z' => Ok(Document::Null),
            b'T' => Ok(Document::Boolean(true)),
            b'F' => Ok(Document::Boolean(false)),
            b'S' | b'H' => self.text().map(Document::Text),
            b'C' => self.take().map(|[c]: [u8; 1]| Document::Text(char::from(c).to_string())),
            b'[' => self.list(depth),
            b'{' => self.map(depth),
            _ => Err(self.error("a marker is not known")),
        }
    }

    fn shape(&mut self) -> Result<Shape, TreeError> {
        let mut shape = Shape { kind: None, count: None };
        if self.peek() == Some(b'$') {
            let [_, kind] = self.take()?;
            shape.kind = Some(kind);
        }
        if self.peek() == Some(b'#') {
            let [_] = self.take()?;
            // A value of a type without bytes could claim to stand there any number of times.
            let size = match shape.kind {
                Some(b'I') => 2,
                Some(b'l' | b'd') => 4,
                Some(b'L' | b'D') => 8,
                Some(b'Z' | b'T' | b'F' | b'N') => return Err(self.error("a list of values without bytes")),
                _ => 1,
            };
            shape.count = Some(self.length(size)?);
        } else if shape.kind.is_some() {
            return Err(self.error("a type without a count"));
        }
        Ok(shape)
    }

    fn list(&mut self, depth: usize) -> Result<Document, TreeError> {
        let shape = self.shape()?;
        if let (Some(kind @ (b'i' | b'U' | b'I' | b'l' | b'L' | b'd' | b'D')), Some(count)) =
            (shape.kind, shape.count)
        {
            let mut numbers = Vec::with_capacity(count);
            for _ in 0..count {
                numbers.extend(self.number(kind)?);
            }
            return Ok(Document::Numbers(numbers));
        }
        let mut items = Vec::new();
        while self.goes_on(&shape, items.len(), b']')? {
            let marker = shape.kind.map_or_else(|| self.marker(), Ok)?;
            items.push(self.value(marker, depth + 1)?);
        }
        Ok(Document::from_items(items))
    }

    fn map(&mut self, depth: usize) -> Result<Document, TreeError> {
        let shape = self.shape()?;
        let mut map = BTreeMap::new();
        while self.goes_on(&shape, map.len(), b'}')? {
            let key = self.text()?;
            let marker = shape.kind.map_or_else(|| self.marker(), Ok)?;
            let value = self.value(marker, depth + 1)?;
            if map.insert(key, value).is_some() {
                return Err(self.error("a key stands twice in one object"));
            }
        }
        Ok(Document::Map(map))
    }

    /// Whether another item follows; takes the closing bracket.
    fn goes_on(&mut self, shape: &Shape, so_far: usize, close: u8) -> Result<bool, TreeError> {
        if let Some(count) = shape.count {
            return Ok(so_far < count);
        }
        while self.peek() == Some(b'N') {
            self.at += 1;
        }
        let closes = self.peek() == Some(close);
        self.at += usize::from(closes);
        Ok(!closes)
    }
}
