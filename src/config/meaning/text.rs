//! One text, one value.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::{HeaderName, Uri};
use regex::{Regex, RegexBuilder};

use crate::config::{
    at::{Pointer, Selector},
    findings::Complaint,
    problem::nearest_or_all,
    raw::RawSize,
    route::Content,
    settings::{Mask, Upstream},
};

/// Greatest size of a compiled pattern in bytes: `(a{1000}){1000}` must not eat the memory.
const PATTERN_BYTES: usize = 256 << 10;

/// `127.0.0.1:8080`, `[::1]:8080`
pub(super) fn address(text: &str) -> Result<SocketAddr, Complaint> {
    text.parse().map_err(|_| {
        let port = text.strip_prefix(':').or_else(|| text.strip_prefix("localhost:"));
        let hint = match port {
            Some(port) if text.starts_with(':') => Some(format!("for all addresses write 0.0.0.0:{port}")),
            Some(port) => Some(format!("did you mean \"127.0.0.1:{port}\"?")),
            None => None,
        };
        Complaint::new(format!("{text:?} is not an IP address with a port, such as 127.0.0.1:8080"), hint)
    })
}

/// Whether both cannot be bound. Port 0 is a new port each time.
pub(super) fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let (left, right) = (a.ip().to_canonical(), b.ip().to_canonical());
    a.port() == b.port()
        && a.port() != 0
        && (left == right || left.is_unspecified() || right.is_unspecified())
}

/// Whether an upstream is an address that Leadwire itself listens on, so that a request would go in circles.
pub(super) fn is_own(listen: SocketAddr, upstream: &Upstream) -> bool {
    let ip = upstream.host().parse();
    ip.is_ok_and(|ip| clash(listen, SocketAddr::new(ip, upstream.port)))
}

/// `http://host:port`, `h2c://host:port` or `https://host:port`, and whether it is the latter.
pub(super) fn upstream(text: &str) -> Result<(Upstream, bool), Complaint> {
    // The text is not repeated: it may hold a password.
    let shape = || Complaint::from("not a URL such as http://127.0.0.1:8069");
    let uri: Uri = text.parse().map_err(|_| shape())?;
    let authority = uri.authority().ok_or_else(shape)?;
    let scheme =
        uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https" | "h2c")).ok_or_else(shape)?;
    if authority.as_str().contains('@') {
        return Err("a user name or password has no place in the upstream's URL".into());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
        let hint = Some(format!("write {scheme}://{authority}"));
        return Err(Complaint::new("a path or query has no place in the upstream's URL", hint));
    }
    let written = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let port = match written.strip_prefix(':') {
        None if scheme == "https" => 443,
        None => 80,
        Some(digits) => {
            let port = digits.parse::<u16>().ok().filter(|port| *port > 0);
            port.ok_or_else(|| Complaint::from(format!("{digits:?} is not a port")))?
        }
    };
    if authority.host().is_empty() {
        return Err(shape());
    }
    let found = Upstream { authority: authority.clone(), port, tls: None, h2c: scheme == "h2c" };
    Ok((found, scheme == "https"))
}

/// The name of a file.
pub(super) fn file(text: &str) -> Result<PathBuf, Complaint> {
    if text.is_empty() { Err("expected the name of a file".into()) } else { Ok(text.into()) }
}

/// Bytes between two bounds, inclusive: `1048576`, `64KiB`, `1MiB`.
pub(super) fn size(raw: &RawSize, (least, most): (&str, &str)) -> Result<usize, Complaint> {
    let bytes = match raw {
        RawSize::Bytes(bytes) => *bytes,
        RawSize::Text(text) => bytes(text).ok_or_else(|| format!("{text:?} is not a size such as 1MiB"))?,
    };
    let inside = bytes >= self::bytes(least).unwrap_or(0) && bytes <= self::bytes(most).unwrap_or(u64::MAX);
    match usize::try_from(bytes) {
        Ok(bytes) if inside => Ok(bytes),
        _ => Err(format!("must be from {least} to {most}").into()),
    }
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = measure(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A time between two bounds, inclusive: `100us`, `10ms`, `30s`, `2m`, `1h`, `30d`.
pub(super) fn duration(text: &str, (least, most): (&str, &str)) -> Result<Duration, Complaint> {
    let time = time(text).ok_or_else(|| format!("{text:?} is not a time such as 10ms, 30s or 2m"))?;
    let inside = self::time(least).is_none_or(|least| time >= least)
        && self::time(most).is_none_or(|most| time <= most);
    if inside { Ok(time) } else { Err(format!("must be from {least} to {most}").into()) }
}

/// `100us`, `10ms`, `30s`, `2m`, `1h`, `30d`
pub(crate) fn time(text: &str) -> Option<Duration> {
    let (number, unit) = measure(text)?;
    match unit {
        "us" | "µs" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
}

/// A whole number and the unit behind it.
fn measure(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim_start()))
}

/// A JSON Pointer, with `{i}` only where that means something.
pub(super) fn pointer(text: &str, item: bool) -> Result<Pointer, Complaint> {
    if text.starts_with('$') {
        return Err(format!("{text:?} is a query; a JSON Pointer such as /data/id is needed here").into());
    }
    let pointer = Pointer::parse(text).map_err(|message| {
        let hint = (!text.contains([' ', '/', ':', '~'])).then(|| format!("did you mean \"/{text}\"?"));
        Complaint::new(message, hint)
    })?;
    if pointer.has_item() && !item {
        return Err("{i} has no meaning here".into());
    }
    Ok(pointer)
}

/// An RFC 9535 query.
pub(super) fn query(text: &str) -> Result<Selector, Complaint> {
    Selector::parse(text).map_err(|error| format!("{text:?} is not a query: {error}").into())
}

/// A pattern of bounded size.
pub(super) fn pattern(text: &str) -> Result<Regex, Complaint> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the pattern is too large".into(),
        // The crate draws the pattern over several lines; the last one says what is wrong.
        other => {
            let told = other.to_string();
            let reason = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("{text:?} is not a regular expression: {reason}").into()
        }
    })
}

/// A header's name.
pub(super) fn header(text: &str) -> Result<HeaderName, Complaint> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is not a header's name").into())
}

/// A name that becomes a metric label or a folder: nothing that needs quoting, nothing that climbs out.
pub(super) fn name(text: &str) -> Result<&str, Complaint> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    match plain && !text.is_empty() && text.len() <= 64 && !text.starts_with('.') {
        true => Ok(text),
        false => {
            let allowed = "up to 64 letters, digits, dots, hyphens and underscores, no dot first";
            Err(format!("{text:?} is not a name: {allowed}").into())
        }
    }
}

/// `header:NAME`, `query:NAME` or a pointer from the body's root.
pub(super) fn mask(text: &str) -> Result<Mask, Complaint> {
    if let Some(name) = text.strip_prefix("header:") {
        return header(name).map(Mask::Header);
    }
    match text.strip_prefix("query:") {
        Some("") => Err("query: needs a name".into()),
        Some(name) => Ok(Mask::Query(name.into())),
        None if text.starts_with('/') => pointer(text, false).map(Mask::Body),
        None => Err(format!("{text:?} is not header:NAME, query:NAME or a JSON Pointer").into()),
    }
}

/// How a body is read.
pub(super) fn content(text: &str) -> Result<Content, Complaint> {
    Ok(match text {
        "auto" => Content::Auto,
        "json" => Content::Json,
        "form" => Content::Form,
        "csv" => Content::Csv,
        "multipart-batch" => Content::MultipartBatch,
        "xmlrpc" => Content::XmlRpc,
        "xml" => Content::Xml,
        other => match other.strip_prefix("form-json:") {
            Some(field) if !field.is_empty() => Content::FormJson(field.into()),
            _ => {
                let known =
                    ["auto", "json", "form", "form-json:FIELD", "csv", "multipart-batch", "xmlrpc", "xml"];
                return Err(Complaint::new(
                    format!("{other:?} is not known here"),
                    nearest_or_all(other, known),
                ));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        let size = |text: &str| bytes(text);
        assert_eq!(
            [size("1048576"), size("1MiB"), size("64 KiB")],
            [Some(1 << 20), Some(1 << 20), Some(1 << 16)]
        );
        assert_eq!([size("1MB"), size("MiB"), size("-1"), size("99999999999GiB")], [None; 4]);
        let millis = |text: &str| time(text).map(|time| time.as_millis());
        assert_eq!([millis("10ms"), millis("2m"), millis("1500us")], [Some(10), Some(120_000), Some(1)]);
        assert_eq!([millis("1h"), millis("30d")], [Some(3_600_000), Some(2_592_000_000)]);
        assert_eq!([millis("10"), millis("s"), millis("1.5s"), millis("9999999999999999999h")], [None; 4]);
    }
}
