//! A network of 20 numbers and 10 categories of nine words into 64-32-1, by candle-nn as one writes it and by the kernel.

use std::hint::black_box;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::Linear;
use leadwire::{
    lead::{Cutoffs, Value},
    score::{Calibration, Encoding, FeatureSpec, Kind, Layer, Model, Network, Schema, Scratch, Spec},
};

use super::Case;

const NUMBERS: usize = 20;
const CATEGORIES: usize = 10;
const WORDS: usize = 9;
const BATCHES: [usize; 3] = [1, 64, 512];

pub fn cases() -> Vec<Case> {
    let mut cases = vec![Case::new("score: 20 numbers + 10 categories, 64-32-1, values to score", 1, || {
        let (model, lead, mut scratch) = (model(), lead(7), Scratch::default());
        move || {
            let value = |i: usize| lead.get(i).unwrap_or(&Value::Missing);
            black_box(model.score(value, &mut scratch).expect("finite"));
        }
    })];
    for batch in BATCHES {
        let leads = batch as u64;
        cases.push(Case::new(format!("kernel as a candle op, batch {batch}"), leads, move || {
            let model = model();
            let (rows, _) = rows(&model, batch);
            move || {
                black_box(kernel(&model, black_box(&rows)));
            }
        }));
        cases.push(Case::new(format!("candle-nn as one writes it, batch {batch}"), leads, move || {
            let (model, layers) = (model(), network().layers().iter().map(as_candle).collect::<Vec<_>>());
            let (rows, columns) = rows(&model, batch);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
            let same = candle(&layers, &columns).iter().zip(&kernel(&model, &rows)).all(close);
            assert!(same, "kernel and candle-nn compute different networks");
            move || {
                black_box(candle(&layers, black_box(&columns)));
            }
        }));
    }
    cases
}

fn model() -> Model {
    mlp().0
}

/// The network and its file.
pub fn mlp() -> (Model, Vec<u8>) {
    compiled(Kind::Mlp, &network())
}

/// A logistic regression over the same columns, and its file.
pub fn linear() -> (Model, Vec<u8>) {
    let inputs = schema().width();
    let mut seed = 7u64;
    let weight = (0..inputs).map(|_| random(&mut seed) * 0.3).collect();
    compiled(Kind::Linear, &Network::Linear(Layer { inputs, outputs: 1, weight, bias: vec![0.01] }))
}

fn compiled(kind: Kind, network: &Network) -> (Model, Vec<u8>) {
    let weights = network.to_bytes().expect("finite weights");
    let calibration = Calibration::Platt { a: 1.1, b: 0.1 };
    let cutoffs = Cutoffs { a: 0.75, b: 0.5, c: 0.25 };
    let spec = Spec { kind, objective: None, schema: schema(), calibration, cutoffs };
    (Model::new(spec, &weights).expect("a network that fits its schema"), weights)
}

/// Compact rows to logits.
fn kernel(model: &Model, rows: &Tensor) -> Vec<f32> {
    let op = model.op().expect("a network");
    rows.apply_op1_no_bwd(&op).and_then(|logits| logits.to_vec1()).expect("rows of the model's width")
}

/// Columns, one-hots written out, to logits.
fn candle(layers: &[Linear], columns: &Tensor) -> Vec<f32> {
    let mut x = columns.clone();
    for (i, layer) in layers.iter().enumerate() {
        x = layer.forward(&x).expect("layers that fit");
        if i + 1 < layers.len() {
            x = x.relu().expect("numbers");
        }
    }
    x.flatten_all().and_then(|logits| logits.to_vec1()).expect("one column")
}

fn schema() -> Schema {
    let feature = |name: String, encoding| FeatureSpec::new(name, false, encoding);
    let number = Encoding::Number { median: 10.0, mean: 12.0, sd: 4.0 };
    let vocabulary: Vec<String> = (0..WORDS).map(|word| format!("word {word}")).collect();
    let numbers = (0..NUMBERS).map(|i| feature(format!("number {i}"), number.clone()));
    let category = Encoding::Category { vocabulary };
    let categories = (0..CATEGORIES).map(|i| feature(format!("category {i}"), category.clone()));
    Schema { features: numbers.chain(categories).collect() }
}

fn network() -> Network {
    let mut seed = 7u64;
    let mut inputs = schema().width();
    let layers = [64, 32, 1].map(|outputs| {
        let scale = 1.0 / (inputs as f32).sqrt();
        let weight = (0..outputs * inputs).map(|_| random(&mut seed) * scale).collect();
        let layer = Layer { inputs, outputs, weight, bias: vec![0.01; outputs] };
        inputs = outputs;
        layer
    });
    Network::Mlp(layers.into())
}

/// -1..1, the same numbers every time.
fn random(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

fn as_candle(layer: &Layer) -> Linear {
    let tensor = |numbers: &[f32], shape: &[usize]| {
        Tensor::from_slice(numbers, shape, &Device::Cpu).expect("as many numbers as the shape says")
    };
    let weight = tensor(&layer.weight, &[layer.outputs, layer.inputs]);
    Linear::new(weight, Some(tensor(&layer.bias, &[layer.outputs])))
}

/// A lead with a value missing here and a word unheard of there.
pub fn lead(seed: usize) -> Vec<Value<'static>> {
    let numbers = (0..NUMBERS).map(|i| match (seed + i) % 11 {
        0 => Value::Missing,
        step => Value::Number(step as f64 * 1.5),
    });
    let categories =
        (0..CATEGORIES).map(|i| Value::Text(format!("word {}", (seed + i) % (WORDS + 1)).into()));
    numbers.chain(categories).collect()
}

/// A batch as compact rows and as columns.
fn rows(model: &Model, batch: usize) -> (Tensor, Tensor) {
    let encoder = model.encoder();
    let (mut rows, mut columns, mut row) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..batch {
        let lead = lead(seed);
        assert!(encoder.encode(|i| lead.get(i).unwrap_or(&Value::Missing), &mut row));
        encoder.expand(&row, &mut columns);
        rows.extend_from_slice(&row);
    }
    let tensor = |numbers: Vec<f32>| {
        let width = numbers.len() / batch;
        let tensor = Tensor::from_vec(numbers, (batch, width), &Device::Cpu).expect("whole rows");
        assert_eq!(tensor.dtype(), DType::F32);
        tensor
    };
    (tensor(rows), tensor(columns))
}
