//! Requests that two servers could read in two ways: refused, or passed on so that the upstream sees just one reading.

use std::io::{Read, Write};

use crate::support::{Running, Upstream, answer};

/// What becomes of a request.
#[derive(Debug, PartialEq)]
enum Fate {
    /// 400 or 431 or 505, the upstream sees nothing, and the connection ends.
    Refused,
    /// The upstream sees this body, and one request only.
    Passed(&'static str),
}
use Fate::{Passed, Refused};

#[test]
fn no_request_has_two_readings() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::start(upstream.address);
    let mut wrong = Vec::new();
    for (what, request, expected) in requests() {
        let before = upstream.requests().len();
        let mut client = sidecar.client();
        let stream = client.stream.get_mut();
        // A proxy that has refused already may have closed the connection.
        _ = stream.write_all(request.replace('\n', "\r\n").replace('¶', "\n").replace('§', "\r").as_bytes());
        stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        let mut answer = Vec::new();
        _ = client.stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let seen = upstream.requests().split_off(before);
        let bodies: Vec<String> =
            seen.iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
        let status = answer.split(' ').nth(1).unwrap_or("none");
        let answers = answer.matches("HTTP/1.1 ").count();
        let is_so = match expected {
            Refused => bodies.is_empty() && matches!(status, "400" | "431" | "505") && answers == 1,
            Passed(body) => bodies == [body] && status == "200" && answers == 1,
        };
        if !is_so {
            wrong.push(format!("{what}: expected {expected:?}, {status}, upstream saw {bodies:?}"));
        }
        for seen in &seen {
            let framings = ["content-length", "transfer-encoding"].map(|name| {
                seen.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).count()
            });
            if framings.iter().sum::<usize>() > 1 {
                wrong.push(format!("{what}: framed twice: {:?}", seen.headers));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `\n` stands for CRLF, `¶` for a bare LF, `§` for a bare CR.
#[expect(clippy::too_many_lines, reason = "a table")]
fn requests() -> Vec<(&'static str, &'static str, Fate)> {
    vec![
        ("plain", "POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", Passed("hello")),
        (
            "chunked",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
            Passed("hello"),
        ),
        (
            "two lengths that differ",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Length: 6\n\nhello!",
            Refused,
        ),
        (
            "a list of lengths that differ",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 5, 6\n\nhello!",
            Refused,
        ),
        (
            "the same length twice",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Length: 5\n\nhello",
            Passed("hello"),
        ),
        ("a signed length", "POST / HTTP/1.1\nHost: a\nContent-Length: +5\n\nhello", Refused),
        ("a negative length", "POST / HTTP/1.1\nHost: a\nContent-Length: -5\n\nhello", Refused),
        ("a length in hex", "POST / HTTP/1.1\nHost: a\nContent-Length: 0x5\n\nhello", Refused),
        ("an empty length", "POST / HTTP/1.1\nHost: a\nContent-Length:\n\nhello", Refused),
        (
            "a length beyond 63 bits",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 9223372036854775808\n\nhello",
            Refused,
        ),
        (
            "a length beyond 64 bits",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 18446744073709551621\n\nhello",
            Refused,
        ),
        (
            "a length and chunks",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 3\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
            Passed("hello"),
        ),
        (
            "chunks and a length",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 3\n\n5\nhello\n0\n\n",
            Passed("hello"),
        ),
        (
            "a coding that is not chunked",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: identity\nContent-Length: 5\n\nhello",
            Refused,
        ),
        (
            "chunked, but not last",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, identity\n\n5\nhello\n0\n\n",
            Refused,
        ),
        (
            "chunked twice",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
            Refused,
        ),
        (
            "another coding in a line of its own",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunk;a=bed\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
            Refused,
        ),
        (
            "chunked twice, and on to another protocol",
            "POST / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: x\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
            Refused,
        ),
        (
            "a body, and on to another protocol",
            "POST / HTTP/1.1\nHost: a\nConnection: Upgrade, close\nUpgrade: x\nContent-Length: 5\n\nhello",
            Passed("hello"),
        ),
        (
            "a coding that looks like chunked",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: xchunked\n\n5\nhello\n0\n\n",
            Refused,
        ),
        (
            "chunks to HTTP/1.0",
            "POST / HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
            Refused,
        ),
        ("a space before the colon", "POST / HTTP/1.1\nHost: a\nContent-Length : 5\n\nhello", Refused),
        (
            "a space before the colon of the coding",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding : chunked\n\n5\nhello\n0\n\n",
            Refused,
        ),
        ("a folded line", "POST / HTTP/1.1\nHost: a\nX-A: b\n Content-Length: 5\n\nhello", Refused),
        (
            "a folded coding",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding:\n chunked\n\n5\nhello\n0\n\n",
            Refused,
        ),
        ("a NUL in a value", "POST / HTTP/1.1\nHost: a\nX-A: b\0c\nContent-Length: 5\n\nhello", Refused),
        ("a NUL in a name", "POST / HTTP/1.1\nHost: a\nX\0A: b\nContent-Length: 5\n\nhello", Refused),
        ("a bare CR in a value", "POST / HTTP/1.1\nHost: a\nX-A: b§c\nContent-Length: 5\n\nhello", Refused),
        ("a length behind a bare CR", "POST / HTTP/1.1\nHost: a\nX-A: b§Content-Length: 5\n\nhello", Refused),
        ("no name", "POST / HTTP/1.1\nHost: a\n: b\nContent-Length: 5\n\nhello", Refused),
        ("no colon", "POST / HTTP/1.1\nHost: a\nContent-Length 5\n\nhello", Refused),
        (
            "a chunk's size with a sign",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n+5\nhello\n0\n\n",
            Refused,
        ),
        (
            "a chunk's size with 0x",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0x5\nhello\n0\n\n",
            Refused,
        ),
        (
            "a chunk's size beyond 64 bits",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n10000000000000005\nhello\n0\n\n",
            Refused,
        ),
        (
            "a chunk longer than its size",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n3\nhello\n0\n\n",
            Refused,
        ),
        (
            "a chunk's extension",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5;a=b\nhello\n0\n\n",
            Passed("hello"),
        ),
        (
            "a bare LF in a chunk's extension",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5;a¶5\nhello\n0\n\n",
            Refused,
        ),
        ("an unknown version", "POST / HTTP/1.2\nHost: a\nContent-Length: 5\n\nhello", Refused),
        ("no version", "POST /\nHost: a\n\n", Refused),
        (
            "a fragment behind a route's path",
            "POST /services/data/v61.0/sobjects/Lead#c HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello",
            Refused,
        ),
        (
            "a whole URL with a fragment",
            "POST http://a/b#c HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello",
            Refused,
        ),
        ("two spaces", "POST  / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", Refused),
    ]
}
