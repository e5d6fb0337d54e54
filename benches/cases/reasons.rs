//! What reasons cost beside a score: every feature's effect, and the words for the strongest.

use std::hint::black_box;

use leadwire::{
    lead::Value,
    score::{Bands, Encoding, Explainer, Model, ReasonScratch, Typical},
};

use super::{Case, spec, trees};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("reasons: linear, 20 numbers + 10 categories", 1, || {
            reasons(spec::linear(), spec::lead(7))
        }),
        Case::new("reasons: 64-32-1, 20 numbers + 10 categories", 1, || reasons(spec::mlp(), spec::lead(7))),
        Case::new("reasons: trees, 100 of 31 leaves over 19 features", 1, || {
            let lead = trees::leads().swap_remove(7);
            reasons(trees::served(), lead)
        }),
    ]
}

/// A lead against one of medians and even shares of words.
fn reasons((model, file): (Model, Vec<u8>), lead: Vec<Value<'static>>) -> impl FnMut() {
    let typical = model.features().iter().map(|feature| match &feature.encoding {
        Encoding::Category { vocabulary } => {
            Typical::Shares(vec![1.0 / vocabulary.len() as f64; vocabulary.len()])
        }
        _ => Typical::Number(Bands::new(25.0, &[10.0, 30.0], &[1, 1, 1])),
    });
    let explainer = Explainer::new(&model, &file, typical.collect()).expect("one entry for each feature");
    let mut scratch = ReasonScratch::default();
    move || {
        let value = |i: usize| lead.get(i).unwrap_or(&Value::Missing);
        black_box(explainer.reasons(&model, value, &mut scratch));
    }
}
