//! What is read, whole and byte by byte, and what is written of it.

use std::task::Poll;

use bytes::BytesMut;
use http::{HeaderMap, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    framing::{Decoder, Framing, Misframed, Piece, Refusal},
    head::{Head, HeadLimits, Parsed, Role, Target},
    io::{Io, Wire},
    spare::borrow_input,
    write::{Changes, Ending, Writer},
};
use crate::recognise::Headers;

const MOST: usize = 8;

const LIMITS: HeadLimits = HeadLimits { fields: MOST, bytes: 400 };

fn lines(text: &str) -> BytesMut {
    BytesMut::from(text.replace('\n', "\r\n").as_str())
}

fn request(text: &str) -> Result<Head, Refusal> {
    let (mut head, mut input) = (Head::default(), lines(text));
    match head.take_request(&mut input, LIMITS)? {
        Parsed::Head => Ok(head),
        Parsed::Partly => panic!("{text:?} is no whole head"),
    }
}

fn answer(text: &str) -> Result<Head, Refusal> {
    let (mut head, mut input) = (Head::default(), lines(text));
    match head.take_answer(&mut input, LIMITS)? {
        Parsed::Head => Ok(head),
        Parsed::Partly => panic!("{text:?} is no whole head"),
    }
}

#[test]
fn a_target_is_read_alike_whatever_the_last_one_was() {
    let mut last = Uri::default();
    let absolute = "http://crm/leads?id=1";
    for target in
        ["/", "/", "/leads?id=1", "/leads?id=1", absolute, absolute, "/leads?id=1", "*", "*", "crm:80", "/"]
    {
        let head = request(&format!("GET {target} HTTP/1.1\n\n")).unwrap();
        assert_eq!(head.request(&mut last).unwrap().uri, target.parse::<Uri>().unwrap());
    }
}

#[test]
fn a_request_is_framed_in_one_way_or_not_at_all() {
    use Framing::{Chunked, Exact};
    let framed = Err(Refusal::Framing);
    for (headers, expected) in [
        ("", Ok(Exact(0))),
        ("Content-Length: 5\n", Ok(Exact(5))),
        ("Content-Length: 5\nContent-Length: 5\n", Ok(Exact(5))),
        ("Content-Length: 5, 5\n", Ok(Exact(5))),
        ("Content-Length: 5, 6\n", framed),
        ("Content-Length: 5,\n", framed),
        ("Content-Length: 5\nContent-Length: 6\n", framed),
        ("Content-Length: 9223372036854775807\n", Ok(Exact(u64::MAX / 2))),
        ("Content-Length: 9223372036854775808\n", framed),
        ("Content-Length: 18446744073709551616\n", framed),
        ("Content-Length: +5\n", framed),
        ("Content-Length: 5 5\n", framed),
        ("Content-Length: \n", framed),
        ("transfer-encoding: Chunked\n", Ok(Chunked)),
        ("Transfer-Encoding: gzip, chunked\n", Ok(Chunked)),
        ("Transfer-Encoding: chunked\nContent-Length: 5\n", Ok(Chunked)),
        ("Transfer-Encoding: chunked, gzip\n", framed),
        ("Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n", framed),
        ("Transfer-Encoding: chunk;a=b\nTransfer-Encoding: chunked\n", framed),
        ("Transfer-Encoding: identity\n", framed),
        ("Transfer-Encoding:\n", framed),
    ] {
        let head = request(&format!("POST / HTTP/1.1\n{headers}\n")).unwrap();
        assert_eq!(Framing::of_request(&head), expected, "{headers:?}");
    }
    let old = request("POST / HTTP/1.0\nTransfer-Encoding: chunked\n\n").unwrap();
    assert_eq!(Framing::of_request(&old), framed, "HTTP/1.0 knows no codings");
}

#[test]
fn an_answer_ends_as_its_head_says() {
    use Framing::{Chunked, Exact, UntilClose};
    let check = |text: &str, is_head, expected| {
        let head = answer(&format!("HTTP/1.1 {text}\n\n")).unwrap();
        assert_eq!(Framing::of_answer(&head, is_head), expected, "{text:?}");
    };
    check("200 OK", false, Ok(UntilClose));
    check("200 OK\nContent-Length: 3", false, Ok(Exact(3)));
    check("200 OK\nContent-Length: 3", true, Ok(Exact(0)));
    check("304 Not Modified\nContent-Length: 3", false, Ok(Exact(0)));
    check("204 No Content\nTransfer-Encoding: chunked", false, Ok(Exact(0)));
    check("103 Early Hints", false, Ok(Exact(0)));
    check("200 OK\nTransfer-Encoding: chunked\nContent-Length: 3", false, Ok(Chunked));
    check("200 OK\nTransfer-Encoding: gzip", false, Ok(UntilClose));
    check("200 OK\nContent-Length: 3\nContent-Length: 4", false, Err(Refusal::Framing));
}

#[test]
fn heads_are_refused_with_their_reason() {
    let refused = |text: &str| request(text).map(drop);
    assert_eq!(refused("GET / HTTP/1.2\n\n"), Err(Refusal::Version));
    assert_eq!(refused("GET / HTTP/1.1\nA : b\n\n"), Err(Refusal::Head));
    assert_eq!(refused("GET / HTTP/1.1\nA: b\n c\n\n"), Err(Refusal::Head));
    assert_eq!(refused(&format!("GET / HTTP/1.1\n{}\n", "A: b\n".repeat(MOST))), Ok(()));
    assert_eq!(refused(&format!("GET / HTTP/1.1\n{}\n", "A: b\n".repeat(MOST + 1))), Err(Refusal::TooLarge));
    assert_eq!(refused(&format!("GET / HTTP/1.1\nA: {}\n\n", "b".repeat(400))), Err(Refusal::TooLarge));
    assert_eq!(refused(&format!("GET / HTTP/1.1\nA: {}", "b".repeat(400))), Err(Refusal::TooLarge));
    assert_eq!(answer("HTTP/1.1 99 Low\n\n").map(drop), Err(Refusal::Head));
}

#[test]
fn targets_are_plain_or_looked_at_twice() {
    let check = |target: &str, path: Option<&str>, origin: Option<&str>| {
        let head = request(&format!("GET {target} HTTP/1.1\n\n")).unwrap();
        assert!(
            head.request(&mut Uri::default()).is_ok() != target.contains('#'),
            "a URL has no place for it: {target}"
        );
        let plain = match head.target() {
            Target::Plain(path) => Some(path),
            Target::Fragment(_) | Target::Odd => None,
        };
        assert_eq!((plain, head.origin_form()), (path, origin.map(str::as_bytes)), "{target}");
    };
    check("/a/b?c=/d", Some("/a/b"), Some("/a/b?c=/d"));
    check("//a", Some("//a"), Some("//a"));
    check("/a#b", None, Some("/a#b"));
    check("http://a/b#c", None, Some("/b#c"));
    check("*", None, None);
    check("http://a/b?c", None, Some("/b?c"));
    check("http://a", None, None);
    check("http://a?b/c", None, None);
    check("a:443", None, None);
}

/// The body's bytes, its trailers, and what is left of the input.
fn decode(framing: Framing, text: &[u8], step: usize) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), Misframed> {
    let (mut decoder, mut input) = (Decoder::new(framing), BytesMut::new());
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    let mut steps = text.chunks(step);
    loop {
        match decoder.decode(&mut input)? {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::Trailers(found) => trailers = found,
            Piece::End => break,
            Piece::More => match steps.next() {
                Some(more) => input.extend_from_slice(more),
                None => {
                    decoder.close()?;
                    break;
                }
            },
        }
    }
    let rest = steps.flatten().copied();
    Ok((body, trailers, input.iter().copied().chain(rest).collect()))
}

#[test]
fn bodies_end_where_they_should_however_they_come() {
    use Framing::{Chunked, Exact, UntilClose};
    let check = |framing, text: &str, expected: Result<(&str, &str), Misframed>| {
        let text = text.replace('\n', "\r\n").replace('¶', "\n").replace('§', "\r");
        for step in [1, 2, 3, 7, text.len().max(1)] {
            let decoded = decode(framing, text.as_bytes(), step);
            let decoded = decoded
                .map(|(body, _, rest)| (String::from_utf8(body).unwrap(), String::from_utf8(rest).unwrap()));
            let expected = expected.map(|(body, rest)| (body.to_owned(), rest.replace('\n', "\r\n")));
            assert_eq!(decoded, expected, "{text:?} by {step}");
        }
    };
    check(Exact(5), "helloGET", Ok(("hello", "GET")));
    check(Exact(5), "hell", Err(Misframed));
    check(Exact(0), "GET", Ok(("", "GET")));
    check(UntilClose, "all of it", Ok(("all of it", "")));
    check(Chunked, "5\nhello\n0\n\nGET", Ok(("hello", "GET")));
    check(Chunked, "5;a=b\nhello\n1 ;c\n!\n000\n\n", Ok(("hello!", "")));
    check(Chunked, "A\n0123456789\n0\nX-Sum: 7\n\nGET", Ok(("0123456789", "GET")));
    check(Chunked, "5\nhello\n", Err(Misframed));
    check(Chunked, "5\nhello!\n0\n\n", Err(Misframed));
    for size in ["", "+5", "-5", "0x5", "5 5", "g", "5¶", "5;a¶0", "5;§a", "10000000000000000", ";a"] {
        check(Chunked, &format!("{size}\nhello\n0\n\n"), Err(Misframed));
    }
    check(Chunked, &format!("5;{}\nhello\n0\n\n", "a".repeat(5_000)), Err(Misframed));
    check(Chunked, "0\nno colon\n\n", Err(Misframed));
    check(Chunked, &format!("0\n{}\n", "a: b\n".repeat(65)), Err(Misframed));
}

#[test]
fn trailers_do_not_speak_of_the_framing() {
    let text = b"0\r\nX-Sum: 7\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\n\r\n";
    let (_, trailers, _) = decode(Framing::Chunked, text, text.len()).unwrap();
    assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-sum"]);
}

#[test]
fn what_is_passed_on_keeps_its_spelling_and_its_place() {
    let head = request(
        "POST /a HTTP/1.1\nhOST: a\nConnection: x-mine, close, Content-Type\nX-Mine: 1\nX-Other:  two  words\nCONTENT-LENGTH: 5\n\
         Content-Length: 5\nContent-Type: b\n\n",
    )
    .unwrap();
    let mut out = Vec::new();
    let mut writer = Writer(&mut out);
    writer.request_line(head.method(), head.target_bytes());
    writer.passed(&head, Framing::Exact(5));
    writer.end(Ending::Open);
    let expected = "POST /a HTTP/1.1\nhOST: a\nX-Other: two  words\nCONTENT-LENGTH: 5\nContent-Type: b\n\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected.replace('\n', "\r\n"));
}

#[test]
fn what_is_added_takes_the_place_of_what_has_its_name() {
    let text = "HTTP/1.1 201 Created\nETAG: a\nx-lead-score: 9\nContent-length: 05\nSet-Cookie: 1\nX-Up: u\nset-cookie: 2\nConnection: x-up\n\n";
    let head = answer(text).unwrap();
    let check = |names: &[&'static str], without: &[http::HeaderName], length, expected: &str| {
        let added = names.iter().map(|name| (http::HeaderName::from_static(name), "7".parse().unwrap()));
        let (added, mut out): (Vec<_>, _) = (added.collect(), Vec::new());
        let framing = Framing::Exact(length);
        Writer(&mut out).changed(&head, framing, &Changes { added: &added, without, length: Some(length) });
        assert_eq!(String::from_utf8(out).unwrap(), expected.replace('\n', "\r\n"), "{names:?} {without:?}");
    };
    let cookies = "Set-Cookie: 1\nset-cookie: 2\n";
    check(&[], &[], 5, &format!("ETAG: a\nx-lead-score: 9\nContent-length: 05\n{cookies}"));
    check(&[], &[http::header::ETAG], 6, &format!("x-lead-score: 9\nContent-length: 6\n{cookies}"));
    check(&["x-lead-score"], &[], 5, &format!("ETAG: a\nContent-length: 05\n{cookies}X-Lead-Score: 7\n"));
}

#[test]
fn a_map_is_spelt_as_the_head_it_was_made_of() {
    let head = request(
        "GET / HTTP/1.1\nhOST: a\nSet-Cookie: 1\nX-Old: 2\nset-cookie: 3\nTransfer-Encoding: chunked\n\n",
    )
    .unwrap();
    let mut map = head.map().unwrap();
    map.remove("x-old");
    map.insert("x-new-one", "4".parse().unwrap());
    let mut out = Vec::new();
    let mut writer = Writer(&mut out);
    writer.map(&map, Some(&head), Framing::Exact(7));
    writer.framing(Framing::Exact(7), &map, false);
    let mut written: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    written.sort();
    assert_eq!(written, ["Content-Length: 7", "Set-Cookie: 1", "X-New-One: 4", "hOST: a", "set-cookie: 3"]);
    assert!(head.has(Role::TransferEncoding) && !head.has(Role::Upgrade));
}

#[test]
fn a_map_has_one_length_and_none_beside_a_coding() {
    let lengths = |headers: &str| {
        let map = request(&format!("POST / HTTP/1.1\n{headers}\n")).unwrap().map().unwrap();
        map.get_all("content-length")
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(lengths("Content-Length: 5\nContent-Length: 5\n"), ["5"]);
    assert_eq!(lengths("Content-Length: 5, 5\n"), ["5"]);
    assert_eq!(lengths("Content-Length: 5\nTransfer-Encoding: chunked\n"), [""; 0]);
}

#[test]
fn a_head_is_asked_for_what_its_map_has() {
    for headers in [
        "Content-Length: 5\nHost: a\ncontent-length: 5\n",
        "Content-Length: 5, 5\nX-A: 1\nx-a:\nX-B: 3\nX-A: \u{e9} \n",
        "Content-Length: 5\nTransfer-Encoding: identity\nTransfer-Encoding: chunked\n",
        "Accept: */*\n",
    ] {
        let head = request(&format!("POST / HTTP/1.1\n{headers}\n")).unwrap();
        let map = head.map().unwrap();
        for name in ["content-length", "transfer-encoding", "host", "x-a", "x-b", "accept"] {
            let (mut found, name) = (Vec::new(), http::HeaderName::from_static(name));
            head.each(&name, &mut |value| found.push(value));
            let expected: Vec<&[u8]> = map.get_all(&name).iter().map(http::HeaderValue::as_bytes).collect();
            assert_eq!(
                (head.first(&name), Headers::has(&head, &name)),
                (expected.first().copied(), !found.is_empty())
            );
            assert_eq!(found, expected, "{name} {headers}");
        }
    }
    let long = format!("POST / HTTP/1.1\n{}: 1\n\n", "x".repeat(70_000));
    let (mut head, mut input) = (Head::default(), lines(&long));
    let limits = HeadLimits { fields: 8, bytes: 100_000 };
    assert!(matches!(head.take_request(&mut input, limits), Ok(Parsed::Head)));
    assert!(head.map().is_err() && head.request(&mut Uri::default()).is_err(), "no map takes such a name");
}

#[tokio::test]
async fn a_connection_between_two_messages_holds_no_memory() {
    let (mut client, ours) = tokio::io::duplex(1 << 10);
    let mut wire = Wire::new(Io::Other(Box::new(ours)));
    for message in ["one", "another"] {
        client.write_all(message.as_bytes()).await.unwrap();
        let read = std::future::poll_fn(|context| wire.poll_read(context)).await.unwrap();
        let body = wire.input.split_to(read).freeze();
        wire.begin();
        wire.output().extend_from_slice(&body);
        std::future::poll_fn(|context| wire.poll_write(context)).await.unwrap();
        wire.settle();
        assert!(wire.is_quiet());
        assert_eq!((wire.input.capacity(), wire.unsent()), (0, 0), "what is asked for is given back");
        let mut echo = [0; 9];
        let length = client.read(&mut echo).await.unwrap();
        assert_eq!(
            (&echo[..length], &*body),
            (message.as_bytes(), message.as_bytes()),
            "and nobody writes to it"
        );
    }
}

#[tokio::test]
async fn what_is_taken_slowly_does_not_pile_up() {
    let (mut client, ours) = tokio::io::duplex(1 << 10);
    let mut wire = Wire::new(Io::Other(Box::new(ours)));
    let (mut taken, mut sent, mut most) = (0, 0, 0);
    while taken < 4 << 20 {
        if wire.unsent() < 64 << 10 {
            wire.recycle();
            wire.output().extend_from_slice(&[7; 16 << 10]);
            sent += 16 << 10;
        }
        let written = std::future::poll_fn(|context| Poll::Ready(wire.poll_write(context))).await;
        assert!(written.is_pending(), "it never catches up");
        let mut some = [0; 700];
        taken += client.read(&mut some).await.unwrap();
        most = most.max(wire.output().len());
    }
    assert!(sent > 4 << 20 && most < 128 << 10, "{most} bytes were held");
}

#[tokio::test]
async fn memory_that_small_pieces_made_grow_is_not_kept() {
    let check = async |pieces: usize, is_kept: bool| {
        let (mut client, ours) = tokio::io::duplex(64 << 10);
        let mut wire = Wire::new(Io::Other(Box::new(ours)));
        for _ in 0..pieces {
            client.write_all(&[7; 1 << 10]).await.unwrap();
            std::future::poll_fn(|context| wire.poll_read(context)).await.unwrap();
        }
        let head = wire.input.split();
        assert_eq!(head.len(), pieces << 10);
        drop(head);
        wire.settle();
        let mut spare = BytesMut::new();
        borrow_input(&mut spare);
        assert_eq!((wire.input.capacity(), spare.capacity() > 0), (0, is_kept), "{pieces}");
    };
    check(1, true).await;
    check(30, false).await;
    check(1, true).await;
}
