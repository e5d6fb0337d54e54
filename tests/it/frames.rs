//! HTTP/2 frame by frame: what breaks the rules of RFC 9113 is answered with the code that it names, and what could be read
//! in two ways after the way down to HTTP/1.1 reaches no upstream.

use std::{io::Read, thread};

use crate::support::{
    CREATE, Client, LEAD, Running, Upstream, answer, created,
    http2::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, PRIORITY,
        PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    },
};

// RFC 9113, section 7.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What becomes of a connection.
#[derive(Debug, PartialEq)]
enum Fate {
    /// Stream 1 is reset, and the connection goes on.
    Reset(u32),
    /// Stream 1 has an answer of this status, and the connection goes on.
    Answered(u16),
    /// Nothing answers, and the connection goes on.
    Ignored,
    /// The connection ends.
    GoneAway(u32),
}
use Fate::{Answered, GoneAway, Ignored, Reset};

const GET: [(&[u8], &[u8]); 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"crm")];

fn get(stream: u32) -> Frame {
    Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, block(&GET))
}

/// A request without its end.
fn open(stream: u32) -> Frame {
    let mut headers = GET.to_vec();
    headers[0].1 = b"POST";
    Frame::new(HEADERS, END_HEADERS, stream, block(&headers))
}

/// Only what the static table of HPACK knows, or "other".
fn status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x8c) => 400,
        _ => 0,
    }
}

/// Sends bytes, then a request on a later stream; what is said of stream 1 and of the connection. Where stream 1 is
/// answered, the later one may be answered before it.
fn fate(sidecar: &Running, bytes: &[u8], is_answered: bool) -> Fate {
    let mut frames = Frames::connect(sidecar.listen);
    frames.send(bytes);
    let mut found = Ignored;
    frames.send(&Frame::new(PING, 0, 0, *b"settled?").bytes());
    let (mut asked, mut told) = (false, false);
    loop {
        if told && (found != Ignored || !is_answered) {
            return found;
        }
        match frames.next_of(&[HEADERS, RST_STREAM, GOAWAY, PING]) {
            None => return GoneAway(u32::MAX),
            Some(frame) if frame.kind == GOAWAY && frame.code() != NO_ERROR => return GoneAway(frame.code()),
            Some(frame) if frame.kind == PING && frame.payload == b"settled?" && !asked => {
                asked = true;
                frames.send(&get(101).bytes());
            }
            Some(frame) if frame.stream == 101 => {
                assert_eq!(frame.kind, HEADERS, "the connection goes on");
                told = true;
            }
            Some(frame) if frame.kind == RST_STREAM && found == Ignored => found = Reset(frame.code()),
            Some(frame) if frame.kind == HEADERS => found = Answered(status(&frame.payload)),
            Some(_) => {}
        }
    }
}

/// Where several fates are told, the first is the RFC's own. The library names some errors no closer than
/// `PROTOCOL_ERROR`, which the peer cannot tell from them but by the number.
fn check(sidecar: &Running, cases: &[(&str, Vec<Frame>, &[Fate])]) {
    let mut wrong = Vec::new();
    for (what, frames, expected) in cases {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let is_answered = expected.iter().any(|fate| matches!(fate, Answered(_)));
        let found = fate(sidecar, &bytes, is_answered);
        if !expected.contains(&found) {
            wrong.push(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn frames_that_break_the_rules_end_a_stream_or_the_connection_and_others_are_ignored() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::start(upstream.address);
    let frame = |kind, flags, stream, payload: &[u8]| Frame::new(kind, flags, stream, payload);
    let setting = |id: u8, value: u32| [&[0, id], &value.to_be_bytes()[..]].concat();
    let lone = |frame| vec![frame];
    check(
        &sidecar,
        &[
            ("a request", lone(get(1)), &[Answered(200)]),
            ("an unknown frame", lone(frame(0xfa, 0xff, 1, b"?")), &[Ignored]),
            ("a priority", lone(frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7])), &[Ignored]),
            ("an unknown setting", lone(frame(SETTINGS, 0, 0, &setting(0x7f, 1))), &[Ignored]),
            ("an answer to no ping", lone(frame(PING, ACK, 0, &[0; 8])), &[Ignored]),
            (
                "a frame that is too long",
                vec![open(1), frame(DATA, 0, 1, &[0; 16_385])],
                &[GoneAway(FRAME_SIZE_ERROR)],
            ),
            (
                "half a setting",
                lone(frame(SETTINGS, 0, 0, &[0; 5])),
                &[GoneAway(FRAME_SIZE_ERROR), GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "settings in an acknowledgement",
                lone(frame(SETTINGS, ACK, 0, &setting(4, 1))),
                &[GoneAway(FRAME_SIZE_ERROR), GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "settings of a stream",
                lone(frame(SETTINGS, 0, 1, &setting(4, 1))),
                &[GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a frame size below the least",
                lone(frame(SETTINGS, 0, 0, &setting(5, 1))),
                &[GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a window beyond 31 bits",
                lone(frame(SETTINGS, 0, 0, &setting(4, 1 << 31))),
                &[GoneAway(FLOW_CONTROL_ERROR), GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a ping of five bytes",
                lone(frame(PING, 0, 0, &[0; 5])),
                &[GoneAway(FRAME_SIZE_ERROR), GoneAway(PROTOCOL_ERROR)],
            ),
            ("a ping of a stream", lone(frame(PING, 0, 1, &[0; 8])), &[GoneAway(PROTOCOL_ERROR)]),
            (
                "a window that grows by nothing",
                lone(frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
                &[GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a connection's window that overflows",
                lone(frame(WINDOW_UPDATE, 0, 0, &(u32::MAX >> 1).to_be_bytes())),
                &[GoneAway(FLOW_CONTROL_ERROR)],
            ),
            (
                "a stream's window that overflows",
                vec![open(1), frame(WINDOW_UPDATE, 0, 1, &(u32::MAX >> 1).to_be_bytes())],
                &[Reset(FLOW_CONTROL_ERROR)],
            ),
            ("data of no stream", lone(frame(DATA, 0, 0, b"x")), &[GoneAway(PROTOCOL_ERROR)]),
            ("data of a stream that never was", lone(frame(DATA, 0, 1, b"x")), &[GoneAway(PROTOCOL_ERROR)]),
            (
                "data after the end",
                vec![get(1), frame(DATA, END_STREAM, 1, b"x")],
                &[GoneAway(STREAM_CLOSED), Reset(STREAM_CLOSED), GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "padding longer than its frame",
                vec![open(1), frame(DATA, 8, 1, &[9, 0])],
                &[GoneAway(PROTOCOL_ERROR)],
            ),
            ("a stream of the server's", lone(get(2)), &[GoneAway(PROTOCOL_ERROR)]),
            (
                "a stream's number once more",
                vec![get(5), get(3)],
                &[GoneAway(PROTOCOL_ERROR), GoneAway(STREAM_CLOSED)],
            ),
            (
                "a reset of a stream that never was",
                lone(frame(RST_STREAM, 0, 1, &[0; 4])),
                &[GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a promise from a client",
                lone(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
                &[GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a head's rest without its beginning",
                lone(frame(CONTINUATION, END_HEADERS, 1, &[])),
                &[GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a ping amid a head",
                vec![frame(HEADERS, 0, 1, &block(&GET)), frame(PING, 0, 0, &[0; 8])],
                &[GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a head of nonsense",
                lone(frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff])),
                &[GoneAway(COMPRESSION_ERROR), GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a head in two frames",
                vec![
                    frame(HEADERS, END_STREAM, 1, &block(&GET[..2])),
                    frame(CONTINUATION, END_HEADERS, 1, &block(&GET[2..])),
                ],
                &[Answered(200)],
            ),
        ],
    );
}

#[test]
fn what_costs_little_to_send_is_bounded() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::start(upstream.address);
    let empty = Frame::new(CONTINUATION, 0, 1, []);
    let endless = [vec![Frame::new(HEADERS, 0, 1, block(&GET))], vec![empty; 10_000]].concat();
    // In one piece, as an attacker sends them: the library counts those that were reset before anybody saw them.
    let resets = (0..2_000).flat_map(|index| {
        let stream = 2 * index + 1;
        [get(stream), Frame::new(RST_STREAM, 0, stream, 8u32.to_be_bytes())]
    });
    check(
        &sidecar,
        &[
            ("a head that never ends", endless, &[GoneAway(ENHANCE_YOUR_CALM)]),
            ("streams that are reset at once", resets.collect(), &[GoneAway(ENHANCE_YOUR_CALM)]),
        ],
    );
    let mut many = (0..150).map(|index| open(2 * index + 1));
    let mut frames = Frames::connect(sidecar.listen);
    frames.send(&many.by_ref().flat_map(|frame| frame.bytes()).collect::<Vec<u8>>());
    let refused = frames.next_of(&[RST_STREAM, GOAWAY]).unwrap();
    assert_eq!((refused.kind, refused.stream, refused.code()), (RST_STREAM, 201, 7), "REFUSED_STREAM");
}

#[test]
fn who_sends_more_than_the_window_is_told() {
    // It never reads, so that the window is not opened again once all buffers are full.
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = Running::start(upstream.local_addr().unwrap());
    let mut frames = Frames::connect(sidecar.listen);
    let mut writer = Frames { stream: frames.stream.try_clone().unwrap() };
    let writing = thread::spawn(move || {
        writer.send(&open(1).bytes());
        let data = Frame::new(DATA, 0, 1, [0; 16_384]).bytes();
        (0..4_096).for_each(|_| writer.send(&data));
    });
    let told = frames.next_of(&[RST_STREAM, GOAWAY]).unwrap();
    assert_eq!(told.code(), FLOW_CONTROL_ERROR);
    drop(frames.stream.shutdown(std::net::Shutdown::Both));
    writing.join().unwrap();
}

#[test]
fn a_preface_that_is_none_is_no_request() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], "ok"));
    let sidecar = Running::start(upstream.address);
    for bytes in
        [&b"PRI * HTTP/2.0\r\n\r\nXM\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\n\r\n", b"PRJ * HTTP/2.0\r\n\r\n"]
    {
        let mut client: Client = sidecar.client();
        client.send(bytes);
        let mut told = String::new();
        _ = client.stream.read_to_string(&mut told);
        assert!(told.starts_with("HTTP/1.1 505 "), "{told}");
    }
    assert!(upstream.requests().is_empty());
}

type Headers<'h> = Vec<(&'h [u8], &'h [u8])>;

/// A create whose head is of these headers, and whose body comes in one frame.
fn create(headers: &[(&[u8], &[u8])], body: &[u8]) -> Vec<Frame> {
    let head = Frame::new(HEADERS, END_HEADERS, 1, block(headers));
    vec![head, Frame::new(DATA, END_STREAM, 1, body)]
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn no_request_has_two_readings_after_the_way_down() {
    let upstream = Upstream::start(|request| match &*request.start {
        "GET / HTTP/1.1" => answer("200 OK", &[], "ok"),
        _ => created("00Q1"),
    });
    let sidecar = Running::start(upstream.address);
    let base: [(&[u8], &[u8]); 4] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", CREATE.as_bytes()),
        (b":authority", b"crm"),
    ];
    let more = |name: &'static [u8], value: &'static [u8]| [&base[..], &[(name, value)]].concat();
    let twice = |name: &'static [u8], one: &'static [u8], two: &'static [u8]| {
        [&base[..], &[(name, one), (name, two)]].concat()
    };
    let without = |name: &[u8]| base.iter().filter(|(known, _)| *known != name).copied().collect::<Vec<_>>();
    let with = |name: &[u8], value: &'static [u8]| {
        base.map(|(known, old)| if known == name { (known, value) } else { (known, old) }).to_vec()
    };
    let moved = [&[(&b"x-a"[..], &b"b"[..])], &base[..]].concat();
    let cases: Vec<(&str, Headers<'_>, Fate)> = vec![
        ("a transfer coding", more(b"transfer-encoding", b"chunked"), Reset(PROTOCOL_ERROR)),
        ("an unknown transfer coding", more(b"transfer-encoding", b"x"), Reset(PROTOCOL_ERROR)),
        ("a connection's header", more(b"connection", b"close"), Reset(PROTOCOL_ERROR)),
        ("an upgrade", more(b"upgrade", b"websocket"), Reset(PROTOCOL_ERROR)),
        ("keep-alive", more(b"keep-alive", b"5"), Reset(PROTOCOL_ERROR)),
        ("proxy-connection", more(b"proxy-connection", b"close"), Reset(PROTOCOL_ERROR)),
        ("other TE than trailers", more(b"te", b"gzip"), Reset(PROTOCOL_ERROR)),
        ("CR LF in a value", more(b"x-a", b"b\r\nx-b: c"), Reset(PROTOCOL_ERROR)),
        ("a bare LF in a value", more(b"x-a", b"b\nx-b: c"), Reset(PROTOCOL_ERROR)),
        ("a bare CR in a value", more(b"x-a", b"b\rc"), Reset(PROTOCOL_ERROR)),
        ("a NUL in a value", more(b"x-a", b"b\0c"), Reset(PROTOCOL_ERROR)),
        ("CR LF in a name", more(b"x-a: b\r\nx-b", b"c"), Reset(PROTOCOL_ERROR)),
        ("a colon in a name", more(b"x-a:", b"c"), Reset(PROTOCOL_ERROR)),
        ("a space in a name", more(b"x a", b"c"), Reset(PROTOCOL_ERROR)),
        ("no name", more(b"", b"c"), Reset(PROTOCOL_ERROR)),
        ("capitals in a name", more(b"X-A", b"b"), Reset(PROTOCOL_ERROR)),
        ("a length that is too great", more(b"content-length", b"100000"), Reset(PROTOCOL_ERROR)),
        ("a length that is too small", more(b"content-length", b"5"), Reset(PROTOCOL_ERROR)),
        ("a length that is none", more(b"content-length", b"+5"), Reset(PROTOCOL_ERROR)),
        ("two lengths that differ", twice(b"content-length", b"5", b"6"), Reset(PROTOCOL_ERROR)),
        ("a pseudo-header after others", moved, Reset(PROTOCOL_ERROR)),
        ("an unknown pseudo-header", more(b":x", b"y"), Reset(PROTOCOL_ERROR)),
        ("an answer's pseudo-header", more(b":status", b"200"), Reset(PROTOCOL_ERROR)),
        ("two methods", twice(b":method", b"GET", b"POST"), Reset(PROTOCOL_ERROR)),
        ("no method", without(b":method"), Reset(PROTOCOL_ERROR)),
        ("no scheme", without(b":scheme"), Reset(PROTOCOL_ERROR)),
        ("no path", without(b":path"), Reset(PROTOCOL_ERROR)),
        ("an empty path", with(b":path", b""), Reset(PROTOCOL_ERROR)),
        ("a line in the method", with(b":method", b"POST / HTTP/1.1\r\nx:"), Reset(PROTOCOL_ERROR)),
        ("a line in the path", with(b":path", b"/ HTTP/1.1\r\nx: y"), Reset(PROTOCOL_ERROR)),
        ("a space in the path", with(b":path", b"/a b"), Reset(PROTOCOL_ERROR)),
        ("a line in the authority", with(b":authority", b"crm\r\nx: y"), Reset(PROTOCOL_ERROR)),
        ("a URL for a path", with(b":path", b"http://other/"), Reset(PROTOCOL_ERROR)),
        ("a path without its slash", with(b":path", b"services"), Reset(PROTOCOL_ERROR)),
        ("a star for a path", with(b":path", b"*"), Answered(400)),
        ("two hosts", more(b"host", b"other"), Answered(400)),
        ("two host headers", twice(b"host", b"crm", b"crm"), Answered(400)),
        ("somebody at a host", with(b":authority", b"me@crm"), Answered(400)),
    ];
    let mut wrong = Vec::new();
    for (what, headers, expected) in cases {
        let before = upstream.requests().len();
        let bytes: Vec<u8> = create(&headers, LEAD.as_bytes()).iter().flat_map(Frame::bytes).collect();
        let found = fate(&sidecar, &bytes, matches!(expected, Answered(_)));
        let seen: Vec<String> =
            upstream.requests().split_off(before).iter().map(|seen| seen.start.clone()).collect();
        // The library may end the connection for it, too (section 5.4.1); else the request of `fate` comes through.
        let is_so = match found {
            GoneAway(PROTOCOL_ERROR) => expected == Reset(PROTOCOL_ERROR) && seen.is_empty(),
            _ => found == expected && seen == ["GET / HTTP/1.1"],
        };
        if !is_so {
            wrong.push(format!("{what}: expected {expected:?}, found {found:?}, upstream saw {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        fate(
            &sidecar,
            &create(&base, LEAD.as_bytes()).iter().flat_map(Frame::bytes).collect::<Vec<u8>>(),
            true
        ),
        Answered(0)
    );
}
