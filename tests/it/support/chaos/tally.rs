//! What went wrong, and how often something came.

use std::sync::{
    Mutex,
    atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

use super::script::{Exchange, Fault, Kind, Script, VARIANTS};

/// Both ends write into it.
pub struct Tally {
    script: Script,
    /// How often each request reached the CRM.
    arrived: Vec<AtomicU8>,
    /// The points that the CRM saw in it, and one.
    injected: Vec<AtomicU8>,
    /// The points that each version gave each lead, and one.
    points: [[AtomicU8; VARIANTS]; 2],
    faults: [AtomicU64; Fault::ALL.len()],
    pub done: AtomicU64,
    pub scored: AtomicU64,
    /// Connections that the CRM closed without a word.
    drops: AtomicU64,
    /// Requests that met such a connection.
    missed: AtomicU64,
    wrong: Mutex<Vec<String>>,
    /// What was altered or lost.
    pub wrongs: AtomicU64,
}

impl Tally {
    pub fn new(script: Script) -> Self {
        let count = script.count as usize;
        Self {
            script,
            arrived: (0..count).map(|_| AtomicU8::new(0)).collect(),
            injected: (0..count).map(|_| AtomicU8::new(0)).collect(),
            points: Default::default(),
            faults: Default::default(),
            done: AtomicU64::new(0),
            scored: AtomicU64::new(0),
            drops: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            wrong: Mutex::default(),
            wrongs: AtomicU64::new(0),
        }
    }

    pub fn wrong(&self, exchange: &Exchange, what: &str) {
        self.wrongs.fetch_add(1, Relaxed);
        let mut wrong = self.wrong.lock().unwrap();
        // The first ones tell enough.
        if wrong.len() < 20 {
            let Exchange { id, kind, method, fault, framing, .. } = exchange;
            wrong.push(format!(
                "{id} {kind:?} {method} {framing:?} {fault:?} {:?}: {what}",
                exchange.answer.framing
            ));
        }
    }

    /// A request reached the CRM; a write does so once, or once more without the field that was refused.
    pub fn arrived(&self, exchange: &Exchange, points: Option<u8>) {
        let before = self.arrived[exchange.id as usize].fetch_add(1, Relaxed);
        let is_repeatable = matches!(exchange.method, "GET" | "HEAD");
        let refused =
            self.injected(exchange.id).is_some() && points.is_none() && exchange.fault == Fault::Refuses;
        if before > u8::from(is_repeatable || refused) {
            self.wrong(exchange, "sent more than once");
        }
        let points = points.map_or(0, |points| points + 1);
        self.injected[exchange.id as usize].store(points, Relaxed);
        self.faults[Fault::ALL.iter().position(|fault| *fault == exchange.fault).unwrap()]
            .fetch_add(1, Relaxed);
        if exchange.fault == Fault::Drops {
            self.drops.fetch_add(1, Relaxed);
        }
    }

    pub fn arrivals(&self, id: u64) -> u8 {
        self.arrived[id as usize].load(Relaxed)
    }

    pub fn injected(&self, id: u64) -> Option<u8> {
        self.injected[id as usize].load(Relaxed).checked_sub(1)
    }

    /// A request met a connection that was just being closed; nothing of it reached the CRM.
    pub fn missed(&self) {
        self.missed.fetch_add(1, Relaxed);
    }

    /// One version gives one lead one score, each time.
    pub fn scored(&self, exchange: &Exchange, model: &str, points: u8) {
        self.scored.fetch_add(1, Relaxed);
        let version = match model {
            "lead/1" => 0,
            "lead/2" => 1,
            _ => return self.wrong(exchange, &format!("by model {model}")),
        };
        let known = self.points[version][exchange.variant].swap(points + 1, Relaxed);
        if known != 0 && known != points + 1 || points > 100 {
            self.wrong(exchange, &format!("{points} points from {model}, and {} before", known - 1));
        }
        if self.injected(exchange.id).is_some_and(|injected| injected != points) {
            self.wrong(exchange, "other points in the request than in the answer");
        }
    }

    /// What is wrong in the end; nothing, mostly.
    pub fn verdict(&self) -> Vec<String> {
        let mut wrong = self.wrong.lock().unwrap().clone();
        let (missed, drops) = (self.missed.load(Relaxed), self.drops.load(Relaxed));
        if missed > drops {
            wrong.push(format!("{missed} requests met closed connections, of which there were {drops}"));
        }
        if self.done.load(Relaxed) != self.script.count {
            wrong.push(format!("{} of {} requests ended", self.done.load(Relaxed), self.script.count));
        }
        wrong
    }

    /// In lines, for people.
    pub fn report(&self) -> String {
        let faults = Fault::ALL
            .iter()
            .zip(&self.faults)
            .map(|(fault, count)| format!("  {:<16} {}\n", format!("{fault:?}"), count.load(Relaxed)));
        let (scored, missed) = (self.scored.load(Relaxed), self.missed.load(Relaxed));
        let (done, wrongs) = (self.done.load(Relaxed), self.wrongs.load(Relaxed));
        let faults: String = faults.collect();
        format!(
            "requests {done}, scored {scored}, on closing connections {missed}, altered or lost {wrongs}\n{faults}"
        )
    }

    /// Whether the fault has been played.
    pub fn has_played(&self, fault: Fault) -> bool {
        self.faults[Fault::ALL.iter().position(|known| *known == fault).unwrap()].load(Relaxed) > 0
    }

    pub fn has_injected(&self) -> bool {
        self.injected.iter().any(|injected| injected.load(Relaxed) > 0)
    }
}

/// What was written into a JSON object: the points before its last brace; `Some(None)` where nothing was, `None` where it is
/// another object.
pub fn written(original: &[u8], body: &[u8]) -> Option<Option<u8>> {
    if original == body {
        return Some(None);
    }
    let added = body.strip_prefix(original.strip_suffix(b"}")?)?;
    let points = added.strip_prefix(b",\"Lead_Score__c\":")?.strip_suffix(b"}")?;
    Some(Some(std::str::from_utf8(points).ok()?.parse().ok()?))
}

/// Whether the exchange's answer is scored when all goes well.
pub fn is_ours(exchange: &Exchange) -> bool {
    exchange.kind != Kind::Other
}
