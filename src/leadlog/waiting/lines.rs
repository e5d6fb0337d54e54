//! Records as lines of text, for the files they wait in: a checksum, a space, JSON.
//!
//! JSON holds no line break, so a line that is damaged costs itself and no other. Every value comes back as it was, to the
//! bit; features come back as the log would keep them.

use std::{borrow::Cow, io::Write, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    json::FeatureJson,
    packed::Packed,
    record::{
        AliasRecord, Decision, Entry, ExposureRecord, FeedbackRecord, LiveScore, OutcomeRecord, ScoreRecord,
        ShadowRecord,
    },
};
use crate::lead::{
    Alias, Arm, ArmOutcome, Assignment, Exposure, Feedback, FeedbackReason, Grade, KeyKind, ModelId, Outcome,
    Score, ShadowError, Slot, Verdict,
};

/// Writes records as lines.
#[derive(Debug, Default)]
pub(in crate::leadlog) struct Encoder {
    json: FeatureJson,
    line: Vec<u8>,
}

impl Encoder {
    /// Appends a record's line.
    pub(in crate::leadlog) fn write(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        self.line.clear();
        let line = Line::of(entry, &mut self.json);
        // Texts and numbers do not fail to become JSON, and writing to a Vec does not fail.
        _ = serde_json::to_writer(&mut self.line, &line);
        _ = write!(out, "{:08x} ", crc32fast::hash(&self.line));
        out.extend_from_slice(&self.line);
        out.push(b'\n');
    }
}

/// Reads records from lines. Neighbours mostly share their route, their version and their names, and so they do again.
#[derive(Debug, Default)]
pub(in crate::leadlog) struct Decoder {
    texts: Vec<Arc<str>>,
    model: Option<Arc<ModelId>>,
    names: Option<Arc<[Arc<str>]>>,
}

/// Texts that are shared: routes, experiments, and what versions are called.
const SHARED: usize = 64;

impl Decoder {
    /// Reads one line, without its end. `None` where it is damaged, or of a later release.
    pub(in crate::leadlog) fn read(&mut self, line: &[u8]) -> Option<Entry> {
        let (sum, json) = line.split_at_checked(9)?;
        let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
        if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(json)) {
            return None;
        }
        serde_json::from_slice::<Line<'_>>(json).ok()?.entry(self)
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.iter().find(|known| &***known == text) {
            return Arc::clone(known);
        }
        if self.texts.len() >= SHARED {
            self.texts.clear();
        }
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        text
    }

    fn model(&mut self, [model, version, digest]: &[Cow<'_, str>; 3]) -> Arc<ModelId> {
        let is_it =
            |id: &&Arc<ModelId>| *id.model == **model && *id.version == **version && *id.digest == **digest;
        if let Some(known) = self.model.as_ref().filter(is_it) {
            return Arc::clone(known);
        }
        let (model, version) = (self.text(model), self.text(version));
        let id = Arc::new(ModelId { model, version, digest: self.text(digest) });
        self.model = Some(Arc::clone(&id));
        id
    }

    fn features(&mut self, json: &str) -> Option<(Arc<[Arc<str>]>, Packed)> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
        let is_it = |names: &&Arc<[Arc<str>]>| names.iter().map(|name| &**name).eq(object.keys());
        let names = match self.names.as_ref().filter(is_it) {
            Some(known) => Arc::clone(known),
            None => object.keys().map(|name| Arc::from(name.as_str())).collect(),
        };
        self.names = Some(Arc::clone(&names));
        let features = Packed::of_json(&object, &names);
        Some((names, features))
    }
}

/// A record, as its line tells it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'l> {
    Score(ScoreLine<'l>),
    Outcome(OutcomeLine<'l>),
    Alias(AliasLine<'l>),
    Exposure(UnscoredLine<'l>),
    Shadow(ShadowLine<'l>),
    Feedback(FeedbackLine<'l>),
}

type Text<'l> = Cow<'l, str>;

#[derive(Serialize, Deserialize)]
struct ScoreLine<'l> {
    time_ms: i64,
    route: Text<'l>,
    lead: Option<Text<'l>>,
    arm: Text<'l>,
    model: [Text<'l>; 3],
    features: Text<'l>,
    score: f32,
    grade: Grade,
    latency_ns: u64,
    decision: Text<'l>,
    exposure: Option<ExposureLine<'l>>,
    fell: Option<Text<'l>>,
}

#[derive(Serialize, Deserialize)]
struct ExposureLine<'l> {
    experiment: Text<'l>,
    bucket: u16,
    key: Text<'l>,
    arm: Text<'l>,
    propensity: f64,
}

#[derive(Serialize, Deserialize)]
struct OutcomeLine<'l> {
    time_ms: i64,
    route: Text<'l>,
    lead: Text<'l>,
    via_alias: bool,
    won: bool,
    revenue: Option<f64>,
    event: Option<Text<'l>>,
    revision: Option<i64>,
    occurred_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct AliasLine<'l> {
    time_ms: i64,
    deal: Text<'l>,
    lead: Text<'l>,
}

#[derive(Serialize, Deserialize)]
struct UnscoredLine<'l> {
    time_ms: i64,
    lead: Option<Text<'l>>,
    model: Text<'l>,
    exposure: ExposureLine<'l>,
    outcome: Text<'l>,
}

#[derive(Serialize, Deserialize)]
struct ShadowLine<'l> {
    time_ms: i64,
    lead: Option<Text<'l>>,
    model: [Text<'l>; 3],
    slot: Text<'l>,
    live: LiveLine<'l>,
    score: Option<(f32, Grade)>,
    error: Option<Text<'l>>,
    latency_ns: u64,
}

#[derive(Serialize, Deserialize)]
struct FeedbackLine<'l> {
    time_ms: i64,
    source: Text<'l>,
    lead: Text<'l>,
    verdict: Text<'l>,
    reason: Option<Text<'l>>,
    who: Option<Text<'l>>,
    note: Option<Text<'l>>,
}

#[derive(Serialize, Deserialize)]
struct LiveLine<'l> {
    model: [Text<'l>; 3],
    score: f32,
    grade: Grade,
    latency_ns: u64,
}

impl<'l> Line<'l> {
    fn of(entry: &'l Entry, json: &'l mut FeatureJson) -> Self {
        match entry {
            Entry::Score(record) => Line::Score(ScoreLine::of(record, json)),
            Entry::Outcome(record) => Line::Outcome(OutcomeLine::of(record)),
            Entry::Alias(AliasRecord { time_ms, alias }) => {
                let (deal, lead) = (text(&alias.deal), text(&alias.lead));
                Line::Alias(AliasLine { time_ms: *time_ms, deal, lead })
            }
            Entry::Exposure(record) => Line::Exposure(UnscoredLine {
                time_ms: record.time_ms,
                lead: record.lead.as_deref().map(text),
                model: text(&record.model),
                exposure: ExposureLine::of(&record.exposure),
                outcome: text(record.outcome.as_str()),
            }),
            Entry::Shadow(record) => Line::Shadow(ShadowLine::of(record)),
            Entry::Feedback(record) => Line::Feedback(FeedbackLine::of(record)),
        }
    }

    fn entry(self, shared: &mut Decoder) -> Option<Entry> {
        match self {
            Line::Score(line) => line.record(shared).map(Entry::Score),
            Line::Outcome(line) => Some(Entry::Outcome(line.record(shared))),
            Line::Alias(AliasLine { time_ms, deal, lead }) => {
                let alias = Alias { deal: boxed(deal), lead: boxed(lead) };
                Some(Entry::Alias(AliasRecord { time_ms, alias }))
            }
            Line::Exposure(line) => Some(Entry::Exposure(ExposureRecord {
                time_ms: line.time_ms,
                lead: line.lead.map(boxed),
                model: shared.text(&line.model),
                exposure: Box::new(line.exposure.exposure(shared)?),
                outcome: arm_outcome(&line.outcome)?,
            })),
            Line::Shadow(line) => line.record(shared).map(|record| Entry::Shadow(Box::new(record))),
            Line::Feedback(line) => line.record(shared).map(|record| Entry::Feedback(Box::new(record))),
        }
    }
}

impl<'l> ScoreLine<'l> {
    fn of(record: &'l ScoreRecord, json: &'l mut FeatureJson) -> Self {
        Self {
            time_ms: record.time_ms,
            route: text(&record.route),
            lead: record.lead.as_deref().map(text),
            arm: text(record.arm.as_str()),
            model: model(&record.model),
            features: String::from_utf8_lossy(json.write(&record.names, &record.features)),
            score: record.score.probability(),
            grade: record.grade,
            latency_ns: record.latency_ns,
            decision: text(record.decision.as_str()),
            exposure: record.exposure.as_deref().map(ExposureLine::of),
            fell: record.fell.map(|fell| text(fell.as_str())),
        }
    }

    fn record(self, shared: &mut Decoder) -> Option<ScoreRecord> {
        let (names, features) = shared.features(&self.features)?;
        let exposure = match self.exposure {
            Some(exposure) => Some(Box::new(exposure.exposure(shared)?)),
            None => None,
        };
        Some(ScoreRecord {
            time_ms: self.time_ms,
            route: shared.text(&self.route),
            lead: self.lead.map(boxed),
            arm: arm(&self.arm)?,
            model: shared.model(&self.model),
            names,
            features,
            score: Score::new(self.score)?,
            grade: self.grade,
            latency_ns: self.latency_ns,
            decision: Decision::ALL.into_iter().find(|decision| decision.as_str() == self.decision)?,
            exposure,
            fell: match self.fell {
                Some(fell) => Some(arm_outcome(&fell)?),
                None => None,
            },
        })
    }
}

impl<'l> ExposureLine<'l> {
    fn of(exposure: &'l Exposure) -> Self {
        let Exposure { assignment, arm, propensity } = exposure;
        Self {
            experiment: text(&assignment.experiment),
            bucket: assignment.bucket,
            key: text(assignment.key.as_str()),
            arm: text(arm.as_str()),
            propensity: *propensity,
        }
    }

    fn exposure(self, shared: &mut Decoder) -> Option<Exposure> {
        let (experiment, key) = (shared.text(&self.experiment), KeyKind::parse(&self.key)?);
        let assignment = Assignment { experiment, bucket: self.bucket, key };
        Some(Exposure { assignment, arm: arm(&self.arm)?, propensity: self.propensity })
    }
}

impl<'l> OutcomeLine<'l> {
    fn of(record: &'l OutcomeRecord) -> Self {
        let OutcomeRecord { time_ms, route, outcome } = record;
        Self {
            time_ms: *time_ms,
            route: text(route),
            lead: text(&outcome.lead),
            via_alias: outcome.via_alias,
            won: outcome.won,
            revenue: outcome.revenue,
            event: outcome.event.as_deref().map(text),
            revision: outcome.revision,
            occurred_ms: outcome.time_ms,
        }
    }

    fn record(self, shared: &mut Decoder) -> OutcomeRecord {
        let outcome = Outcome {
            lead: boxed(self.lead),
            via_alias: self.via_alias,
            won: self.won,
            revenue: self.revenue,
            event: self.event.map(boxed),
            revision: self.revision,
            time_ms: self.occurred_ms,
        };
        OutcomeRecord { time_ms: self.time_ms, route: shared.text(&self.route), outcome }
    }
}

impl<'l> ShadowLine<'l> {
    fn of(record: &'l ShadowRecord) -> Self {
        let LiveScore { model: live, score, grade, latency_ns } = &record.live;
        let live = LiveLine {
            model: model(live),
            score: score.probability(),
            grade: *grade,
            latency_ns: *latency_ns,
        };
        let given = record.score.as_ref();
        Self {
            time_ms: record.time_ms,
            lead: record.lead.as_deref().map(text),
            model: model(&record.model),
            slot: text(record.slot.as_str()),
            live,
            score: given.ok().map(|(score, grade)| (score.probability(), *grade)),
            error: given.err().map(|error| text(error.as_str())),
            latency_ns: record.latency_ns,
        }
    }

    fn record(self, shared: &mut Decoder) -> Option<ShadowRecord> {
        let LiveLine { model, score, grade, latency_ns } = self.live;
        let live = LiveScore { model: shared.model(&model), score: Score::new(score)?, grade, latency_ns };
        let error = |error: Text<'_>| ShadowError::ALL.into_iter().find(|known| known.as_str() == error);
        Some(ShadowRecord {
            time_ms: self.time_ms,
            lead: self.lead.map(boxed),
            model: shared.model(&self.model),
            slot: SLOTS.into_iter().find(|slot| slot.as_str() == self.slot)?,
            live,
            score: match self.score {
                Some((score, grade)) => Ok((Score::new(score)?, grade)),
                None => Err(self.error.and_then(error)?),
            },
            latency_ns: self.latency_ns,
        })
    }
}

impl<'l> FeedbackLine<'l> {
    fn of(record: &'l FeedbackRecord) -> Self {
        let FeedbackRecord { time_ms, source, feedback } = record;
        Self {
            time_ms: *time_ms,
            source: text(source),
            lead: text(&feedback.lead),
            verdict: text(feedback.verdict.as_str()),
            reason: feedback.reason.map(|reason| text(reason.as_str())),
            who: feedback.who.as_deref().map(text),
            note: feedback.note.as_deref().map(text),
        }
    }

    fn record(self, shared: &mut Decoder) -> Option<FeedbackRecord> {
        let reason = |told: &Text<'_>| FeedbackReason::ALL.into_iter().find(|known| known.as_str() == told);
        let feedback = Feedback {
            lead: boxed(self.lead),
            verdict: Verdict::parse(&self.verdict)?,
            reason: match &self.reason {
                Some(told) => Some(reason(told)?),
                None => None,
            },
            who: self.who.map(boxed),
            note: self.note.map(boxed),
        };
        Some(FeedbackRecord { time_ms: self.time_ms, source: shared.text(&self.source), feedback })
    }
}

const SLOTS: [Slot; 4] = [Slot::Champion, Slot::Challenger, Slot::Shadow, Slot::Previous];

fn text(text: &str) -> Text<'_> {
    Cow::Borrowed(text)
}

fn boxed(text: Text<'_>) -> Box<str> {
    text.into_owned().into()
}

fn model(id: &ModelId) -> [Text<'_>; 3] {
    [text(&id.model), text(&id.version), text(&id.digest)]
}

fn arm(text: &str) -> Option<Arm> {
    Arm::ALL.into_iter().find(|arm| arm.as_str() == text)
}

fn arm_outcome(text: &str) -> Option<ArmOutcome> {
    ArmOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == text)
}

#[cfg(test)]
pub(in crate::leadlog) mod tests {
    use super::*;
    use crate::lead::Value;

    fn id(version: &str) -> Arc<ModelId> {
        Arc::new(ModelId { model: "lead".into(), version: version.into(), digest: "ab".into() })
    }

    fn exposure() -> Box<Exposure> {
        let assignment = Assignment { experiment: "2".into(), bucket: 9_999, key: KeyKind::Email };
        Box::new(Exposure { assignment, arm: Arm::Challenger, propensity: 0.1 })
    }

    fn outcome(outcome: Outcome) -> Entry {
        Entry::Outcome(OutcomeRecord { time_ms: 2, route: "deal.update".into(), outcome })
    }

    fn deal() -> Outcome {
        Outcome {
            via_alias: true,
            revenue: Some(0.1),
            event: Some("e".into()),
            revision: Some(i64::MIN),
            time_ms: Some(-1),
            ..Outcome::new("d", true)
        }
    }

    fn complaint() -> FeedbackRecord {
        let feedback = Feedback::new("a", Verdict::Down).by(Some("maria")).noted(Some("no, \"not\" them"));
        let feedback = Feedback { reason: Some(FeedbackReason::NotALead), ..feedback };
        FeedbackRecord { time_ms: 6, source: FeedbackRecord::API.into(), feedback }
    }

    /// One of each sort, with everything in it that a record can have.
    pub(in crate::leadlog) fn one_of_each() -> Vec<Entry> {
        let score = Score::new(0.123_456_79).unwrap();
        let text = Value::Text("é\"\\\n\u{1}".into());
        let live = LiveScore { model: id("1"), score, grade: Grade::C, latency_ns: 7 };
        let shadow = ShadowRecord {
            time_ms: 5,
            lead: None,
            model: id("3"),
            slot: Slot::Shadow,
            live,
            score: Ok((Score::new(0.25).unwrap(), Grade::D)),
            latency_ns: u64::MAX,
        };
        let failed =
            ShadowRecord { score: Err(ShadowError::Panic), lead: Some("b".into()), ..shadow.clone() };
        let first = ScoreRecord {
            time_ms: 1,
            route: "lead.create".into(),
            lead: Some("00Q\u{2028}é".into()),
            arm: Arm::Champion,
            model: id("1"),
            names: ["age", "job", "cleared", "member"].map(Arc::from).into(),
            features: Packed::new(&[Value::Number(-0.1), text, Value::Missing, Value::Boolean(true)]),
            score,
            grade: Grade::A,
            latency_ns: 900,
            decision: Decision::Headers,
            exposure: Some(exposure()),
            fell: Some(ArmOutcome::Failed),
        };
        let bare = ScoreRecord {
            lead: None,
            exposure: None,
            fell: None,
            names: [].into(),
            features: Packed::new(&[]),
            ..first.clone()
        };
        vec![
            Entry::Score(first),
            Entry::Score(bare),
            outcome(deal()),
            outcome(Outcome::new("a", false)),
            Entry::Alias(AliasRecord { time_ms: 3, alias: Alias { deal: "d".into(), lead: "a".into() } }),
            Entry::Exposure(ExposureRecord {
                time_ms: 4,
                lead: Some("a".into()),
                model: "lead".into(),
                exposure: exposure(),
                outcome: ArmOutcome::Late,
            }),
            Entry::Shadow(Box::new(shadow)),
            Entry::Shadow(Box::new(failed)),
            Entry::Feedback(Box::new(complaint())),
        ]
    }

    fn encoded(entries: &[Entry]) -> Vec<Vec<u8>> {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        entries.iter().for_each(|entry| encoder.write(entry, &mut out));
        out.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn every_record_comes_back_as_it_was() {
        let (entries, mut decoder) = (one_of_each(), Decoder::default());
        let lines = encoded(&entries);
        assert_eq!(lines.len(), entries.len(), "a line each");
        for (line, entry) in lines.iter().zip(&entries) {
            let read = decoder.read(line.strip_suffix(b"\n").unwrap()).unwrap();
            if let (Entry::Score(read), Entry::Score(entry)) = (&read, entry) {
                let json = |record: &ScoreRecord| {
                    FeatureJson::default().write(&record.names, &record.features).to_vec()
                };
                assert_eq!(json(read), json(entry));
                let told = |record: &ScoreRecord| {
                    format!(
                        "{:?}",
                        ScoreRecord { names: [].into(), features: Packed::new(&[]), ..record.clone() }
                    )
                };
                assert_eq!(told(read), told(entry));
            } else {
                assert_eq!(format!("{read:?}"), format!("{entry:?}"));
            }
        }
    }

    #[test]
    fn neighbours_share_what_is_the_same() {
        let lines = encoded(&[one_of_each(), one_of_each()].concat());
        let mut decoder = Decoder::default();
        let mut read = |line: &Vec<u8>| match decoder.read(line.strip_suffix(b"\n").unwrap()) {
            Some(Entry::Score(record)) => record,
            other => panic!("{other:?}"),
        };
        let (one, two) = (read(&lines[0]), read(&lines[9]));
        assert!(Arc::ptr_eq(&one.route, &two.route) && Arc::ptr_eq(&one.model, &two.model));
        assert!(Arc::ptr_eq(&one.names, &two.names));
    }

    #[test]
    fn a_line_that_is_damaged_is_none() {
        let mut decoder = Decoder::default();
        for line in encoded(&one_of_each()) {
            let line = line.strip_suffix(b"\n").unwrap();
            for place in 0..line.len() {
                let mut damaged = line.to_vec();
                damaged[place] ^= 0x04;
                // Case is nothing that a checksum's digits differ by.
                assert!(decoder.read(&damaged).is_none(), "{place}");
                assert!(decoder.read(&line[..place]).is_none(), "{place}");
            }
        }
        let sealed = |json: &str| {
            [format!("{:08x} ", crc32fast::hash(json.as_bytes())).as_bytes(), json.as_bytes()].concat()
        };
        for json in [
            "",
            "{}",
            r#"{"later":{"time_ms":1}}"#,
            r#"{"exposure":{"time_ms":1,"lead":null,"model":"m","exposure":{"experiment":"2","bucket":1,"key":"x","arm":"champion","propensity":1},"outcome":"late"}}"#,
            r#"{"exposure":{"time_ms":1,"lead":null,"model":"m","exposure":{"experiment":"2","bucket":1,"key":"id","arm":"x","propensity":1},"outcome":"late"}}"#,
        ] {
            assert!(decoder.read(&sealed(json)).is_none(), "{json}");
        }
        assert!(decoder.read(&sealed(r#"{"alias":{"time_ms":1,"deal":"d","lead":"a"}}"#)).is_some());
    }
}
