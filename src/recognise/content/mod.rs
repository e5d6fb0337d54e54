//! Content: a body of any form becomes JSON, so that routes, selectors and pointers know one form only.
//!
//! A [`View`] is the body itself where that is JSON, and JSON text made of it otherwise: such a body is read and never
//! changed. Pure; what is made is bounded by the size of the body.

mod coding; // gzip, deflate and br, undone
mod detect; // Content-Type and first bytes -> mode
mod choose; // a body and its routes -> view
mod out; // JSON text, written
mod form; // key=value&key=value
mod csv; // header and rows
mod batch; // HTTP messages in multipart/mixed
mod xml; // elements
mod xmlrpc; // elements that are calls

pub use self::{
    coding::{decode, decodes, is_readable, offer},
    detect::Mode,
};

use super::{doc::Doc, scan::Tape};
use crate::lead::Skip;

use self::out::Out;

/// A body as JSON.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    text: &'a str,
    mode: Mode<'a>,
    /// What the body is by its own account: how routes read it that do not say.
    detected: Option<Mode<'static>>,
}

impl<'a> View<'a> {
    /// A body that is JSON.
    pub fn json(text: &'a str) -> Self {
        Self { text, mode: Mode::Json, detected: Some(Mode::Json) }
    }

    /// A message by what it says itself; `None` where it is of no form that can be read.
    pub fn of(content_type: Option<&str>, body: &'a [u8], buffer: &'a mut String) -> Option<Self> {
        let mode = detect::detect(content_type, body)?;
        let in_place = mode.write(content_type, body, buffer).ok()?;
        Some(Self { text: in_place.unwrap_or(buffer), mode, detected: Some(mode) })
    }

    /// The JSON text, byte order mark included where the body has one.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// How the body was read.
    pub fn mode(&self) -> Mode<'a> {
        self.mode
    }

    /// The body's own text, where the view is the body. Only there is a place in the view a place in the body.
    pub fn in_place(&self) -> Option<&'a str> {
        (self.mode == Mode::Json).then_some(self.text)
    }

    /// The view, to walk in; `tape` holds its scan. A doc that is not the body itself has no [`crate::lead::Spot`]s.
    pub fn doc<'t>(&self, tape: &'t Tape) -> Doc<'a, 't> {
        match self.in_place() {
            Some(text) => Doc::new(text, tape),
            None => Doc::made(self.text, tape),
        }
    }

    /// Whether this is how a route reads the body that says so, or that does not say.
    pub(super) fn is_for(&self, content: &crate::config::Content) -> bool {
        Mode::of(content).or(self.detected) == Some(self.mode)
    }
}

impl Mode<'_> {
    /// Reads `body`: the text itself where it is JSON, else JSON into `buffer`.
    fn write<'b>(
        self,
        content_type: Option<&str>,
        body: &'b [u8],
        buffer: &mut String,
    ) -> Result<Option<&'b str>, Skip> {
        let text = simdutf8::basic::from_utf8(body).map_err(|_| Skip::Parse)?;
        if self == Mode::Json {
            return Ok(Some(text));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut out = Out::new(buffer, text.len());
        match self {
            Mode::Json => {}
            Mode::Form => form::write(text, &mut out),
            Mode::FormJson(field) => form::write_field(text, field, &mut out)?,
            Mode::Csv => csv::write(text, &mut out)?,
            Mode::Batch => batch::write(content_type, text, &mut out)?,
            Mode::XmlRpc => xmlrpc::write(text, &mut out)?,
            Mode::Xml => xml::write(text, &mut out)?,
        }
        out.finish()?;
        Ok(None)
    }
}

/// What a mode makes of a body, for tests.
#[cfg(test)]
fn made(mode: Mode<'_>, content_type: Option<&str>, body: &str) -> Result<String, Skip> {
    let mut buffer = "left over".to_owned();
    mode.write(content_type, body.as_bytes(), &mut buffer)?;
    // Whatever is made is JSON to an independent reader; raw JSON from within a body is the sender's own.
    if !matches!(mode, Mode::FormJson(_)) {
        assert!(serde_json::from_str::<serde_json::Value>(&buffer).is_ok(), "{buffer}");
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::{Content, Pointer},
        recognise::{At, Doc},
    };

    const ROOT: At = Doc::ROOT;

    #[test]
    fn only_a_view_that_is_the_body_has_places_to_write_to() {
        for (content_type, body, in_place) in [
            ("application/json", r#"{"a":1}"#, true),
            ("application/json", "\u{feff}{\"a\":1}", true),
            ("application/x-www-form-urlencoded", "a=1", false),
            ("text/xml", "<a>1</a>", false),
        ] {
            let (mut buffer, mut tape) = (String::new(), Tape::default());
            let view = View::of(Some(content_type), body.as_bytes(), &mut buffer).unwrap();
            tape.scan(view.text()).unwrap();
            let doc = view.doc(&tape);
            let pointer = Pointer::parse("/a").unwrap();
            assert!(doc.resolve(ROOT, &pointer, None).unwrap().is_some(), "{body}");
            assert_eq!(doc.spot(ROOT, &pointer, None).unwrap().is_some(), in_place, "{body}");
            assert_eq!(view.in_place(), in_place.then_some(body));
        }
    }

    #[test]
    fn a_view_is_for_the_routes_that_read_it_so() {
        let mut buffer = String::new();
        let view =
            View::of(None, b"<methodCall><methodName>m</methodName></methodCall>", &mut buffer).unwrap();
        let of =
            [Content::Auto, Content::XmlRpc, Content::Xml, Content::Json, Content::FormJson("data".into())];
        assert_eq!(of.map(|content| view.is_for(&content)), [true, true, false, false, false]);
        assert!(View::of(Some("image/png"), b"{}", &mut String::new()).is_none());
        assert!(View::of(Some("text/csv"), b"\xff", &mut String::new()).is_none());
    }

    /// Pieces of which every mode's bodies are made.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a",
            "=",
            "&",
            "%00",
            "%",
            "+",
            ",",
            ";",
            "\"",
            "\n",
            "\r\n",
            "\r\n\r\n",
            "--b",
            "--b--",
            "{",
            "}",
            "[",
            "]",
            "1",
            "\\",
            "\0",
            "é",
            "<a>",
            "</a>",
            "<value>",
            "</value>",
            "<int>",
            "</int>",
            "<![CDATA[",
            "]]>",
            "&lt;",
            "&#65;",
            "<!--",
            "-->",
            "Content-Type: application/http",
            "POST / HTTP/1.1",
            "HTTP/1.1 200",
            "\u{feff}",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whatever_is_made_is_json(body in pieces()) {
            for mode in [Mode::Form, Mode::Csv, Mode::Batch, Mode::XmlRpc, Mode::Xml] {
                _ = made(mode, Some("multipart/mixed; boundary=b"), &body);
            }
        }
    }
}
