//! Reasons against the reference, a linear model whose effects are known, and what is shown of them.

use super::*;
use crate::{
    goldens,
    lead::Cutoffs,
    score::{Calibration, FeatureSpec, Schema, Spec, fixture},
};

fn number(name: &str) -> FeatureSpec {
    FeatureSpec::new(name, false, Encoding::Number { median: 0.0, mean: 0.0, sd: 1.0 })
}

fn words(name: &str, vocabulary: &[&str]) -> FeatureSpec {
    let vocabulary = vocabulary.iter().map(|word| (*word).to_owned()).collect();
    FeatureSpec::new(name, false, Encoding::Category { vocabulary })
}

fn median(median: f64) -> Typical {
    Typical::Number(Bands::new(median, &[], &[1]))
}

fn model(kind: Kind, features: Vec<FeatureSpec>, weights: &[u8]) -> Model {
    let cutoffs = Cutoffs { a: 0.5, b: 0.25, c: 0.125 };
    let schema = Schema { features };
    let spec = Spec { kind, objective: None, schema, calibration: Calibration::None, cutoffs };
    Model::new(spec, weights).unwrap()
}

/// The golden's network reads three numbers and three one-hot columns; flags and the unseen word weigh nothing.
fn golden_network(inputs: &serde_json::Value) -> Network {
    let floats = |json: &serde_json::Value| -> Vec<f32> {
        json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    let layers = inputs["W"].as_array().unwrap().iter().zip(inputs["b"].as_array().unwrap()).enumerate();
    let layer = |(i, (weight, bias)): (usize, (&serde_json::Value, &serde_json::Value))| {
        let mut rows: Vec<Vec<f32>> = weight.as_array().unwrap().iter().map(&floats).collect();
        let bias = floats(bias);
        if i == 0 {
            let nothing = vec![0.0; bias.len()];
            rows.splice(3..3, vec![nothing.clone(); 3]);
            rows.push(nothing);
        }
        let weight = (0..bias.len()).flat_map(|o| rows.iter().map(move |row| row[o]).collect::<Vec<_>>());
        Layer { inputs: rows.len(), outputs: bias.len(), weight: weight.collect(), bias: bias.clone() }
    };
    Network::Mlp(layers.map(layer).collect())
}

#[test]
fn agrees_with_the_reference() {
    let Some(golden) = goldens::json("goldens/mlops/explain.json") else { return };
    let weights = golden_network(&golden["inputs"]).to_bytes().unwrap();
    let features = vec![number("a"), number("b"), number("c"), words("d", &["u", "v", "w"])];
    let model = model(Kind::Mlp, features, &weights);
    let typical = vec![median(0.0), median(0.0), median(0.0), Typical::Shares(vec![0.5, 0.3, 0.2])];
    let explainer = Explainer::new(&model, &weights, typical).unwrap();
    let lead = [Value::Number(1.2), Value::Number(-0.7), Value::Number(0.4), Value::Text("v".into())];
    let mut scratch = ReasonScratch::default();
    let found = explainer.explain(&model, |i| &lead[i], &mut scratch).unwrap();
    let close = |got: f32, key: &serde_json::Value| (f64::from(got) - key.as_f64().unwrap()).abs() < 2e-6;
    let expected = &golden["expected"];
    assert!(close(found.ends.lead, &expected["f_x"]) && close(found.ends.background, &expected["f_base"]));
    for (i, phi) in found.phi.iter().enumerate() {
        assert!(close(*phi, &expected["in_out"][i]), "{i}: {phi}");
    }
    let sum: f32 = found.scaled().sum();
    assert!((sum - found.phi.iter().sum::<f32>()).abs() < 1.0);
}

/// A linear model: the effects are its terms, whichever way the mix is made.
#[test]
fn a_linear_models_effects_are_its_terms() {
    let features = vec![number("a"), words("b", &["x", "y"]), {
        FeatureSpec::new("c", false, Encoding::Boolean { imputation: false })
    }];
    let (numbers, flags, hot) = ([2.0f32, -1.0], [0.5f32, 0.25], [1.0f32, 3.0, -4.0]);
    let weight: Vec<f32> = [&numbers[..], &flags, &hot].concat();
    let network = Network::Linear(Layer { inputs: 7, outputs: 1, weight, bias: vec![0.5] });
    let weights = network.to_bytes().unwrap();
    let model = model(Kind::Linear, features, &weights);
    let typical = || vec![median(1.0), Typical::Shares(vec![0.25, 0.75]), Typical::Shares(vec![0.5, 0.5])];
    let explainer = Explainer::new(&model, &weights, typical()).unwrap();
    let mut scratch = ReasonScratch::default();
    let mut check = |lead: [Value<'_>; 3], expected: [f32; 3]| {
        let found = explainer.explain(&model, |i| &lead[i], &mut scratch).unwrap();
        for (phi, expected) in found.phi.iter().zip(expected) {
            assert!((phi - expected).abs() < 1e-6, "{:?}", found.phi);
        }
        let sum: f32 = found.scaled().sum();
        assert!((sum - (found.ends.lead - found.ends.background)).abs() < 1e-5);
    };
    check([Value::Number(3.0), Value::Text("x".into()), Value::Boolean(true)], [4.0, -1.5, -0.5]);
    // Missing: the imputed 0 and the flag; the column of what was never seen; the imputed no and its flag.
    check([Value::Missing, Value::Missing, Value::Missing], [-1.5, -6.5, 0.75]);

    let by_values = Explainer::over_values(&model, typical());
    let lead = [Value::Number(3.0), Value::Text("x".into()), Value::Boolean(true)];
    let found = by_values.explain(&model, |i| &lead[i], &mut scratch).unwrap();
    assert_eq!(found.phi, [4.0, -2.0, 0.0 - 1.0], "against the most frequent words, y and no");
}

/// Each part of a piecewise number has a weight of its own, and stands between the plain numbers and the flags.
#[test]
fn a_piecewise_numbers_effect_is_its_ramps() {
    let piecewise = Encoding::Piecewise { median: 5.0, mean: 5.0, edges: vec![0.0, 10.0, 20.0] };
    let features = vec![FeatureSpec::new("p", false, piecewise), words("w", &["x"]), number("n")];
    // n, the two ramps of p, the flags of n and p, then w's word and its column for what was never seen.
    let weight = vec![10.0, 2.0, 4.0, 0.5, 0.25, 3.0, -1.0];
    let network = Network::Linear(Layer { inputs: 7, outputs: 1, weight, bias: vec![0.0] });
    let weights = network.to_bytes().unwrap();
    let model = model(Kind::Linear, features, &weights);
    let typical = vec![median(5.0), Typical::Shares(vec![0.5, 0.5]), median(1.0)];
    let explainer = Explainer::new(&model, &weights, typical).unwrap();
    let lead = [Value::Number(15.0), Value::Text("x".into()), Value::Number(2.0)];
    let mut scratch = ReasonScratch::default();
    let found = explainer.explain(&model, |i| &lead[i], &mut scratch).unwrap();
    // From half of the first part to all of it and half of the second; the word against the average of 3 and -1.
    for (phi, expected) in found.phi.iter().zip([1.0 + 2.0, 2.0, 10.0]) {
        assert!((phi - expected).abs() < 1e-5, "{:?}", found.phi);
    }
    let logit = model.score(|i| &lead[i], &mut Scratch::default()).unwrap().logit;
    assert!((f64::from(found.ends.lead) - logit).abs() < 1e-6);
}

#[test]
fn reasons_are_strong_few_and_never_of_protected_features() {
    let weight = [9.0, -8.0, 7.0, 6.0, 5.0, -0.1, 30.0f32];
    let mut features: Vec<FeatureSpec> = ["a", "b", "c_d", "e", "f", "weak", "sex"].map(number).into();
    features[6].protected = true;
    features[0].label = Some("Annual revenue".into());
    let inputs = [weight.to_vec(), vec![0.0; 7]].concat();
    let network = Network::Linear(Layer { inputs: 14, outputs: 1, weight: inputs, bias: vec![0.0] });
    let weights = network.to_bytes().unwrap();
    let model = model(Kind::Linear, features, &weights);
    let explainer = Explainer::new(&model, &weights, vec![median(0.0); 7]).unwrap();
    let told = |lead: &[Value<'_>; 7]| {
        let reasons = explainer.reasons(&model, |i| &lead[i], &mut ReasonScratch::default());
        let told = reasons.iter().map(|reason| format!("{} {}", reason.text, reason.direction.as_str()));
        told.collect::<Vec<_>>().join("; ")
    };
    let one = [const { Value::Number(1.0) }; 7];
    assert_eq!(told(&one), "Annual revenue: high +; b: high -; c d: high +; e: high +");
    assert_eq!(told(&[const { Value::Number(0.0) }; 7]), "", "a typical lead has no reasons");
    let mut huge = one;
    huge[0] = Value::Number(1e300);
    assert_eq!(told(&huge), "", "nor has one that cannot be scored");
    let reasons = explainer.reasons(&model, |_| &Value::Number(1.0), &mut ReasonScratch::default());
    assert!((reasons[0].strength - 9.0 / 65.1).abs() < 1e-6);
    let json = serde_json::to_string(&reasons[1]).unwrap();
    assert!(json.starts_with(r#"{"feature":"b","label":"b","direction":"-","strength":0.12"#), "{json}");
}

#[test]
fn what_is_typical_must_fit_the_schema() {
    let weights = fixture::weights(&[("linear", 1, 2)], 0.5);
    let model = model(Kind::Linear, vec![number("a")], &weights);
    let refused = |typical| Explainer::new(&model, &weights, typical).unwrap_err().to_string();
    assert_eq!(refused(vec![]), "feature `a`: nothing typical is known");
    assert_eq!(refused(vec![Typical::Shares(vec![1.0])]), "feature `a`: what is typical is of another type");
}
