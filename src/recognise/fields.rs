//! The feature map, compiled: one pass over a lead object's members reads every feature.
//!
//! The pointers of all features form a tree of keys. Each member of the object is looked up in it once, so the cost
//! grows with the size of the body and not with the number of features.

use super::{
    coerce,
    doc::{At, Doc, Duplicate, array_index},
    scan::Kind,
};
use crate::{
    config::{Derive, Feature, Step},
    lead::{FeatureType, Value},
};

/// Every feature of the configuration, in its order.
#[derive(Debug)]
pub struct Fields {
    root: Branch,
    count: usize,
}

/// Keys of one object, and what stands under each.
#[derive(Debug, Default)]
struct Branch {
    keys: KeyTable,
    entries: Vec<Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Features read from the value itself.
    features: Vec<Reading>,
    /// Pointers that go deeper.
    deeper: Option<Box<Branch>>,
}

/// How one feature is read from a value.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Its place among the features.
    feature: usize,
    /// The place of this pointer in its `from` list.
    rank: u8,
    kind: FeatureType,
    derive: Option<Derive>,
}

/// What reading needs beside the body; reused.
#[derive(Debug, Default)]
pub(super) struct FieldScratch {
    /// Per feature the place in its `from` list that its value came from.
    ranks: Vec<u8>,
    /// Which keys of an object have been seen.
    seen: Vec<bool>,
}

impl Fields {
    /// Compiles the feature map.
    pub fn new(features: &[Feature]) -> Self {
        let mut root = Branch::default();
        for (index, feature) in features.iter().enumerate() {
            for (rank, pointer) in feature.from.iter().enumerate() {
                // A 256th alternative of one feature is beyond any use and shares the last rank.
                let rank = u8::try_from(rank).unwrap_or(u8::MAX);
                let Feature { kind, derive, .. } = *feature;
                root.insert(&pointer.steps, Reading { feature: index, rank, kind, derive });
            }
        }
        root.seal();
        Self { root, count: features.len() }
    }

    /// The number of features.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Appends one value per feature, read from the object at `lead`.
    pub(super) fn read<'a>(
        &self,
        doc: Doc<'a, '_>,
        lead: At,
        scratch: &mut FieldScratch,
        values: &mut Vec<Value<'a>>,
    ) -> Result<(), Duplicate> {
        let first = values.len();
        values.resize(first + self.len(), Value::Missing);
        scratch.ranks.clear();
        scratch.ranks.resize(self.len(), u8::MAX);
        scratch.seen.clear();
        let mut reader = Reader { doc, scratch, values: values.get_mut(first..).unwrap_or_default() };
        reader.branch(&self.root, lead)
    }
}

struct Reader<'a, 't, 'v> {
    doc: Doc<'a, 't>,
    scratch: &'v mut FieldScratch,
    values: &'v mut [Value<'a>],
}

impl<'a> Reader<'a, '_, '_> {
    fn branch(&mut self, branch: &Branch, at: At) -> Result<(), Duplicate> {
        match self.doc.kind(at) {
            Some(Kind::Object) => self.object(branch, at),
            Some(Kind::Array) => self.array(branch, at),
            _ => Ok(()),
        }
    }

    fn object(&mut self, branch: &Branch, at: At) -> Result<(), Duplicate> {
        let first_seen = self.scratch.seen.len();
        self.scratch.seen.resize(first_seen + branch.entries.len(), false);
        for (key, value) in self.doc.members(at) {
            let index = match key.escaped {
                false => branch.keys.find(self.doc.bytes(key)),
                true => branch.keys.find(self.doc.string(key).as_bytes()),
            };
            let Some((index, entry)) = index.and_then(|index| Some((index, branch.entries.get(index)?)))
            else {
                continue;
            };
            match self.scratch.seen.get_mut(first_seen + index) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(Duplicate),
            }
            self.entry(entry, value)?;
        }
        Ok(())
    }

    fn array(&mut self, branch: &Branch, at: At) -> Result<(), Duplicate> {
        for (key, entry) in branch.keys.iter().zip(&branch.entries) {
            let index = std::str::from_utf8(key).ok().and_then(array_index);
            if let Some(value) = index.and_then(|index| self.doc.elements(at).nth(index)) {
                self.entry(entry, value)?;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn entry(&mut self, entry: &Entry, value: At) -> Result<(), Duplicate> {
        for Reading { feature, rank, kind, derive } in &entry.features {
            let (Some(best), Some(slot)) =
                (self.scratch.ranks.get_mut(*feature), self.values.get_mut(*feature))
            else {
                continue;
            };
            if *rank < *best || slot.is_missing() {
                let read: Value<'a> = match derive {
                    None => coerce::read(self.doc, value, *kind)?,
                    Some(derive) => coerce::derived(coerce::read(self.doc, value, *kind)?, *derive),
                };
                if !read.is_missing() {
                    *best = *rank;
                    *slot = read;
                } else if slot.is_missing() && coerce::is_empty(self.doc, value) {
                    *slot = Value::Cleared;
                }
            }
        }
        match &entry.deeper {
            Some(branch) => self.branch(branch, value),
            None => Ok(()),
        }
    }
}

impl Branch {
    fn insert(&mut self, steps: &[Step], reading: Reading) {
        // Configuration allows no `{i}` in a feature's pointer, nor the empty one.
        let Some((Step::Key(key), rest)) = steps.split_first() else { return };
        let index = self.keys.position(key.as_bytes()).unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.keys.push(key.as_bytes())
        });
        let Some(entry) = self.entries.get_mut(index) else { return };
        if rest.is_empty() {
            entry.features.push(reading);
        } else {
            entry.deeper.get_or_insert_default().insert(rest, reading);
        }
    }

    fn seal(&mut self) {
        self.keys.seal();
        for entry in &mut self.entries {
            if let Some(deeper) = &mut entry.deeper {
                deeper.seal();
            }
        }
    }
}

/// A small fixed set of keys with a look-up of a few nanoseconds: open addressing over the first and last eight bytes,
/// a quarter full. The keys come from the configuration, so nobody can choose them to collide.
#[derive(Debug, Default)]
struct KeyTable {
    keys: Vec<Box<[u8]>>,
    /// A power of two long.
    slots: Vec<Slot>,
}

/// A key by its ends.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    ends: (u64, u64),
    length: usize,
    /// Index of the key plus one, 0 for a free slot.
    number: usize,
}

impl KeyTable {
    fn position(&self, key: &[u8]) -> Option<usize> {
        self.keys.iter().position(|known| **known == *key)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &**key)
    }

    fn push(&mut self, key: &[u8]) -> usize {
        self.keys.push(key.into());
        self.keys.len() - 1
    }

    fn seal(&mut self) {
        self.slots = vec![Slot::default(); (self.keys.len() * 4).next_power_of_two()];
        for (key, number) in self.keys.iter().zip(1..) {
            let ends = ends(key);
            let mut at = hash(ends, key.len()) & (self.slots.len() - 1);
            while self.slots.get(at).is_some_and(|slot| slot.number != 0) {
                at = (at + 1) & (self.slots.len() - 1);
            }
            let slot = Slot { ends, length: key.len(), number };
            self.slots.get_mut(at).into_iter().for_each(|free| *free = slot);
        }
    }

    #[inline(always)]
    fn find(&self, key: &[u8]) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let ends = ends(key);
        let mut at = hash(ends, key.len()) & mask;
        loop {
            let slot = self.slots.get(at)?;
            let index = slot.number.checked_sub(1)?;
            if slot.ends == ends && slot.length == key.len() {
                // Up to sixteen bytes the ends are all of the key.
                let same = key.len() <= 16 || self.keys.get(index).is_some_and(|known| **known == *key);
                if same {
                    return Some(index);
                }
            }
            at = (at + 1) & mask;
        }
    }
}

/// The first and last eight bytes of a key, which may overlap; of a shorter one all of it.
#[inline(always)]
fn ends(key: &[u8]) -> (u64, u64) {
    let four = |part: &[u8; 4]| u64::from(u32::from_le_bytes(*part));
    match (key.first_chunk::<8>(), key.last_chunk::<8>(), key.first_chunk::<4>(), key.last_chunk::<4>()) {
        (Some(first), Some(last), ..) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        (_, _, Some(first), Some(last)) => (four(first), four(last)),
        _ => (key.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    }
}

#[inline(always)]
fn hash((first, last): (u64, u64), length: usize) -> usize {
    let mixed = (first ^ last.rotate_left(29) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{super::scan::Tape, *};
    use crate::config::Pointer;

    fn feature(name: &str, from: &[&str], kind: FeatureType) -> Feature {
        let from = from.iter().map(|pointer| Pointer::parse(pointer).unwrap()).collect();
        Feature { name: name.into(), from, kind, missing: None, oov: None, derive: None }
    }

    fn read(json: &str) -> Result<Vec<Value<'static>>, Duplicate> {
        let fields = Fields::new(&[
            feature("amount", &["/amount/decimal", "/amount", "/AnnualRevenue"], FeatureType::Number),
            feature("source", &["/LeadSource", "/source"], FeatureType::Category),
            feature("phone", &["/phones/1/kind"], FeatureType::Category),
        ]);
        let mut tape = Tape::default();
        tape.scan(json).unwrap();
        let mut values = Vec::new();
        fields.read(Doc::new(json, &tape), 0, &mut FieldScratch::default(), &mut values)?;
        Ok(values.into_iter().map(Value::into_owned).collect())
    }

    #[test]
    fn the_first_pointer_that_is_not_missing_counts_whatever_the_order_in_the_body() {
        let amount = |json: &str| read(json).unwrap()[0].clone();
        assert_eq!(amount(r#"{"amount":{"decimal":"12.50"},"AnnualRevenue":3}"#), Value::Number(12.5));
        assert_eq!(amount(r#"{"AnnualRevenue":3,"amount":2}"#), Value::Number(2.0));
        assert_eq!(amount(r#"{"amount":2,"AnnualRevenue":3}"#), Value::Number(2.0));
        assert_eq!(amount(r#"{"amount":null,"AnnualRevenue":3}"#), Value::Number(3.0));
        assert_eq!(amount(r#"{"other":2}"#), Value::Missing);
    }

    #[test]
    fn what_a_client_empties_is_cleared_and_what_it_does_not_name_is_only_missing() {
        let check = |json: &str, expected: Value<'_>| assert_eq!(read(json).unwrap()[0], expected, "{json}");
        for empty in ["null", "\"\"", "false"] {
            check(&format!(r#"{{"amount":{empty}}}"#), Value::Cleared);
            check(&format!(r#"{{"amount":{{"decimal":{empty}}}}}"#), Value::Cleared);
            check(&format!(r#"{{"amount":{empty},"AnnualRevenue":3}}"#), Value::Number(3.0));
            check(&format!(r#"{{"AnnualRevenue":3,"amount":{empty}}}"#), Value::Number(3.0));
        }
        for unread in ["\"many\"", "true", "[]", "{}"] {
            check(&format!(r#"{{"amount":{unread}}}"#), Value::Missing);
        }
        check("{}", Value::Missing);
    }

    #[test]
    fn nested_escaped_and_indexed_keys_are_found() {
        let values = read(r#"{"Le\u0061dSource":"Web","phones":[{},{"kind":"mobile"}]}"#).unwrap();
        let text = |text: &'static str| Value::Text(Cow::Borrowed(text));
        assert_eq!(values[1..], [text("Web"), text("mobile")]);
    }

    #[test]
    fn a_mapped_key_that_stands_twice_is_refused_and_any_other_is_not() {
        assert_eq!(read(r#"{"source":"a","source":"b"}"#), Err(Duplicate));
        assert_eq!(read(r#"{"amount":{"decimal":1,"decimal":2}}"#), Err(Duplicate));
        assert!(read(r#"{"x":1,"x":2}"#).is_ok());
    }

    #[test]
    fn keys_of_any_length_are_told_apart() {
        let text = "abcdefghijklmnopqrstuvwxyz";
        let mut table = KeyTable::default();
        let index = |key: &str| (1..24).position(|length| text[..length] == *key);
        (1..24).for_each(|length| _ = table.push(&text.as_bytes()[..length]));
        table.seal();
        for (length, place) in (1..24).flat_map(|length| (0..length).map(move |place| (length, place))) {
            let key = &text[..length];
            let other = key.replace(&text[place..place + 1], "_");
            assert_eq!(
                (table.find(key.as_bytes()), table.find(other.as_bytes())),
                (index(key), None),
                "{other}"
            );
        }
        assert_eq!(table.find(b""), None);
    }

    #[test]
    fn every_key_of_a_large_map_is_found_and_no_other() {
        let mut table = KeyTable::default();
        let keys: Vec<String> = (0..300).map(|i| format!("custom_field_{i}__c")).collect();
        for key in &keys {
            table.push(key.as_bytes());
        }
        table.seal();
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(table.find(key.as_bytes()), Some(index));
        }
        assert_eq!(table.find(b"custom_field_300__c"), None);
        assert_eq!(KeyTable::default().find(b"a"), None);
    }
}
