//! What a body is: by its Content-Type, and by its first bytes where that says nothing.

use crate::config::Content;

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<'r> {
    /// As it is.
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
    /// JSON inside this field of a form.
    FormJson(&'r str),
    /// A header and rows.
    Csv,
    /// HTTP messages in `multipart/mixed`.
    Batch,
    /// A call or its answer.
    XmlRpc,
    /// Any other XML.
    Xml,
}

impl<'r> Mode<'r> {
    /// What a route asks for; `None` where it leaves that to the body.
    pub(super) fn of(content: &'r Content) -> Option<Self> {
        match content {
            Content::Auto => None,
            Content::Json => Some(Mode::Json),
            Content::Form => Some(Mode::Form),
            Content::FormJson(field) => Some(Mode::FormJson(field)),
            Content::Csv => Some(Mode::Csv),
            Content::MultipartBatch => Some(Mode::Batch),
            Content::XmlRpc => Some(Mode::XmlRpc),
            Content::Xml => Some(Mode::Xml),
        }
    }

    /// The word that a route's `content` says it with.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Json => "json",
            Mode::Form => "form",
            Mode::FormJson(_) => "form-json",
            Mode::Csv => "csv",
            Mode::Batch => "multipart-batch",
            Mode::XmlRpc => "xmlrpc",
            Mode::Xml => "xml",
        }
    }

    /// How well it fits a body that was detected as another mode; the least fits best.
    pub(super) fn rank(self, detected: Option<Mode<'_>>) -> u8 {
        match (self, detected) {
            // Both are forms, and this one knows more about it.
            (Mode::FormJson(_), Some(Mode::Form)) => 0,
            (mode, Some(detected)) if mode == detected => 1,
            (Mode::Xml, Some(Mode::XmlRpc)) | (Mode::XmlRpc, Some(Mode::Xml)) => 2,
            _ => 3,
        }
    }
}

/// What a Content-Type says of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// It is read so.
    As(Mode<'static>),
    /// XML; which one, its root element tells.
    Xml,
    /// Nothing; its first bytes tell.
    Nothing,
    /// The same, but what looks like XML is a page.
    Page,
    /// It is of no form that is read.
    Other,
}

/// Reads a Content-Type.
pub(super) fn declared(content_type: Option<&str>) -> Declared {
    let Some(value) = content_type else { return Declared::Nothing };
    // As nearly all write it.
    if value == "application/json" {
        return Declared::As(Mode::Json);
    }
    let kind = value.split(';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| kind.eq_ignore_ascii_case(name);
    let ends = |suffix: &str| {
        let end = kind.len().checked_sub(suffix.len()).and_then(|at| kind.get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    if is("application/json") || is("text/json") || ends("+json") {
        Declared::As(Mode::Json)
    } else if is("application/x-www-form-urlencoded") {
        Declared::As(Mode::Form)
    } else if is("text/csv") || is("application/csv") {
        Declared::As(Mode::Csv)
    } else if is("multipart/mixed") {
        Declared::As(Mode::Batch)
    } else if is("text/xml") || is("application/xml") || ends("+xml") {
        Declared::Xml
    } else if kind.is_empty() || is("application/octet-stream") || is("text/plain") {
        Declared::Nothing
    } else if is("text/html") {
        Declared::Page
    } else {
        Declared::Other
    }
}

/// What a body is; `None` where it is of no form that is read.
pub(super) fn detect(content_type: Option<&str>, body: &[u8]) -> Option<Mode<'static>> {
    match declared(content_type) {
        Declared::As(mode) => Some(mode),
        Declared::Xml => Some(xml(body)),
        Declared::Nothing => Some(sniffed(body)),
        Declared::Page => Some(sniffed(body)).filter(|mode| *mode == Mode::Json),
        Declared::Other => None,
    }
}

fn sniffed(body: &[u8]) -> Mode<'static> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    match body {
        [b'<', ..] => xml(body),
        [b'-', b'-', ..] => Mode::Batch,
        // `key=`, before any white space.
        [b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'%', rest @ ..] => {
            let end = rest.iter().find(|byte| **byte == b'=' || byte.is_ascii_whitespace());
            if end == Some(&b'=') { Mode::Form } else { Mode::Json }
        }
        _ => Mode::Json,
    }
}

/// XML-RPC where the root element is one of its own.
fn xml(body: &[u8]) -> Mode<'static> {
    let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    while let Some(after) = after_prolog(rest) {
        rest = after.trim_ascii_start();
    }
    let is_rpc = [b"<methodCall".as_slice(), b"<methodResponse"].iter().any(|root| rest.starts_with(root));
    if is_rpc { Mode::XmlRpc } else { Mode::Xml }
}

/// What follows a declaration or a comment.
fn after_prolog(text: &[u8]) -> Option<&[u8]> {
    let end: &[u8] = match text {
        [b'<', b'?', ..] => b"?>",
        [b'<', b'!', b'-', b'-', ..] => b"-->",
        _ => return None,
    };
    let at = text.windows(end.len()).position(|window| window == end)?;
    text.get(at + end.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_tells_and_else_the_first_bytes_do() {
        for (content_type, body, expected) in [
            (Some("application/json"), "a=1", Some(Mode::Json)),
            (Some("Application/JSON; charset=utf-8"), "", Some(Mode::Json)),
            (Some("application/vnd.api+json"), "", Some(Mode::Json)),
            (Some("application/x-www-form-urlencoded"), "{}", Some(Mode::Form)),
            (Some("text/csv"), "{}", Some(Mode::Csv)),
            (Some("multipart/mixed; boundary=x"), "{}", Some(Mode::Batch)),
            (Some("multipart/form-data; boundary=x"), "{}", None),
            (Some("image/png"), "{}", None),
            (Some("text/xml"), "<?xml version='1.0'?>\n<!-- <a> -->\n<methodCall>", Some(Mode::XmlRpc)),
            (Some("text/xml"), "<methodResponse/>", Some(Mode::XmlRpc)),
            (Some("application/soap+xml"), "<s:Envelope>", Some(Mode::Xml)),
            (Some("text/xml"), "<!-- <methodCall>", Some(Mode::Xml)),
            (Some("text/html"), "<html>", None),
            (Some("text/html"), " {}", Some(Mode::Json)),
            (Some("text/html"), "a=1", None),
            (None, "{}", Some(Mode::Json)),
            (Some(""), "\u{feff} [1]", Some(Mode::Json)),
            (Some("text/plain"), "<a/>", Some(Mode::Xml)),
            (Some("application/octet-stream"), "\u{feff}<methodCall/>", Some(Mode::XmlRpc)),
            (None, "\r\n--b\r\n", Some(Mode::Batch)),
            (None, "-1", Some(Mode::Json)),
            (None, "first_name=Amina", Some(Mode::Form)),
            (None, "null", Some(Mode::Json)),
            (None, "no form = at all", Some(Mode::Json)),
            (None, "", Some(Mode::Json)),
        ] {
            assert_eq!(detect(content_type, body.as_bytes()), expected, "{content_type:?} {body:?}");
        }
    }
}
