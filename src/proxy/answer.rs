//! The upstream's answer, with its body as far as the route needs it.

use std::{
    cell::Ref,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header, response::Parts};

use super::{
    body::{Body, Read},
    h1::Head,
    inspect::Judged,
    worker::Worker,
};
use crate::{
    config::Limits,
    lead::Skip,
    recognise::{Answer, Doc, Headers, Route, Tape, View, content_type, decode, decodes},
};

/// Headers that are added to an answer, each of another name.
pub(super) type Added = Vec<(HeaderName, HeaderValue)>;

/// An answer, with its body as far as the route needs it.
pub(super) struct Heard<'h> {
    pub(super) parts: Parts,
    /// The CRM's headers, where `parts` hold only those that are added.
    said: Option<Said<'h>>,
    pub(super) body: Body,
    /// The body, where it could be read.
    slate: Slate,
    /// Whether what stands there is the body, without its codings. JSON that was made of one is read and never written to.
    /// `None` where nothing stands there.
    is_body: Option<bool>,
    /// Why the body was not read, where that was asked for.
    pub(super) unread: Option<Skip>,
}

impl Slate {
    /// Without memory that only an unusually large body needs.
    fn trimmed(self) -> Self {
        const KEPT: usize = 64 << 10;
        if self.text.capacity() > KEPT || self.tape.is_large() { Self::default() } else { self }
    }
}

/// The head of an answer in HTTP/1 as it came. Headers of the connection are none of its.
#[derive(Debug)]
pub(super) struct Said<'h>(pub(super) Ref<'h, Head>);

impl Headers for Said<'_> {
    fn each<'h>(&'h self, name: &HeaderName, found: &mut dyn FnMut(&'h [u8])) {
        if !self.0.strips(name) {
            self.0.each(name, found);
        }
    }
}

/// What an answer's JSON is read from, and its scan; a worker uses it again. Text is copied, which takes less than to look
/// once more whether bytes are text.
#[derive(Debug, Default)]
pub(super) struct Slate {
    text: String,
    tape: Tape,
}

impl<'h> Heard<'h> {
    /// Takes in an answer; `None` where its body breaks off while it is read. `said` are its headers, where they are kept
    /// apart.
    pub(super) async fn listen(
        answer: Response<Body>,
        said: Option<Said<'h>>,
        route: &Route,
        limits: &Limits,
        worker: &Worker,
    ) -> Option<Self> {
        let (parts, body) = answer.into_parts();
        let slate = worker.slate.take();
        let mut heard = Self { parts, said, body: Body::empty(), slate, is_body: None, unread: None };
        if !route.needs_answer() || !heard.parts.status.is_success() {
            heard.body = body;
            return Some(heard);
        }
        let is_coded = heard.headers().has(&header::CONTENT_ENCODING);
        if is_coded && !decodes(heard.headers()) {
            heard.unread = Some(Skip::Encoding);
            heard.body = body;
            return Some(heard);
        }
        match body.read_within(limits.body, &worker.expiry, limits.read).await {
            Read::Broken => return None,
            Read::TooLarge(body) => {
                heard.unread = Some(Skip::Body);
                heard.body = body;
            }
            Read::Slow(body) => {
                heard.unread = Some(Skip::Slow);
                heard.body = body;
            }
            Read::Whole(whole) => {
                let coded = is_coded.then_some(limits.body);
                match catch_unwind(AssertUnwindSafe(|| heard.understand(&whole.bytes, coded))) {
                    Ok(Ok(is_body)) => heard.is_body = is_body,
                    Ok(Err(reason)) => heard.unread = Some(reason),
                    Err(_) => heard.unread = Some(Skip::Panic),
                }
                heard.body = Body::Whole(whole);
            }
        }
        Some(heard)
    }

    /// Reads the body as JSON, by its own codings and Content-Type, and says whether it is that already; `None` where it is of
    /// no form that is read. Where it is `coded`, as many bytes may come of that.
    fn understand(&mut self, body: &Bytes, coded: Option<usize>) -> Result<Option<bool>, Skip> {
        let (mut decoded, mut made) = (Vec::new(), String::new());
        let plain = match coded {
            Some(limit) => decode(self.headers(), body, limit, &mut decoded)?,
            None => body,
        };
        let Some(view) = View::of(content_type(self.headers()), plain, &mut made) else { return Ok(None) };
        if self.slate.tape.scan(view.text()).is_err() {
            return Ok(None);
        }
        let is_body = view.in_place().is_some();
        self.slate.text.clear();
        self.slate.text.push_str(view.text());
        Ok(Some(is_body))
    }

    /// What the CRM said to the write of leads that it takes or refuses together.
    pub(super) fn reply(&self, route: &Route, leads: &[Judged]) -> Reply {
        let answer = self.answer();
        match () {
            () if leads.iter().all(|lead| route.accepted(answer, lead.item)) => Reply::Accepted,
            () if leads.iter().all(|lead| route.is_refused(answer, lead.item)) => Reply::Refused,
            () => Reply::Unknown,
        }
    }

    /// The headers that the CRM sent.
    fn headers(&self) -> &dyn Headers {
        match &self.said {
            Some(said) => said,
            None => &self.parts.headers,
        }
    }

    /// As routes look at it.
    pub(super) fn answer(&self) -> Answer<'_, '_> {
        Answer { status: self.parts.status, headers: self.headers(), doc: self.doc() }
    }

    /// The body's bytes without its codings, where it is JSON and so can be written to.
    pub(super) fn writable(&self) -> Option<&[u8]> {
        (self.is_body == Some(true)).then_some(self.slate.text.as_bytes())
    }

    fn doc(&self) -> Option<Doc<'_, '_>> {
        let Slate { text, tape } = &self.slate;
        Some(if self.is_body? { Doc::new(text, tape) } else { Doc::made(text, tape) })
    }
}

/// What the CRM said to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is stored.
    Accepted,
    /// It is not, and what was written is the reason.
    Refused,
    /// It may or may not be stored.
    Unknown,
}

impl Heard<'_> {
    /// The answer, with another body where it was patched.
    pub(super) fn finish(mut self, patched: Option<Vec<u8>>, worker: &Worker) -> Response<Body> {
        worker.slate.replace(self.slate.trimmed());
        match (patched, self.body) {
            (Some(patched), Body::Whole(whole)) => {
                match &self.said {
                    None => body_changed(&mut self.parts.headers, patched.len()),
                    Some(said) if said.0.lines().any(|(_, name, _)| is_stale(name)) => {
                        self.parts.extensions.insert(BodyChanged);
                    }
                    Some(_) => {}
                }
                Response::from_parts(self.parts, Body::Whole(whole.with(patched)))
            }
            (_, body) => Response::from_parts(self.parts, body),
        }
    }
}

/// Corrects what a head says about a body of which bytes were changed. It is sent without codings.
pub(super) fn body_changed(headers: &mut HeaderMap, length: usize) {
    if let Some(said) = headers.get_mut(header::CONTENT_LENGTH) {
        *said = HeaderValue::from(length);
    }
    // Mostly there is none, and to look is less than to remove each.
    if headers.keys().any(|name| is_stale(name.as_str().as_bytes())) {
        for name in &STALE {
            headers.remove(name);
        }
    }
}

/// Says of an answer whose headers are kept apart that its body was changed, where [`STALE`] ones are among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyChanged;

fn is_stale(name: &[u8]) -> bool {
    STALE.iter().any(|stale| name.eq_ignore_ascii_case(stale.as_str().as_bytes()))
}

/// The coding of a body, and headers that vouch for its bytes.
pub(super) static STALE: [HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::ETAG,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_large_answer_took_is_given_back_even_where_it_is_malformed() {
        let check = |text: &str, is_kept: bool| {
            let mut slate = Slate::default();
            if slate.tape.scan(text).is_ok() {
                slate.text.push_str(text);
            }
            let slate = slate.trimmed();
            assert!(!slate.tape.is_large());
            assert_eq!(!slate.tape.nodes().is_empty(), is_kept, "{} bytes", text.len());
        };
        check(r#"{"id":"a"}"#, true);
        check(&format!("{:?}", "x".repeat(100_000)), false);
        check(&format!("[{}", "1,".repeat(100_000)), false);
    }
}
