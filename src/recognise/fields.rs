//! The feature map, compiled: one pass over a lead object's members finds what any feature is read from, and then each
//! feature takes the first of its pointers that has a value.
//!
//! The pointers of all features form a tree of keys. Each member of the object is looked up in it once, so the cost
//! grows with the size of the body and not with the number of features.

use std::borrow::Cow;

use super::{
    coerce,
    doc::{At, Doc, Duplicate, array_index},
    keys::KeyTable,
    scan::Kind,
    shape,
};
use crate::{
    config::{Derive, Feature, Step},
    lead::{FeatureType, Value},
};

/// Every feature of the configuration, in its order.
#[derive(Debug)]
pub struct Fields {
    root: Branch,
    features: Vec<Reading>,
    /// Keys in the whole tree.
    keys: usize,
    /// What it is told by, never that of another.
    number: u64,
}

/// Keys of one object, and what stands under each.
#[derive(Debug, Default)]
struct Branch {
    keys: KeyTable,
    /// Pointers that go deeper, by the key.
    deeper: Vec<Option<Box<Branch>>>,
    /// The first key's place among all keys of the tree; the others follow.
    first: usize,
}

/// How one feature is read.
#[derive(Debug)]
struct Reading {
    /// Places of its pointers' last keys, the most wanted first.
    places: Box<[usize]>,
    kind: FeatureType,
    derive: Option<Derive>,
}

/// What reading needs beside the body; reused.
#[derive(Debug, Default)]
pub(super) struct FieldScratch {
    /// For each key of the tree where its value is; 0, which is the root and no member, where it has none.
    found: Vec<At>,
    /// For each feature the first of those; 0 where there is none.
    first: Vec<At>,
    /// The feature map and the shape that they are of, and the object: they are the same for all bodies of one shape.
    of: Option<(u64, u64, At)>,
}

impl Fields {
    /// Compiles the feature map.
    pub fn new(features: &[Feature]) -> Self {
        let mut root = Branch::default();
        let pointers = features.iter().flat_map(|feature| &feature.from);
        pointers.for_each(|pointer| root.insert(&pointer.steps));
        let keys = root.seal(0);
        let reading = |feature: &Feature| {
            let places = feature.from.iter().filter_map(|pointer| root.place(&pointer.steps));
            Reading { places: places.collect(), kind: feature.kind, derive: feature.derive }
        };
        Self { features: features.iter().map(reading).collect(), root, keys, number: shape::number() }
    }

    /// The number of features.
    pub(super) fn len(&self) -> usize {
        self.features.len()
    }

    /// Appends one value per feature, read from the object at `lead`.
    pub(super) fn read<'a>(
        &self,
        doc: Doc<'a, '_>,
        lead: At,
        scratch: &mut FieldScratch,
        values: &mut Vec<Value<'a>>,
    ) -> Result<(), Duplicate> {
        let of = doc.shape().map(|shape| (self.number, shape, lead));
        if of.is_none() || scratch.of != of {
            scratch.of = None;
            scratch.found.clear();
            scratch.found.resize(self.keys, 0);
            Finder { doc, found: &mut scratch.found }.branch(&self.root, lead)?;
            scratch.first.clear();
            scratch.first.extend(self.features.iter().map(|reading| reading.first(&scratch.found)));
            scratch.of = of;
        }
        let mut result = Ok(());
        values.reserve(self.features.len());
        for (reading, first) in self.features.iter().zip(&scratch.first) {
            if !reading.plain(doc, *first, values) {
                values.push(reading.read(doc, &scratch.found).unwrap_or_else(|duplicate| {
                    result = Err(duplicate);
                    Value::Missing
                }));
            }
        }
        result
    }
}

/// Finds where the values of a tree's keys are.
struct Finder<'a, 't, 'f> {
    doc: Doc<'a, 't>,
    found: &'f mut [At],
}

impl Finder<'_, '_, '_> {
    fn branch(&mut self, branch: &Branch, at: At) -> Result<(), Duplicate> {
        match self.doc.kind(at) {
            Some(Kind::Object) => self.object(branch, at),
            Some(Kind::Array) => self.array(branch, at),
            _ => Ok(()),
        }
    }

    fn object(&mut self, branch: &Branch, at: At) -> Result<(), Duplicate> {
        for (key, value) in self.doc.members(at) {
            let index = match key.escaped {
                false => branch.keys.find(self.doc.bytes(key)),
                true => branch.keys.find(self.doc.string(key).as_bytes()),
            };
            if let Some(index) = index {
                self.note(branch, index, value)?;
            }
        }
        Ok(())
    }

    fn array(&mut self, branch: &Branch, at: At) -> Result<(), Duplicate> {
        for (index, key) in branch.keys.iter().enumerate() {
            let element = std::str::from_utf8(key).ok().and_then(array_index);
            if let Some(value) = element.and_then(|element| self.doc.elements(at).nth(element)) {
                self.note(branch, index, value)?;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn note(&mut self, branch: &Branch, index: usize, value: At) -> Result<(), Duplicate> {
        match self.found.get_mut(branch.first + index) {
            Some(place @ 0) => *place = value,
            _ => return Err(Duplicate),
        }
        match branch.deeper.get(index) {
            Some(Some(deeper)) => self.branch(deeper, value),
            _ => Ok(()),
        }
    }
}

impl Reading {
    /// Where the most wanted of the values stands that are there; 0 where none is.
    fn first(&self, found: &[At]) -> At {
        let mut found = self.places.iter().filter_map(|place| found.get(*place).copied());
        found.find(|at| *at != 0).unwrap_or_default()
    }

    /// Appends the first value, where it has the form of nearly all; whether it had. What is not there is missing. Each kind
    /// is appended where it is told, so that no value is put together first and then moved.
    #[inline(always)]
    fn plain<'a>(&self, doc: Doc<'a, '_>, first: At, values: &mut Vec<Value<'a>>) -> bool {
        if first == 0 {
            values.push(Value::Missing);
            return true;
        }
        let Some(node) = doc.node(first) else { return false };
        match (self.derive, self.kind) {
            (None, FeatureType::Number) => {
                let number = coerce::plain_number(doc, node);
                number.into_iter().for_each(|number| values.push(Value::Number(number)));
                number.is_some()
            }
            (None, FeatureType::Category) => {
                let text = coerce::plain_text(doc, node);
                text.into_iter().for_each(|text| values.push(Value::Text(Cow::Borrowed(text))));
                text.is_some()
            }
            (Some(derive), _) => {
                let value = coerce::plain(doc, node, self.kind).map(|value| coerce::derived(value, derive));
                let value = value.filter(|value| !value.is_missing());
                let is_there = value.is_some();
                values.extend(value);
                is_there
            }
            (None, FeatureType::Boolean) => false,
        }
    }

    /// The first value that is not missing, in any form.
    #[inline(never)]
    fn read<'a>(&self, doc: Doc<'a, '_>, found: &[At]) -> Result<Value<'a>, Duplicate> {
        let mut missing = Value::Missing;
        let at = self.places.iter().filter_map(|place| found.get(*place).copied()).filter(|at| *at != 0);
        for at in at {
            let read = match self.derive {
                None => coerce::read(doc, at, self.kind)?,
                Some(derive) => coerce::derived(coerce::read(doc, at, self.kind)?, derive),
            };
            if !read.is_missing() {
                return Ok(read);
            }
            if coerce::is_empty(doc, at) {
                missing = Value::Cleared;
            }
        }
        Ok(missing)
    }
}

impl Branch {
    fn insert(&mut self, steps: &[Step]) {
        // Configuration allows no `{i}` in a feature's pointer, nor the empty one.
        let Some((Step::Key(key), rest)) = steps.split_first() else { return };
        let index = self.keys.position(key.as_bytes()).unwrap_or_else(|| {
            self.deeper.push(None);
            self.keys.push(key.as_bytes())
        });
        if let (Some(deeper), false) = (self.deeper.get_mut(index), rest.is_empty()) {
            deeper.get_or_insert_default().insert(rest);
        }
    }

    /// Gives the keys from here down their places, from `first`; the place after the last.
    fn seal(&mut self, first: usize) -> usize {
        self.keys.seal();
        self.first = first;
        let own = first + self.deeper.len();
        self.deeper.iter_mut().flatten().fold(own, |next, deeper| deeper.seal(next))
    }

    /// The place of the key that a pointer ends with.
    fn place(&self, steps: &[Step]) -> Option<usize> {
        let (Step::Key(key), rest) = steps.split_first()? else { return None };
        let index = self.keys.position(key.as_bytes())?;
        if rest.is_empty() { Some(self.first + index) } else { self.deeper.get(index)?.as_ref()?.place(rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scan::Tape, *};
    use crate::config::{Logged, Pointer};

    fn feature(name: &str, from: &[&str], kind: FeatureType) -> Feature {
        let from = from.iter().map(|pointer| Pointer::parse(pointer).unwrap()).collect();
        Feature { name: name.into(), from, kind, missing: None, oov: None, derive: None, log: Logged::Keep }
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
}
