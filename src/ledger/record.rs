//! An event in its place in the chain.

use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description,
};

use super::{Event, Fault, Field, Fields, Hash, Kind, MAX_LINE, canonical, hex, unhex};

/// Times have one form, as every record has.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Members of every record; no field of an event may take their names.
const MEMBERS: [&str; 9] = ["v", "seq", "ts", "prev", "type", "model", "version", "actor", "hash"];

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number; the first is 0.
    pub seq: u64,
    /// When, in milliseconds since 1970, by the clock of whoever wrote it.
    pub ts_ms: i64,
    /// What sort of thing happened.
    pub kind: Kind,
    /// The model, where it is about one.
    pub model: Option<String>,
    /// Its version, where it is about one. A number in a record of another's making is kept as its digits.
    pub version: Option<String>,
    /// Who did it.
    pub actor: String,
    /// The rest.
    pub fields: Fields,
    /// The hash of the record before; zeros for the first.
    pub prev: Hash,
    /// RFC 6962's leaf hash of the line without its `hash`.
    pub hash: Hash,
    line: Box<str>,
}

impl Record {
    /// The event as record `seq`, which follows a record with hash `prev`.
    pub(super) fn seal(event: Event, (seq, prev): (u64, &Hash), now_ms: i64) -> Result<Self, Fault> {
        let Event { kind, model, version, actor, mut fields } = event;
        if let Some(name) = fields.keys().find(|name| MEMBERS.contains(&name.as_str())) {
            return Err(Fault::Reserved(name.clone()));
        }
        let mut put = |name: &str, field: Field| _ = fields.insert(name.to_owned(), field);
        put("v", 1.into());
        put("seq", seq.into());
        put("ts", written(now_ms)?.into());
        put("prev", hex(prev).into());
        put("type", kind.as_str().into());
        put("actor", actor.into());
        model.into_iter().for_each(|model| put("model", model.into()));
        version.into_iter().for_each(|version| put("version", version.into()));
        let hash = canonical::hash(&canonical::text(&fields)?);
        fields.insert("hash".to_owned(), hex(&hash).into());
        // What is written is what can be read.
        Self::parse(&canonical::text(&fields)?)
    }

    /// Reads a line without its end. The record's own hash holds; its place in the chain is another question.
    pub fn parse(line: &str) -> Result<Self, Fault> {
        if line.len() > MAX_LINE {
            return Err(Fault::Long);
        }
        let mut fields = canonical::parse(line)?;
        let hash = taken_hash(&mut fields, "hash")?;
        if canonical::hash(&canonical::text(&fields)?) != hash {
            return Err(Fault::Hash);
        }
        let format = taken_integer(&mut fields, "v")?;
        if format != 1 {
            return Err(Fault::Format(format));
        }
        let seq = taken_integer(&mut fields, "seq")?;
        let ts = taken_text(&mut fields, "ts")?;
        Ok(Self {
            seq: u64::try_from(seq).map_err(|_| Fault::Member("seq"))?,
            ts_ms: millis(&ts).ok_or(Fault::Member("ts"))?,
            prev: taken_hash(&mut fields, "prev")?,
            kind: Kind::parse(&taken_text(&mut fields, "type")?),
            actor: taken_text(&mut fields, "actor")?,
            model: taken_name(&mut fields, "model")?,
            version: taken_name(&mut fields, "version")?,
            fields,
            hash,
            line: line.into(),
        })
    }

    /// The line as it is written, without its end.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Whether it follows `before`, or is the first.
    pub(super) fn follows(&self, before: Option<&Record>) -> Result<(), Fault> {
        let (expected, prev) = before.map_or((0, [0; 32]), |before| (before.seq + 1, before.hash));
        if self.seq != expected {
            return Err(Fault::Seq { expected, found: self.seq });
        }
        if self.prev == prev { Ok(()) } else { Err(Fault::Prev) }
    }

    /// The time as the line has it.
    pub fn ts(&self) -> String {
        written(self.ts_ms).unwrap_or_default()
    }
}

fn taken_text(fields: &mut Fields, name: &'static str) -> Result<String, Fault> {
    match fields.remove(name) {
        Some(Field::Text(text)) => Ok(text),
        _ => Err(Fault::Member(name)),
    }
}

fn taken_integer(fields: &mut Fields, name: &'static str) -> Result<i64, Fault> {
    fields.remove(name).and_then(|field| field.integer()).ok_or(Fault::Member(name))
}

fn taken_hash(fields: &mut Fields, name: &'static str) -> Result<Hash, Fault> {
    unhex(&taken_text(fields, name)?).ok_or(Fault::Member(name))
}

/// A name, or a number that serves as one.
fn taken_name(fields: &mut Fields, name: &'static str) -> Result<Option<String>, Fault> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Field::Text(text)) => Ok(Some(text)),
        Some(Field::Integer(number)) => Ok(Some(number.to_string())),
        Some(Field::Map(_)) => Err(Fault::Member(name)),
    }
}

fn written(ms: i64) -> Result<String, Fault> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text =
        time.ok().filter(|time| (0..=9999).contains(&time.year())).and_then(|time| time.format(TIME).ok());
    text.ok_or(Fault::Time)
}

/// Milliseconds since 1970 of a record's time, `2026-11-22T08:03:00.000Z`, and of no other form.
pub fn millis(text: &str) -> Option<i64> {
    let time = PrimitiveDateTime::parse(text, TIME).ok()?.assume_utc();
    let ms = i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()?;
    (written(ms).as_deref() == Ok(text)).then_some(ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field() -> impl Strategy<Value = Field> {
        let leaf = prop_oneof![
            (-(1_i64 << 53) + 1..(1 << 53)).prop_map(Field::Integer),
            any::<String>().prop_map(Field::Text),
        ];
        let map = |inner| prop::collection::btree_map("[ -~]{0,6}", inner, 0..4).prop_map(Field::Map);
        leaf.prop_recursive(4, 16, 4, map)
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_is_read_back(
            (kind, actor) in any::<(String, String)>(),
            fields in prop::collection::btree_map("[a-z_]{9,12}", field(), 0..5),
            (seq, ms) in (0_u64..1 << 53, 0_i64..253_402_300_800_000),
        ) {
            let event = Event { kind: Kind::parse(&kind), model: None, version: None, actor, fields };
            let record = Record::seal(event.clone(), (seq, &[7; 32]), ms).unwrap();
            prop_assert_eq!((record.seq, record.ts_ms, &record.kind), (seq, ms, &event.kind));
            prop_assert_eq!((&record.actor, &record.fields), (&event.actor, &event.fields));
            prop_assert_eq!(Record::parse(record.line()), Ok(record));
        }

        #[test]
        fn no_byte_of_a_record_can_be_another(at in any::<prop::sample::Index>(), byte in 0_u8..128) {
            let event = Event::new(Kind::Promoted, "jo").model("lead").with("reason", "a\"b\u{1f}ü").with("n", -7);
            let mut line = sealed(event).unwrap().line().to_owned().into_bytes();
            let at = at.index(line.len());
            prop_assume!(line[at] != byte);
            line[at] = byte;
            prop_assert!(str::from_utf8(&line).is_err() || Record::parse(str::from_utf8(&line).unwrap()).is_err());
        }
    }

    fn sealed(event: Event) -> Result<Record, String> {
        Record::seal(event, (3, &[7; 32]), 1_793_614_830_123).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let event = Event::new(Kind::CanaryRamped, "jo").model("lead").version("007").with("pct", 10);
        let record = sealed(event.clone()).unwrap();
        assert_eq!((record.seq, record.ts_ms, record.prev), (3, 1_793_614_830_123, [7; 32]));
        let Record { kind, model, version, actor, fields, .. } = record.clone();
        assert_eq!(Event { kind, model, version, actor, fields }, event);
        assert_eq!(
            (Record::parse(record.line()), record.ts()),
            (Ok(record), "2026-11-02T10:20:30.123Z".into())
        );
    }

    #[test]
    fn what_cannot_be_read_back_is_not_written() {
        let event = || Event::new(Kind::Promoted, "jo");
        for (event, expected) in [
            (event().with("seq", 1), r#""seq" is no name for a field"#),
            (event().with("hash", ""), r#""hash" is no name for a field"#),
            (event().with("naïve", 1), r#"a key in "" is not ASCII"#),
            (event().with("n", i64::MAX), r#""n" holds a number beyond 2^53"#),
            (event().with("t", "x".repeat(MAX_LINE)), "longer than 65536 bytes"),
        ] {
            assert!(sealed(event).unwrap_err().contains(expected), "{expected}");
        }
        let at = |ms| Record::seal(event(), (0, &[0; 32]), ms).map(|record| record.ts_ms);
        assert_eq!([at(i64::MIN), at(i64::MAX), at(-62_167_219_200_001)], [const { Err(Fault::Time) }; 3]);
        assert_eq!([at(-1), at(253_402_300_799_999)], [Ok(-1), Ok(253_402_300_799_999)]);
    }

    #[test]
    fn altered_or_foreign_records_are_told() {
        let line = sealed(Event::new(Kind::Paused, "jo").model("lead")).unwrap().line().to_owned();
        // Hashed anew, as somebody would who covers it up.
        let hashed = |from: &str, to: &str| {
            let mut fields = canonical::parse(&line.replace(from, to)).unwrap();
            fields.remove("hash");
            let hash = hex(&canonical::hash(&canonical::text(&fields).unwrap()));
            fields.insert("hash".to_owned(), hash.into());
            canonical::text(&fields).unwrap()
        };
        for (line, expected) in [
            (line.replace("\"jo\"", "\"ed\""), Fault::Hash),
            (line.replace(":3,", ":4,"), Fault::Hash),
            (line.replace("\"v\":1", "\"v\":2"), Fault::Hash),
            (hashed("\"v\":1", "\"v\":2"), Fault::Format(2)),
            (hashed(":3,", ":-3,"), Fault::Member("seq")),
            (hashed(":3,", ":\"3\","), Fault::Member("seq")),
            (hashed("2026-11-02T", "2026-11-31T"), Fault::Member("ts")),
            (hashed("30.123Z", "30.1230Z"), Fault::Member("ts")),
            (hashed("0707", "07G7"), Fault::Member("prev")),
            (hashed("\"lead\"", "{}"), Fault::Member("model")),
            (hashed("\"jo\"", "1"), Fault::Member("actor")),
            (hashed("\"type\"", "\"typ\""), Fault::Member("type")),
        ] {
            assert_eq!(Record::parse(&line), Err(expected), "{line}");
        }
    }
}
