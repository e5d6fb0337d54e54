//! Small networks for tests.

use safetensors::{Dtype, tensor::TensorView};

/// A safetensors file of the named layers (outputs, inputs), every weight the same.
pub(crate) fn weights(layers: &[(&str, usize, usize)], weight: f32) -> Vec<u8> {
    tensors(layers, || weight)
}

/// The same with weights drawn from -1..1 by a seed.
pub(crate) fn random_weights(layers: &[(&str, usize, usize)], mut seed: u64) -> Vec<u8> {
    tensors(layers, || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

fn tensors(layers: &[(&str, usize, usize)], mut weight: impl FnMut() -> f32) -> Vec<u8> {
    let mut data = Vec::new();
    for &(name, outputs, inputs) in layers {
        for (suffix, shape) in [("weight", vec![outputs, inputs]), ("bias", vec![outputs])] {
            let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(|_| weight().to_le_bytes()).collect();
            data.push((format!("{name}.{suffix}"), shape, bytes));
        }
    }
    let views = data.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}
