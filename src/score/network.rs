//! Safetensors bytes become checked weights.
//!
//! The bytes are hostile until proven otherwise: a tensor that is missing, extra, of another type or shape, or that holds
//! a number that is not finite is refused by name. Nothing is allocated for a size that is only claimed.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Kind, ModelError};

/// More layers than any model here needs; bounds the work a hostile file can ask for.
const MAX_LAYERS: usize = 16;
/// Bounds the padding a packed layer can need: few outputs from many inputs.
const MAX_OUTPUTS: usize = 4096;
/// The same for the first layer's inputs, which the schema's vocabularies add up to.
const MAX_WIDTH: usize = 1 << 20;

/// A network's weights. The last layer has one output, the logit.
#[derive(Clone, Debug, PartialEq)]
pub enum Network {
    /// Logistic regression.
    Linear(Layer),
    /// Layers with ReLU between them, at least one.
    Mlp(Vec<Layer>),
}

/// `outputs = weight * inputs + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Columns of the weight.
    pub inputs: usize,
    /// Rows of the weight.
    pub outputs: usize,
    /// `[outputs, inputs]`, row by row, all finite.
    pub weight: Vec<f32>,
    /// One per output, all finite.
    pub bias: Vec<f32>,
}

impl Network {
    /// Reads a safetensors file whose first layer takes `width` columns.
    pub fn read(kind: Kind, bytes: &[u8], width: usize) -> Result<Self, ModelError> {
        let unreadable = |error: safetensors::SafeTensorError| ModelError::Weights(error.to_string());
        let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        check_metadata(header.metadata().as_ref())?;
        if width > MAX_WIDTH {
            return Err(ModelError::Weights(format!("{width} input columns, at most {MAX_WIDTH} are known")));
        }
        let network = match kind {
            Kind::Linear => Network::Linear(layer(&tensors, "linear", width)?),
            Kind::Mlp => Network::Mlp(mlp(&tensors, width)?),
            Kind::Lightgbm | Kind::Xgboost => {
                return Err(ModelError::Weights("trees are no network".into()));
            }
        };
        let layers = network.layers();
        let expected = layers.len() * 2;
        if tensors.len() != expected {
            return Err(ModelError::Weights(format!("{} tensors where {expected} are known", tensors.len())));
        }
        match layers.last() {
            Some(Layer { outputs: 1, .. }) => Ok(network),
            _ => Err(ModelError::Weights("the last layer must have one output".into())),
        }
    }

    /// The kind a safetensors file's tensors are named for.
    pub fn kind(bytes: &[u8]) -> Result<Kind, ModelError> {
        let tensors =
            SafeTensors::deserialize(bytes).map_err(|error| ModelError::Weights(error.to_string()))?;
        let has = |name| tensors.tensor(name).is_ok();
        match (has("linear.weight"), has("layers.0.weight")) {
            (true, false) => Ok(Kind::Linear),
            (false, true) => Ok(Kind::Mlp),
            _ => Err(ModelError::Weights(
                "neither `linear.weight` nor `layers.0.weight` is its first tensor".into(),
            )),
        }
    }

    /// The safetensors file that reads back as this; the same weights give the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let mut data = Vec::new();
        for (i, layer) in self.layers().iter().enumerate() {
            let name = match self {
                Network::Linear(_) => "linear".to_owned(),
                Network::Mlp(_) => format!("layers.{i}"),
            };
            let bytes =
                |numbers: &[f32]| -> Vec<u8> { numbers.iter().flat_map(|x| x.to_le_bytes()).collect() };
            data.push((format!("{name}.weight"), vec![layer.outputs, layer.inputs], bytes(&layer.weight)));
            data.push((format!("{name}.bias"), vec![layer.outputs], bytes(&layer.bias)));
        }
        let unwritable = |error: safetensors::SafeTensorError| ModelError::Weights(error.to_string());
        let views = data.iter().map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(unwritable)?))
        });
        let views: Vec<_> = views.collect::<Result<_, ModelError>>()?;
        safetensors::serialize(views, None).map_err(unwritable)
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Layer] {
        match self {
            Network::Linear(layer) => std::slice::from_ref(layer),
            Network::Mlp(layers) => layers,
        }
    }

    /// Columns the first layer takes.
    pub fn width(&self) -> usize {
        self.layers().first().map_or(0, |layer| layer.inputs)
    }
}

/// Another activation or output would give plausible, wrong scores.
fn check_metadata(metadata: Option<&HashMap<String, String>>) -> Result<(), ModelError> {
    let Some(metadata) = metadata else { return Ok(()) };
    for (key, known) in [("activation", "relu"), ("output", "sigmoid")] {
        match metadata.get(key) {
            Some(value) if value != known => {
                return Err(ModelError::Weights(format!("unknown {key} `{value}`, only {known} is known")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn mlp(tensors: &SafeTensors<'_>, width: usize) -> Result<Vec<Layer>, ModelError> {
    let count = (0..)
        .take_while(|i| tensors.tensor(&format!("layers.{i}.weight")).is_ok())
        .take(MAX_LAYERS + 1)
        .count();
    if !(1..=MAX_LAYERS).contains(&count) {
        return Err(ModelError::Weights(format!("{count} layers, 1 to {MAX_LAYERS} are known")));
    }
    let mut inputs = width;
    (0..count)
        .map(|i| {
            let layer = layer(tensors, &format!("layers.{i}"), inputs)?;
            inputs = layer.outputs;
            Ok(layer)
        })
        .collect()
}

fn layer(tensors: &SafeTensors<'_>, name: &str, inputs: usize) -> Result<Layer, ModelError> {
    let (shape, bias) = tensor(tensors, &format!("{name}.bias"))?;
    let [outputs] = *shape else {
        return Err(ModelError::Shape {
            tensor: format!("{name}.bias"),
            shape,
            expected: "[outputs]".into(),
        });
    };
    let (shape, weight) = tensor(tensors, &format!("{name}.weight"))?;
    if shape != [outputs, inputs] || !(1..=MAX_OUTPUTS).contains(&outputs) {
        let expected = format!("[{outputs}, {inputs}] with 1 to {MAX_OUTPUTS} outputs");
        return Err(ModelError::Shape { tensor: format!("{name}.weight"), shape, expected });
    }
    Ok(Layer { inputs, outputs, weight, bias })
}

fn tensor(tensors: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>), ModelError> {
    let view =
        tensors.tensor(name).map_err(|_| ModelError::Weights(format!("tensor `{name}` is missing")))?;
    if view.dtype() != Dtype::F32 {
        return Err(ModelError::Weights(format!("tensor `{name}` is {:?}, only F32 is known", view.dtype())));
    }
    let (numbers, _) = view.data().as_chunks();
    let numbers: Vec<f32> = numbers.iter().copied().map(f32::from_le_bytes).collect();
    if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
        return Err(ModelError::Weights(format!("tensor `{name}` is not finite at {at}")));
    }
    Ok((view.shape().to_vec(), numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture;

    fn refused(kind: Kind, bytes: &[u8], width: usize, expected: &str) {
        let error = Network::read(kind, bytes, width).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn reads_what_it_knows() {
        let linear = fixture::weights(&[("linear", 1, 2)], 0.5);
        assert_eq!(
            Network::read(Kind::Linear, &linear, 2).unwrap(),
            Network::Linear(Layer { inputs: 2, outputs: 1, weight: vec![0.5; 2], bias: vec![0.5] })
        );
        let mlp = fixture::weights(&[("layers.0", 3, 2), ("layers.1", 1, 3)], 0.5);
        let network = Network::read(Kind::Mlp, &mlp, 2).unwrap();
        assert_eq!(network.layers().len(), 2);
        assert_eq!(Network::read(Kind::Mlp, &network.to_bytes().unwrap(), 2).unwrap(), network);
    }

    #[test]
    fn refuses_by_name_what_it_does_not() {
        let linear = fixture::weights(&[("linear", 1, 2)], 0.5);
        refused(Kind::Linear, &linear, 3, "`linear.weight` is [1, 2], expected [1, 3]");
        refused(Kind::Mlp, &linear, 2, "0 layers");
        refused(
            Kind::Linear,
            &fixture::weights(&[("linear", 1, 2)], f32::NAN),
            2,
            "`linear.bias` is not finite at 0",
        );
        refused(Kind::Linear, &fixture::weights(&[("linear", 2, 2)], 0.5), 2, "last layer");
        refused(Kind::Linear, &fixture::weights(&[("linear", 1, 2), ("more", 1, 1)], 0.5), 2, "4 tensors");
        refused(
            Kind::Mlp,
            &fixture::weights(&[("layers.0", 3, 2), ("layers.1", 1, 4)], 0.5),
            2,
            "`layers.1.weight`",
        );
        refused(Kind::Linear, &linear, usize::MAX, "input columns");
    }

    #[test]
    fn truncated_and_lying_files_are_refused() {
        let linear = fixture::weights(&[("linear", 1, 2)], 0.5);
        for end in 0..linear.len() {
            assert!(Network::read(Kind::Linear, &linear[..end], 2).is_err(), "{end}");
        }
        for at in 0..linear.len() {
            let mut spoilt = linear.clone();
            spoilt[at] = spoilt[at].wrapping_add(1);
            let _ = Network::read(Kind::Linear, &spoilt, 2); // a weight may well be another; nothing may panic
        }
        let mut lying = u64::MAX.to_le_bytes().to_vec();
        lying.extend(b"{}");
        assert!(Network::read(Kind::Linear, &lying, 2).is_err());
    }

    #[test]
    fn another_activation_is_refused() {
        let known = |key: &str, value: &str| {
            check_metadata(Some(&HashMap::from([(key.into(), value.into())]))).is_ok()
        };
        assert!(known("activation", "relu") && known("sizes", "81,1"));
        assert!(!known("activation", "tanh") && !known("output", "identity"));
    }
}
