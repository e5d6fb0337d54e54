//! A block of JSON Lines, scored.

use std::{collections::HashMap, io::Write, sync::Arc};

use memchr::memchr;

use super::{
    error::RowError,
    format::BOM,
    scorer::{self, Block, COLUMNS, Table},
};
use crate::{
    lead::{FeatureType, Value, is_no_value},
    recognise::{self, At, Doc, Kind, Tape},
    registry::Version,
    score::Scored,
};

/// Objects whose members are features by name.
#[derive(Clone)]
pub(super) struct Lines {
    version: Arc<Version>,
    members: Arc<HashMap<String, Member>>,
    /// Which features the row has had.
    seen: Vec<bool>,
    tape: TapeOf,
}

/// A tape of its own for each thread.
#[derive(Default)]
struct TapeOf(Tape);

impl Clone for TapeOf {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A member that means something.
#[derive(Clone, Copy)]
enum Member {
    Feature(usize, FeatureType),
    Added(&'static str),
}

/// A row's place.
#[derive(Clone, Copy)]
pub(super) struct Row {
    start: usize,
    /// Before the line feed.
    end: usize,
    next: usize,
    /// The closing brace of an object, and whether there is no member before it; `None` where nothing can be added.
    brace: Option<(usize, bool)>,
}

impl Lines {
    pub(super) fn new(version: &Arc<Version>) -> Self {
        let features = version.model.features();
        let named = |(i, spec): (usize, &crate::score::FeatureSpec)| {
            (spec.name.clone(), Member::Feature(i, spec.feature_type()))
        };
        let mut members: HashMap<String, Member> =
            COLUMNS.iter().map(|column| ((*column).to_owned(), Member::Added(column))).collect();
        members.extend(features.iter().enumerate().map(named));
        let (version, seen) = (Arc::clone(version), vec![false; features.len()]);
        Self { version, members: members.into(), seen, tape: TapeOf::default() }
    }

    /// Whether the input's first lines go with the model; the reason where they do not. No line at all goes with any.
    pub(super) fn check(&mut self, start: &[u8]) -> Result<(), String> {
        if start.strip_prefix(BOM).unwrap_or(start).trim_ascii_start().starts_with(b"[") {
            return Err("is a JSON array; JSON Lines has one object on each line".into());
        }
        let (block, mut at) = (Block::new(start), 0);
        let mut values = vec![Value::Missing; self.version.model.features().len()];
        let (mut rows, mut objects) = (0, 0);
        while let Some((row, read)) = self.read(block, &mut at, &mut values) {
            rows += 1;
            if let (0, Err(RowError::Taken { column })) = (objects, read) {
                return Err(format!("there is a member `{column}` already; scoring would add another"));
            }
            if self.seen.contains(&true) {
                return Ok(());
            }
            objects += usize::from(row.brace.is_some());
        }
        if rows == 0 { Ok(()) } else { Err(format!("no member is a feature of {}", self.version.id)) }
    }

    fn object<'b>(&mut self, doc: Doc<'b, '_>, values: &mut [Value<'b>]) -> Result<(), RowError> {
        for (key, at) in doc.members(Doc::ROOT) {
            match self.members.get(&*doc.string(key)).copied() {
                Some(Member::Added(column)) => return Err(RowError::Taken { column }),
                Some(Member::Feature(feature, kind)) => {
                    let (Some(seen), Some(value)) = (self.seen.get_mut(feature), values.get_mut(feature))
                    else {
                        continue;
                    };
                    if std::mem::replace(seen, true) {
                        return Err(RowError::Duplicate { feature });
                    }
                    *value = read(doc, at, kind).ok_or(RowError::Value { feature })?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// A member's value as the wire reads it; `None` for one that is neither absent in some way nor of its type, or in which a
/// key stands twice.
fn read<'b>(doc: Doc<'b, '_>, at: At, kind: FeatureType) -> Option<Value<'b>> {
    let value = recognise::read(doc, at, kind).ok()?;
    let node = doc.node(at)?;
    let is_absent = || match node.kind {
        // Some CRMs write `false` for every empty field.
        Kind::Null | Kind::False => true,
        Kind::String => {
            let text = doc.string(node);
            text.trim().is_empty() || is_no_value(text.trim())
        }
        _ => false,
    };
    (!value.is_missing() || is_absent()).then_some(value)
}

impl Table for Lines {
    type Row = Row;

    fn read<'b>(
        &mut self,
        block: Block<'b>,
        at: &mut usize,
        values: &mut [Value<'b>],
    ) -> Option<(Row, Result<(), RowError>)> {
        let (start, end, next) = line(block.bytes, *at)?;
        *at = next;
        let mut row = Row { start, end, next, brace: None };
        self.seen.fill(false);
        values.fill(Value::Missing);
        let Some(text) = block.text(start, end) else { return Some((row, Err(RowError::Utf8))) };
        let TapeOf(mut tape) = std::mem::take(&mut self.tape);
        let read = match tape.scan(text) {
            Err(malformed) => Err(RowError::Json { at: malformed.at }),
            Ok(()) => {
                let doc = Doc::new(text, &tape);
                match doc.node(Doc::ROOT).filter(|root| root.kind == Kind::Object) {
                    None => Err(RowError::NotObject),
                    Some(root) => {
                        let empty = doc.members(Doc::ROOT).next().is_none();
                        row.brace = Some((start + root.end as usize - 1, empty));
                        self.object(doc, values)
                    }
                }
            }
        };
        if let Err(RowError::Taken { .. }) = read {
            row.brace = None;
        }
        self.tape = TapeOf(tape);
        Some((row, read))
    }

    fn write(&self, block: Block<'_>, row: Row, outcome: &Result<Scored, RowError>, out: &mut Vec<u8>) {
        let bytes = |from: usize, to: usize| block.bytes.get(from..to).unwrap_or_default();
        let (tail, empty) = match row.brace {
            Some((brace, empty)) => {
                out.extend_from_slice(bytes(row.start, brace));
                (bytes(brace, row.next), empty)
            }
            None => {
                // The line as text, so that nothing of the input is lost. Writing to a vector does not fail.
                out.extend_from_slice(b"{\"input\":");
                let line = bytes(row.start, row.end);
                _ = serde_json::to_writer(&mut *out, &String::from_utf8_lossy(line.trim_ascii_end()));
                (bytes(row.end, row.next), false)
            }
        };
        self.write_added(outcome, empty, out);
        if row.brace.is_none() {
            out.push(b'}');
        }
        out.extend_from_slice(tail);
    }
}

impl Lines {
    fn write_added(&self, outcome: &Result<Scored, RowError>, empty: bool, out: &mut Vec<u8>) {
        if !empty {
            out.push(b',');
        }
        match outcome {
            Ok(scored) => {
                scorer::write_scored(scored, ["\"score\":", ",\"points\":", ",\"grade\":"], "\"", out);
                out.extend_from_slice(b",\"error\":null");
            }
            Err(error) => {
                let told = error.told(scorer::named(self.version.model.features())).to_string();
                // Writing to a vector does not fail.
                _ = out.write_all(b"\"score\":null,\"points\":null,\"grade\":null,\"error\":");
                _ = serde_json::to_writer(out, &told);
            }
        }
    }
}

/// The next line that is not blank: its start, its end, and the start of the one after.
fn line(bytes: &[u8], mut at: usize) -> Option<(usize, usize, usize)> {
    loop {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let (len, feed) = memchr(b'\n', rest).map_or((rest.len(), 0), |feed| (feed, 1));
        let next = at + len + feed;
        if !rest.get(..len).unwrap_or_default().trim_ascii().is_empty() {
            return Some((at, at + len, next));
        }
        at = next;
    }
}
