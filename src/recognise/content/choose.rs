//! Which of its routes' modes a body is read in.

use std::sync::Arc;

use super::{
    Mode, View, decode, decodes,
    detect::{Declared, declared, detect},
};
use crate::{
    lead::Skip,
    recognise::{
        request::Skipped,
        routes::{Candidates, Route},
    },
};

impl<'r> Candidates<'r> {
    /// What can be said before the body is read: `Err` where it could not be read anyway.
    pub fn precheck(&self) -> Result<(), Skipped> {
        if !self.needs_body() {
            return Ok(());
        }
        let is_other = declared(self.content_type) == Declared::Other;
        let readable = |route: &Arc<Route>| !is_other || Mode::of(&route.content).is_some();
        let reason = match () {
            () if self.is_coded && !decodes(self.head.headers) => Skip::Encoding,
            () if !self.open().any(readable) => Skip::Content,
            () => return Ok(()),
        };
        self.skipped(reason)
    }

    /// A request's body without its codings, as [`decode`] has it.
    pub fn decode<'b>(
        &self,
        body: &'b [u8],
        limit: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], Skip> {
        if self.is_coded { decode(self.head.headers, body, limit, buffer) } else { Ok(body) }
    }

    /// The body as JSON, in the mode that fits it best among those that its routes read: as what it is for a route that
    /// does not say, else as the route says. `Ok(None)` where no route is left.
    pub fn view<'b>(&'b self, body: &'b [u8], buffer: &'b mut String) -> Result<Option<View<'b>>, Skipped> {
        let content_type = self.content_type;
        let detected = detect(content_type, body);
        let mut failed = None;
        let mut tried = None;
        while let Some((key, mode)) = self.next_mode(detected, tried) {
            match mode.write(content_type, body, buffer) {
                Ok(in_place) => {
                    let text = in_place.unwrap_or(buffer);
                    return Ok(Some(View { text, mode, detected }));
                }
                Err(reason) => _ = failed.get_or_insert(reason),
            }
            tried = Some(key);
        }
        self.skipped(failed.unwrap_or(Skip::Content)).map(|()| None)
    }

    /// The best mode that comes after the one that was tried, and its key in that order.
    fn next_mode(
        &self,
        detected: Option<Mode<'static>>,
        tried: Option<(u8, usize)>,
    ) -> Option<((u8, usize), Mode<'r>)> {
        let modes = self.open().filter_map(|route| Mode::of(&route.content).or(detected));
        let keyed = modes.enumerate().map(|(index, mode)| ((mode.rank(detected), index), mode));
        keyed.filter(|(key, _)| tried.is_none_or(|tried| *key > tried)).min_by_key(|(key, _)| *key)
    }

    fn skipped(&self, reason: Skip) -> Result<(), Skipped> {
        self.likely().map_or(Ok(()), |route| Err(Skipped { route, reason }))
    }
}
