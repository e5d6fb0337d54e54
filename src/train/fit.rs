//! Gradient descent: encoded rows and labels become a network.
//!
//! An ensemble is fitted as members that know nothing of each other, and stands side by side in one network: its logit is
//! the mean of theirs, so nothing downstream knows it from a network.

use std::ops::ControlFlow;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    score::{Kind, Layer, Network},
    stats,
};

/// A column that is nearly always the same is scaled as if it spread this much, or its rare rows would shout.
const LEAST_SPREAD: f64 = 0.05;

/// How a network is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recipe {
    pub(super) kind: Kind,
    /// What reports call it.
    pub(super) name: &'static str,
    /// Parts of a number between quantiles; 0 leaves numbers standardised.
    pub(super) parts: usize,
    /// Fits on columns of mean 0 and like spread, ramps and one-hots too. The layers take the columns as they are.
    pub(super) centred: bool,
    /// Networks side by side.
    pub(super) members: usize,
    /// Hidden layers of a member.
    pub(super) layers: usize,
    /// Units in each of them.
    pub(super) hidden: usize,
    /// Adam's step in the first epoch; falls to nothing over all epochs along a cosine.
    pub(super) rate: f64,
    /// AdamW's pull towards zero.
    pub(super) decay: f64,
    /// Share of input columns left out in a training step.
    pub(super) input_dropout: f32,
    /// Share of hidden units left out in a training step.
    pub(super) dropout: f32,
    /// Rows in a step.
    pub(super) batch: usize,
    /// At most so many passes over the data.
    pub(super) epochs: usize,
    /// Stops after so many passes without a better validation AUC.
    pub(super) patience: usize,
}

/// Rows for fitting: every input column, and the label.
pub(super) struct Matrix {
    columns: Tensor,
    targets: Tensor,
    labels: Vec<bool>,
}

/// One pass over the data, as it is reported.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// Which network.
    pub network: &'static str,
    /// From 1.
    pub epoch: usize,
    /// At most so many.
    pub epochs: usize,
    /// Mean training log-loss over the pass.
    pub loss: f64,
    /// Validation AUC after it.
    pub auc: f64,
}

/// The best epoch's network.
pub(super) struct Fitted {
    pub(super) network: Network,
    pub(super) auc: f64,
    pub(super) epoch: usize,
}

impl Matrix {
    /// `columns` holds the rows one after the other.
    pub(super) fn new(columns: Vec<f32>, labels: Vec<bool>) -> Result<Self> {
        let width = columns.len() / labels.len().max(1);
        let targets: Vec<f32> = labels.iter().map(|label| f32::from(*label)).collect();
        Ok(Self {
            columns: Tensor::from_vec(columns, (labels.len(), width), &Device::Cpu)?,
            targets: Tensor::from_vec(targets, labels.len(), &Device::Cpu)?,
            labels,
        })
    }
}

/// Fits one network. Deterministic for a seed. `each` hears of every epoch and may end it.
pub(super) fn fit(
    recipe: &Recipe,
    train: &Matrix,
    valid: &Matrix,
    seed: u64,
    each: &mut dyn FnMut(Epoch) -> ControlFlow<()>,
) -> Result<Fitted> {
    let mut rng = StdRng::seed_from_u64(seed);
    let scale = recipe.centred.then(|| Scale::of(&train.columns)).transpose()?;
    let centred = |matrix: &Matrix| scale.as_ref().map(|scale| scale.apply(matrix)).transpose();
    let (own_train, own_valid) = (centred(train)?, centred(valid)?);
    let (train, valid) = (own_train.as_ref().unwrap_or(train), own_valid.as_ref().unwrap_or(valid));
    let mut members: Vec<Member> =
        (0..recipe.members).map(|_| Member::new(recipe, train, &mut rng)).collect::<Result<_>>()?;
    let mut best: Option<Fitted> = None;
    for epoch in 1..=recipe.epochs {
        let angle = std::f64::consts::PI * (epoch - 1) as f64 / recipe.epochs as f64;
        let rate = recipe.rate * (1.0 + angle.cos()) / 2.0;
        let (mut loss, mut logits) = (0.0, vec![0.0; valid.labels.len()]);
        for member in &mut members {
            loss += member.pass(recipe, rate, train, &mut rng)? / recipe.members as f64;
            let own: Vec<f32> = member.graph.logits(&valid.columns, None)?.to_vec1()?;
            logits.iter_mut().zip(own).for_each(|(sum, logit)| *sum += f64::from(logit));
        }
        let auc = stats::auc(&logits, &valid.labels).unwrap_or(0.5);
        let ends = each(Epoch { network: recipe.name, epoch, epochs: recipe.epochs, loss, auc }).is_break();
        match &best {
            Some(best) if best.auc >= auc => {
                if epoch - best.epoch >= recipe.patience {
                    break;
                }
            }
            _ => best = Some(Fitted { network: network(recipe.kind, &members, scale.as_ref())?, auc, epoch }),
        }
        if ends {
            break;
        }
    }
    best.ok_or_else(|| candle_core::Error::Msg("no epoch was run".into()))
}

/// The members as one network over the encoder's columns.
fn network(kind: Kind, members: &[Member], scale: Option<&Scale>) -> Result<Network> {
    let mut all = Vec::new();
    for member in members {
        let mut layers = member.graph.layers()?;
        if let (Some(scale), Some(first)) = (scale, layers.first_mut()) {
            scale.fold(first);
        }
        all.push(layers);
    }
    let mut layers = side_by_side(all);
    match (kind, layers.len()) {
        (Kind::Linear, 1) => Ok(Network::Linear(layers.remove(0))),
        _ => Ok(Network::Mlp(layers)),
    }
}

/// Networks of one shape as one: all read the inputs, each goes its own way, and the head takes the mean.
fn side_by_side(mut members: Vec<Vec<Layer>>) -> Vec<Layer> {
    if members.len() == 1 {
        return members.remove(0);
    }
    let count = members.len() as f32;
    let depth = members.first().map_or(0, Vec::len);
    let merged = |i: usize| {
        let parts: Vec<&Layer> = members.iter().filter_map(|layers| layers.get(i)).collect();
        let width: usize = parts.iter().map(|part| part.inputs).sum();
        let inputs = if i == 0 { parts.first().map_or(0, |part| part.inputs) } else { width };
        let (mut weight, mut bias, mut before) = (Vec::new(), Vec::new(), 0);
        for part in &parts {
            let (left, right) = if i == 0 { (0, 0) } else { (before, width - before - part.inputs) };
            for row in part.weight.chunks_exact(part.inputs.max(1)) {
                weight.extend(std::iter::repeat_n(0.0, left));
                weight.extend_from_slice(row);
                weight.extend(std::iter::repeat_n(0.0, right));
            }
            bias.extend_from_slice(&part.bias);
            before += part.inputs;
        }
        Layer { inputs, outputs: bias.len(), weight, bias }
    };
    let mut layers: Vec<Layer> = (0..depth).map(merged).collect();
    if let Some(last) = layers.last_mut() {
        // The heads' rows, one below the other, have no weight in common: their sum is one row.
        let mut mean = vec![0.0; last.inputs];
        for row in last.weight.chunks_exact(last.inputs.max(1)) {
            mean.iter_mut().zip(row).for_each(|(sum, weight)| *sum += weight / count);
        }
        let bias = last.bias.iter().sum::<f32>() / count;
        *last = Layer { inputs: last.inputs, outputs: 1, weight: mean, bias: vec![bias] };
    }
    layers
}

/// Mean and spread of every column.
struct Scale {
    mean: Vec<f64>,
    spread: Vec<f64>,
}

impl Scale {
    fn of(columns: &Tensor) -> Result<Self> {
        let columns = columns.to_dtype(DType::F64)?;
        let mean = columns.mean_keepdim(0)?;
        let spread = columns.broadcast_sub(&mean)?.sqr()?.mean(0)?.sqrt()?.maximum(LEAST_SPREAD)?;
        Ok(Self { mean: mean.flatten_all()?.to_vec1()?, spread: spread.to_vec1()? })
    }

    fn apply(&self, matrix: &Matrix) -> Result<Matrix> {
        let row = |numbers: &[f64]| {
            Tensor::from_iter(numbers.iter().map(|x| *x as f32), &Device::Cpu)?.unsqueeze(0)
        };
        let columns = matrix.columns.broadcast_sub(&row(&self.mean)?)?.broadcast_div(&row(&self.spread)?)?;
        Ok(Matrix { columns, targets: matrix.targets.clone(), labels: matrix.labels.clone() })
    }

    /// Makes a layer over scaled columns one over columns as they are.
    fn fold(&self, layer: &mut Layer) {
        for (row, bias) in layer.weight.chunks_exact_mut(layer.inputs.max(1)).zip(&mut layer.bias) {
            let mut shift = f64::from(*bias);
            for ((weight, mean), spread) in row.iter_mut().zip(&self.mean).zip(&self.spread) {
                let own = f64::from(*weight) / spread;
                shift -= own * mean;
                *weight = own as f32;
            }
            *bias = shift as f32;
        }
    }
}

/// One network while it is fitted.
struct Member {
    graph: Graph,
    optimizer: AdamW,
    order: Vec<u32>,
}

impl Member {
    fn new(recipe: &Recipe, train: &Matrix, rng: &mut StdRng) -> Result<Self> {
        let graph = Graph::new(&vec![recipe.hidden; recipe.layers], &train.columns, rng)?;
        let params = ParamsAdamW { lr: recipe.rate, weight_decay: recipe.decay, ..ParamsAdamW::default() };
        let optimizer = AdamW::new(graph.vars(), params)?;
        Ok(Self { graph, optimizer, order: (0..train.labels.len() as u32).collect() })
    }

    /// One pass over the data; its mean loss.
    fn pass(&mut self, recipe: &Recipe, rate: f64, train: &Matrix, rng: &mut StdRng) -> Result<f64> {
        self.optimizer.set_learning_rate(rate);
        self.order.shuffle(rng);
        let mut sum = 0.0;
        for rows in self.order.chunks(recipe.batch) {
            let rows = Tensor::new(rows, &Device::Cpu)?;
            let columns = train.columns.index_select(&rows, 0)?;
            let logits = self.graph.logits(&columns, Some((recipe, &mut *rng)))?;
            let loss = log_loss(&logits, &train.targets.index_select(&rows, 0)?)?;
            self.optimizer.backward_step(&loss)?;
            sum += f64::from(loss.to_scalar::<f32>()?) * rows.elem_count() as f64;
        }
        Ok(sum / self.order.len() as f64)
    }
}

/// The network while it is fitted: weight `[out, in]` and bias of every layer.
struct Graph {
    layers: Vec<(Var, Var)>,
}

impl Graph {
    /// He's uniform start. Input columns that are never set, such as the flags of features that are never missing, start
    /// at zero and so stay there: a lead that sets one gets no random answer.
    fn new(hidden: &[usize], columns: &Tensor, rng: &mut StdRng) -> Result<Self> {
        let mut inputs = columns.dim(D::Minus1)?;
        let used = columns.abs()?.max(0)?.gt(0f32)?.to_dtype(columns.dtype())?;
        let mut layers = Vec::new();
        for (i, outputs) in hidden.iter().copied().chain([1]).enumerate() {
            let limit = (6.0 / inputs as f32).sqrt() * if outputs == 1 { 0.1 } else { 1.0 };
            let weight: Vec<f32> =
                (0..outputs * inputs).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * limit).collect();
            let weight = Tensor::from_vec(weight, (outputs, inputs), &Device::Cpu)?;
            let weight = if i == 0 { weight.broadcast_mul(&used)? } else { weight };
            let bias = Var::zeros(outputs, columns.dtype(), &Device::Cpu)?;
            layers.push((Var::from_tensor(&weight)?, bias));
            inputs = outputs;
        }
        Ok(Self { layers })
    }

    fn vars(&self) -> Vec<Var> {
        self.layers.iter().flat_map(|(weight, bias)| [weight.clone(), bias.clone()]).collect()
    }

    /// Logits `[rows]`; with shares of columns and hidden units left out, the rest scaled up, when `dropout` is given.
    fn logits(&self, columns: &Tensor, mut dropout: Option<(&Recipe, &mut StdRng)>) -> Result<Tensor> {
        let mut x = columns.clone();
        for (i, (weight, bias)) in self.layers.iter().enumerate() {
            x = if i > 0 { x.relu()? } else { x };
            if let Some((recipe, rng)) = dropout.as_mut() {
                x = drop_out(x, if i > 0 { recipe.dropout } else { recipe.input_dropout }, rng)?;
            }
            x = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
        }
        x.squeeze(1)
    }

    fn layers(&self) -> Result<Vec<Layer>> {
        let layer = |(weight, bias): &(Var, Var)| -> Result<Layer> {
            let (outputs, inputs) = weight.dims2()?;
            Ok(Layer { inputs, outputs, weight: weight.flatten_all()?.to_vec1()?, bias: bias.to_vec1()? })
        };
        self.layers.iter().map(layer).collect()
    }
}

fn drop_out(x: Tensor, share: f32, rng: &mut StdRng) -> Result<Tensor> {
    if share <= 0.0 {
        return Ok(x);
    }
    let scale = 1.0 / (1.0 - share);
    let kept = (0..x.elem_count()).map(|_| if rng.random::<f32>() < share { 0.0 } else { scale });
    &x * Tensor::from_iter(kept, &Device::Cpu)?.reshape(x.shape())?
}

/// Mean log-loss in the form that overflows for no logit: `max(z, 0) - z y + ln(1 + exp(-|z|))`.
fn log_loss(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let tail = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    ((logits.relu()? - (logits * targets)?)? + tail)?.mean_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(seed: f32) -> Vec<Layer> {
        let layer = |inputs: usize, outputs: usize| Layer {
            inputs,
            outputs,
            weight: (0..inputs * outputs).map(|i| seed - (i % 5) as f32).collect(),
            bias: vec![seed / 2.0; outputs],
        };
        vec![layer(3, 2), layer(2, 2), layer(2, 1)]
    }

    fn logit(layers: &[Layer], inputs: &[f32]) -> f32 {
        let mut x = inputs.to_vec();
        for (i, layer) in layers.iter().enumerate() {
            let x_in: Vec<f32> = x.iter().map(|x| if i > 0 { x.max(0.0) } else { *x }).collect();
            let rows = layer.weight.chunks_exact(layer.inputs).zip(&layer.bias);
            x = rows
                .map(|(row, bias)| bias + row.iter().zip(&x_in).map(|(w, x)| w * x).sum::<f32>())
                .collect();
        }
        x[0]
    }

    #[test]
    fn side_by_side_is_the_mean() {
        let (a, b) = (member(2.5), member(1.75));
        let both = side_by_side(vec![a.clone(), b.clone()]);
        assert_eq!(both.iter().map(|l| (l.inputs, l.outputs)).collect::<Vec<_>>(), [(3, 4), (4, 4), (4, 1)]);
        for inputs in [[1.0, 0.5, 0.25], [-1.0, 0.0, 2.0], [0.0; 3]] {
            let mean = (logit(&a, &inputs) + logit(&b, &inputs)) / 2.0;
            assert!((logit(&both, &inputs) - mean).abs() < 1e-4);
        }
    }

    #[test]
    fn a_folded_layer_takes_columns_as_they_are() {
        let columns =
            Tensor::new(&[[1f32, 5.0, 0.0], [2.0, 5.0, 0.0], [6.0, 5.0, 1.0]], &Device::Cpu).unwrap();
        let scale = Scale::of(&columns).unwrap();
        assert_eq!((scale.mean[0], scale.spread[1]), (3.0, LEAST_SPREAD));
        let matrix = Matrix { columns: columns.clone(), targets: columns.clone(), labels: vec![] };
        let scaled = scale.apply(&matrix).unwrap().columns.to_vec2::<f32>().unwrap();
        let mut folded = member(2.5);
        scale.fold(&mut folded[0]);
        for (row, scaled) in columns.to_vec2::<f32>().unwrap().iter().zip(&scaled) {
            assert!((logit(&folded, row) - logit(&member(2.5), scaled)).abs() < 1e-3);
        }
    }
}
