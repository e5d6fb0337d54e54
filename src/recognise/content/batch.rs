//! OData batches: the HTTP messages in `multipart/mixed` become a flat array, those of nested changesets in their order.
//!
//! A request is `{"method":"POST","url":"/api/data/v9.2/leads","id":"1","headers":{…},"body":{…}}`, an answer
//! `{"status":204,"id":"1","headers":{…}}`. `id` is the part's Content-ID; `body` is left out where there is none, and text
//! where it is not JSON.

use super::Out;
use crate::lead::Skip;

/// A batch holds changesets; changesets hold requests.
const MAX_DEPTH: usize = 3;

/// All messages.
pub(super) fn write(content_type: Option<&str>, body: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    let boundary = content_type.and_then(boundary).or_else(|| first_boundary(body)).ok_or(Skip::Content)?;
    out.open('[');
    parts(body, boundary, MAX_DEPTH, out)?;
    out.close(']');
    Ok(())
}

/// The `boundary` of a Content-Type, which may be quoted.
fn boundary(content_type: &str) -> Option<&str> {
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

/// Without a Content-Type, the first line that looks like a boundary is one.
fn first_boundary(body: &str) -> Option<&str> {
    let line = body.trim_start_matches("\r\n").split("\r\n").next()?;
    line.strip_prefix("--").map(str::trim_ascii_end).filter(|boundary| !boundary.is_empty())
}

/// Every part between the boundaries. What stands before the first and after the last is no part.
fn parts(body: &str, boundary: &str, depth: usize, out: &mut Out<'_>) -> Result<(), Skip> {
    let mut rest = Some(body);
    let mut part = None;
    let mut at = 0;
    while let Some(text) = rest {
        let (line, after) = text.split_once("\r\n").map_or((text, None), |(line, after)| (line, Some(after)));
        let next = after.map_or(body.len(), |after| body.len() - after.len());
        if let Some(end) = line.strip_prefix("--").and_then(|line| line.strip_prefix(boundary)) {
            let is_last = end.trim_ascii_end() == "--";
            if is_last || end.trim_ascii().is_empty() {
                if let Some(start) = part.replace(next) {
                    // The line break before a boundary belongs to it.
                    let text = body.get(start..at.max(start)).unwrap_or_default();
                    one(text.strip_suffix("\r\n").unwrap_or(text), depth, out)?;
                }
                if is_last {
                    return Ok(());
                }
            }
        }
        (rest, at) = (after, next);
    }
    Err(Skip::Parse)
}

fn one(part: &str, depth: usize, out: &mut Out<'_>) -> Result<(), Skip> {
    let (head, content) = split_head(part);
    let content_type = header(head, "content-type").unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("multipart/mixed") {
        let boundary = boundary(content_type).ok_or(Skip::Parse)?;
        return match depth.checked_sub(1) {
            Some(depth) => parts(content, boundary, depth, out),
            None => Err(Skip::Parse),
        };
    }
    if !kind.eq_ignore_ascii_case("application/http") {
        return Err(Skip::Parse);
    }
    message(header(head, "content-id"), content, out)
}

fn message(id: Option<&str>, text: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    let (start, rest) = text.split_once("\r\n").unwrap_or((text, ""));
    let (head, body) = split_head(rest);
    let mut words = start.split(' ').filter(|word| !word.is_empty());
    let (Some(first), Some(second)) = (words.next(), words.next()) else { return Err(Skip::Parse) };
    out.open('{');
    if first.starts_with("HTTP/") {
        let status: u16 = second.parse().map_err(|_| Skip::Parse)?;
        out.key("status");
        out.raw(&status.to_string());
    } else {
        out.member("method", first);
        out.member("url", path_and_query(second));
    }
    if let Some(id) = id {
        out.member("id", id);
    }
    out.key("headers");
    out.open('{');
    for (name, value) in headers(head) {
        out.member(&name.to_ascii_lowercase(), value);
    }
    out.close('}');
    let body = body.trim_matches(['\r', '\n', ' ', '\t', '\u{feff}']);
    if !body.is_empty() {
        out.key("body");
        match serde_json::from_str::<serde::de::IgnoredAny>(body) {
            Ok(_) => out.raw(body),
            Err(_) => out.string(body),
        }
    }
    out.close('}');
    Ok(())
}

/// What is before the first blank line, and what is after it.
fn split_head(text: &str) -> (&str, &str) {
    match text.strip_prefix("\r\n") {
        Some(body) => ("", body),
        None => text.split_once("\r\n\r\n").unwrap_or((text, "")),
    }
}

fn headers(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    headers(head).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Of an absolute URL what a server would see; anything else as it is.
fn path_and_query(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return url };
    rest.find(['/', '?']).and_then(|path| rest.get(path..)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, made};
    use super::*;

    const TYPE: Option<&str> = Some("multipart/mixed; boundary=\"b 1\"");

    fn check(content_type: Option<&str>, body: &str, expected: Result<&str, Skip>) {
        let body = body.replace('\n', "\r\n");
        let made = made(Mode::Batch, content_type, &body);
        assert_eq!(made.as_deref().map_err(|skip| *skip), expected, "{body}");
    }

    #[test]
    fn boundaries_are_parameters() {
        for (content_type, expected) in [
            ("multipart/mixed;boundary=a", Some("a")),
            ("multipart/mixed; charset=x; Boundary=\"a b\"", Some("a b")),
            ("multipart/mixed; boundary=a=b", Some("a=b")),
            ("multipart/mixed; boundary=", None),
            ("multipart/mixed", None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn messages_stand_in_their_order() {
        let http = "Content-Type: application/http\n";
        let request = r#"{"method":"POST","url":"/l","headers":{},"body":{"a":1.00}}"#;
        let post = "POST /l HTTP/1.1\n\n{\"a\":1.00}\n";
        check(TYPE, &format!("--b 1\n{http}\n{post}--b 1--"), Ok(&format!("[{request}]")));
        check(
            TYPE,
            &format!("\npreamble\n--b 1 \n{http}\n{post}\n--b 1--\nepilogue"),
            Ok(&format!("[{request}]")),
        );
        check(None, &format!("\n--x\n{http}\n{post}--x--\n"), Ok(&format!("[{request}]")));
        let nested = format!(
            "--b 1\n{http}Content-ID: 1\n\n{post}--b 1\nContent-Type: multipart/mixed;boundary=c\n\n--c\n\
             {http}content-id: 2\n\nPATCH http://h:1/l(7)?x=1 HTTP/1.1\nIf-Match: *\n\n{{}}\n--c--\n\n\
             --b 1\n{http}\nDELETE https://h HTTP/1.1\n\n\n--b 1--\n"
        );
        let all = concat!(
            r#"[{"method":"POST","url":"/l","id":"1","headers":{},"body":{"a":1.00}},"#,
            r#"{"method":"PATCH","url":"/l(7)?x=1","id":"2","headers":{"if-match":"*"},"body":{}},"#,
            r#"{"method":"DELETE","url":"/","headers":{}}]"#
        );
        check(TYPE, &nested, Ok(all));
        let answers = format!(
            "--b 1\n{http}Content-ID: 1\n\nHTTP/1.1 204 No Content\nOData-EntityId: http://h/l(7)\n\n\n--b 1\n{http}\n\
             HTTP/1.1 400 Bad Request\nContent-Type: text/plain\n\nno \"such\" field\n--b 1--\n"
        );
        let all = concat!(
            r#"[{"status":204,"id":"1","headers":{"odata-entityid":"http://h/l(7)"}},"#,
            r#"{"status":400,"headers":{"content-type":"text/plain"},"body":"no \"such\" field"}]"#
        );
        check(TYPE, &answers, Ok(all));
    }

    #[test]
    fn hostile_batches_are_refused_or_bounded() {
        let http = "Content-Type: application/http\n";
        check(TYPE, "", Err(Skip::Parse));
        check(None, "", Err(Skip::Content));
        check(None, "--", Err(Skip::Content));
        check(TYPE, "--b 1--", Ok("[]"));
        check(TYPE, &format!("--b 1\n{http}\nPOST /l HTTP/1.1\n\n{{}}\n"), Err(Skip::Parse));
        check(TYPE, &format!("--b 1\n{http}\nPOST\n\n{{}}\n--b 1--"), Err(Skip::Parse));
        check(TYPE, &format!("--b 1\n{http}\nHTTP/1.1 many\n\n--b 1--"), Err(Skip::Parse));
        check(TYPE, "--b 1\n\nPOST /l HTTP/1.1\n\n--b 1--", Err(Skip::Parse));
        check(TYPE, "--b 1\n--b 1--", Err(Skip::Parse));
        check(TYPE, "--b 1\nContent-Type: multipart/mixed\n\n--b 1--", Err(Skip::Parse));
        check(
            TYPE,
            &format!("--b 1\n{http}\nPOST /\0 HTTP/1.1\n\n\0\n--b 1--"),
            Ok(r#"[{"method":"POST","url":"/\u0000","headers":{},"body":"\u0000"}]"#),
        );
        let mut nested = "--b 1\n".to_owned();
        for depth in 0..10_000 {
            nested.push_str(&format!("Content-Type: multipart/mixed; boundary={depth}\n\n--{depth}\n"));
        }
        check(TYPE, &nested, Err(Skip::Parse));
        check(TYPE, &"--b 1\n".repeat(100_000), Err(Skip::Parse));
    }

    #[test]
    fn a_bare_line_feed_ends_no_line() {
        let body = "--a\nContent-Type: application/http\n\nPOST / HTTP/1.1\n\n{}\n--a--";
        assert_eq!(made(Mode::Batch, Some("multipart/mixed;boundary=a"), body), Err(Skip::Parse));
    }
}
