//! JSON text, written piece by piece into a buffer that is used again.

use crate::lead::Skip;

/// What is made of a body is at most so many times its size: a CSV repeats its header in every row.
const GROWTH: usize = 16;
/// A small body may grow more.
const LEAST: usize = 64 << 10;

/// JSON that is being written. Commas come by themselves.
pub(super) struct Out<'o> {
    text: &'o mut String,
    limit: usize,
    full: bool,
}

impl<'o> Out<'o> {
    /// Into `text`, emptied, of a body of `size` bytes.
    pub(super) fn new(text: &'o mut String, size: usize) -> Self {
        text.clear();
        Self { text, limit: size.saturating_mul(GROWTH).saturating_add(LEAST), full: false }
    }

    /// Whether nothing more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// `Err` where something had to be left out.
    pub(super) fn finish(self) -> Result<(), Skip> {
        if self.full { Err(Skip::Body) } else { Ok(()) }
    }

    /// `{` or `[`
    pub(super) fn open(&mut self, bracket: char) {
        self.separate();
        self.push(bracket.encode_utf8(&mut [0; 4]));
    }

    /// `}` or `]`
    pub(super) fn close(&mut self, bracket: char) {
        self.push(bracket.encode_utf8(&mut [0; 4]));
    }

    /// A member's name.
    pub(super) fn key(&mut self, name: &str) {
        self.string(name);
        self.push(":");
    }

    /// A member that is text.
    pub(super) fn member(&mut self, name: &str, value: &str) {
        self.key(name);
        self.string(value);
    }

    /// JSON as it is.
    pub(super) fn raw(&mut self, json: &str) {
        self.separate();
        self.push(json);
    }

    /// Text, quoted.
    pub(super) fn string(&mut self, text: &str) {
        self.separate();
        self.push("\"");
        let mut done = 0;
        for (at, byte) in text.bytes().enumerate() {
            if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
                continue;
            }
            self.push(text.get(done..at).unwrap_or_default());
            done = at + 1;
            match byte {
                b'"' => self.push("\\\""),
                b'\\' => self.push("\\\\"),
                control => self.push(&format!("\\u{control:04x}")),
            }
            if self.full {
                return;
            }
        }
        self.push(text.get(done..).unwrap_or_default());
        self.push("\"");
    }

    fn separate(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.push(",");
        }
    }

    fn push(&mut self, text: &str) {
        self.full |= self.text.len() + text.len() > self.limit;
        if !self.full {
            self.text.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_an_independent_reader_undoes_it() {
        for text in ["", "a", "\"", "\\", "\0\u{1}\n\t\u{1f}", "é漢😀\u{2028}", "ends in {", "[", ":"] {
            let mut buffer = String::new();
            let mut out = Out::new(&mut buffer, 0);
            out.open('[');
            out.string(text);
            out.string(text);
            out.close(']');
            out.finish().unwrap();
            assert_eq!(serde_json::from_str::<[String; 2]>(&buffer).unwrap(), [text, text]);
        }
    }

    #[test]
    fn what_grows_without_bound_is_given_up() {
        let mut buffer = String::new();
        let mut out = Out::new(&mut buffer, 10);
        for _ in 0..100 {
            out.string(&"\0".repeat(1 << 10));
        }
        assert!(out.is_full());
        assert_eq!(out.finish(), Err(Skip::Body));
        assert!(buffer.len() <= LEAST + 160);
    }
}
