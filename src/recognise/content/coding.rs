//! Content codings: gzip, deflate and br are undone, with a bound on what comes out.

use std::{borrow::Cow, io::Read};

use brotli_decompressor::{BrotliDecoderParameter, Decompressor};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderValue, header};

use crate::{
    lead::Skip,
    recognise::headers::{Headers, ascii},
};

/// As many codings in a row as are undone; nobody applies more than two.
const MAX_CODINGS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

impl Coding {
    /// `Ok(None)` for no coding at all, `Err` for one that is not known here.
    fn parse(name: &str) -> Result<Option<Self>, Skip> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if name.is_empty() || is("identity") => Ok(None),
            () if is("gzip") || is("x-gzip") => Ok(Some(Coding::Gzip)),
            () if is("deflate") => Ok(Some(Coding::Deflate)),
            () if is("br") => Ok(Some(Coding::Brotli)),
            () => Err(Skip::Encoding),
        }
    }

    fn undo(self, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Skip> {
        match self {
            Coding::Gzip => read(MultiGzDecoder::new(body), limit, out),
            // The name means zlib's format, and some senders leave its frame out.
            Coding::Deflate if is_zlib(body) => read(ZlibDecoder::new(body), limit, out),
            Coding::Deflate => read(DeflateDecoder::new(body), limit, out),
            Coding::Brotli => {
                let mut decoder = Decompressor::new(body, 4096);
                // Windows beyond the 16 MiB of RFC 7932 are an extension; a few bytes could claim a gigabyte by it.
                decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
                read(decoder, limit, out)
            }
        }
    }
}

/// The codings of a body in the order in which they were applied.
fn codings(headers: &dyn Headers) -> Result<Vec<Coding>, Skip> {
    let (mut codings, mut are_known) = (Vec::new(), true);
    headers.each(&header::CONTENT_ENCODING, &mut |value| {
        for name in ascii(value).unwrap_or("?").split(',') {
            match Coding::parse(name.trim()) {
                Ok(coding) => codings.extend(coding),
                Err(_) => are_known = false,
            }
        }
    });
    if are_known && codings.len() <= MAX_CODINGS { Ok(codings) } else { Err(Skip::Encoding) }
}

/// Whether the codings of a body are known here.
pub fn decodes(headers: &dyn Headers) -> bool {
    codings(headers).is_ok()
}

/// A body without its codings: as it is where it has none, else decoded into `buffer`. `Err(Body)` where that takes more
/// than `limit` bytes, `Err(Encoding)` where a coding is unknown or broken.
pub fn decode<'b>(
    headers: &dyn Headers,
    body: &'b [u8],
    limit: usize,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], Skip> {
    if !headers.has(&header::CONTENT_ENCODING) {
        return Ok(body);
    }
    let codings = codings(headers)?;
    let mut coded = Cow::Borrowed(body);
    for (left, coding) in codings.iter().enumerate().rev() {
        buffer.clear();
        coding.undo(&coded, limit, buffer)?;
        if left > 0 {
            coded = Cow::Owned(std::mem::take(buffer));
        }
    }
    Ok(if codings.is_empty() { body } else { buffer })
}

fn read(decoder: impl Read, limit: usize, out: &mut Vec<u8>) -> Result<(), Skip> {
    let mut bounded = decoder.take((limit as u64).saturating_add(1));
    bounded.read_to_end(out).map_err(|_| Skip::Encoding)?;
    if out.len() > limit { Err(Skip::Body) } else { Ok(()) }
}

/// A zlib header (RFC 1950) names deflate and is a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 15 == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

/// Takes from what a client accepts the codings that are not known here, so that the answer can be read; `identity` where
/// nothing is left. A client that asks for nothing is not spoken for. Whether anything was taken.
pub fn offer(headers: &mut HeaderMap) -> bool {
    if is_readable(headers) {
        return false;
    }
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let items = values.flat_map(|value| accepted(value.as_bytes()));
    let kept: Vec<&str> = items.filter(|item| !item.is_empty() && is_known(item)).collect();
    let kept = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
    // Parts of what came in a header fit in one.
    if let Ok(value) = HeaderValue::try_from(kept) {
        headers.insert(header::ACCEPT_ENCODING, value);
    }
    true
}

/// Whether the answer can be read in whatever coding a request accepts.
pub fn is_readable(headers: &dyn Headers) -> bool {
    let mut is_readable = true;
    headers.each(&header::ACCEPT_ENCODING, &mut |value| is_readable &= accepted(value).all(is_known));
    is_readable
}

/// `gzip`, `br;q=0.5` and so on. What is not ASCII names no coding.
fn accepted(value: &[u8]) -> impl Iterator<Item = &str> {
    ascii(value).unwrap_or("?").split(',').map(str::trim)
}

/// Whether an answer can be read that keeps to this: its coding is known here, or it must not be used.
fn is_known(item: &str) -> bool {
    let (name, weight) = item.split_once(';').unwrap_or((item, ""));
    let refused =
        weight.trim().strip_prefix("q=0").is_some_and(|rest| rest.trim_matches(['.', '0']).is_empty());
    refused || Coding::parse(name.trim()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    const TEXT: &str = r#"{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}{"a":1}"#;
    /// [`TEXT`], as Node's zlib writes it.
    const BROTLI: &str = "1b8b00f88dd462adb037d6223a617b2aa62f628b04fe0905";
    /// 8 MiB of zeros, likewise.
    const BROTLI_BOMB: &str = "9bffff7ff82700e2b14020f7fe0f";
    /// Nothing, in a window of 2^30 bytes, by the extension for large windows.
    const BROTLI_WINDOW: &str = "11de";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn headers(name: &header::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn check(coding: &[&'static str], body: &[u8], expected: Result<&str, Skip>) {
        let headers = headers(&header::CONTENT_ENCODING, coding);
        let mut buffer = b"left over".to_vec();
        let decoded = decode(&headers, body, 1 << 10, &mut buffer);
        assert_eq!(decoded.map(|bytes| std::str::from_utf8(bytes).unwrap()), expected, "{coding:?}");
        assert!(buffer.capacity() <= 4 << 10, "{coding:?} took {} bytes", buffer.capacity());
    }

    #[test]
    fn every_coding_is_undone_one_after_another() {
        let text = TEXT.as_bytes();
        check(&[], text, Ok(TEXT));
        check(&["identity"], text, Ok(TEXT));
        check(&["gzip"], &gzip(text), Ok(TEXT));
        check(&["X-GZip"], &gzip(text), Ok(TEXT));
        check(&["gzip"], &[gzip(&text[..7]), gzip(&text[7..])].concat(), Ok(TEXT));
        check(&["deflate"], &zlib(text), Ok(TEXT));
        check(&["deflate"], &raw(text), Ok(TEXT));
        check(&["br"], &hex(BROTLI), Ok(TEXT));
        check(&["deflate, gzip"], &gzip(&zlib(text)), Ok(TEXT));
        check(&["br", "identity", "gzip"], &gzip(&hex(BROTLI)), Ok(TEXT));
    }

    #[test]
    fn what_is_unknown_broken_or_too_large_is_not_undone() {
        let text = TEXT.as_bytes();
        for coding in ["zstd", "gzip, zstd", "compress", "gzip,gzip,gzip,gzip,gzip"] {
            check(&[coding], text, Err(Skip::Encoding));
        }
        for coding in ["gzip", "deflate", "br"] {
            check(&[coding], b"", Err(Skip::Encoding));
            check(&[coding], b"\xff\xff\xff\xff", Err(Skip::Encoding));
        }
        let cut = gzip(text);
        check(&["gzip"], &cut[..cut.len() - 1], Err(Skip::Encoding));
        check(&["br"], &hex(BROTLI)[..10], Err(Skip::Encoding));
        check(&["br"], &hex(BROTLI_WINDOW), Err(Skip::Encoding));
        let bomb = vec![0; 8 << 20];
        check(&["gzip"], &gzip(&bomb), Err(Skip::Body));
        check(&["deflate"], &zlib(&bomb), Err(Skip::Body));
        check(&["gzip, gzip"], &gzip(&gzip(&bomb)), Err(Skip::Body));
        check(&["br"], &hex(BROTLI_BOMB), Err(Skip::Body));
    }

    #[test]
    fn a_client_is_answered_in_a_coding_that_both_know() {
        for (accepts, expected) in [
            (&[][..], &[][..]),
            (&["gzip"], &["gzip"]),
            (&["gzip, deflate, br"], &["gzip, deflate, br"]),
            (&["gzip", "br;q=0.5"], &["gzip", "br;q=0.5"]),
            (&["gzip, deflate, br, zstd"], &["gzip, deflate, br"]),
            (&["zstd;q=1.0, gzip;q=0.8", "br"], &["gzip;q=0.8, br"]),
            (&["zstd"], &["identity"]),
            (&["*"], &["identity"]),
            (&["gzip, *;q=0.1"], &["gzip"]),
            (&["gzip, *;q=0"], &["gzip, *;q=0"]),
            (&["zstd; q=0.000, gzip"], &["zstd; q=0.000, gzip"]),
            (&[""], &[""]),
        ] {
            let mut accepted = headers(&header::ACCEPT_ENCODING, accepts);
            offer(&mut accepted);
            let left: Vec<&str> = accepted
                .get_all(header::ACCEPT_ENCODING)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect();
            assert_eq!(left, expected, "{accepts:?}");
        }
    }
}
