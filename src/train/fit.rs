//! Gradient descent: encoded rows and labels become a network.

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    score::{Kind, Layer, Network},
    stats,
};

/// How a network is fitted.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) kind: Kind,
    /// Sizes of the hidden layers.
    pub(super) hidden: &'static [usize],
    /// Adam's step in the first epoch; falls to nothing over all epochs along a cosine.
    pub(super) rate: f64,
    /// AdamW's pull towards zero.
    pub(super) decay: f64,
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
    pub kind: Kind,
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

/// Fits one network. Deterministic for a seed.
pub(super) fn fit(
    recipe: &Recipe,
    train: &Matrix,
    valid: &Matrix,
    seed: u64,
    progress: &mut dyn FnMut(Epoch),
) -> Result<Fitted> {
    let mut rng = StdRng::seed_from_u64(seed);
    let graph = Graph::new(recipe.hidden, &train.columns, &mut rng)?;
    let params = ParamsAdamW { lr: recipe.rate, weight_decay: recipe.decay, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(graph.vars(), params)?;
    let mut order: Vec<u32> = (0..train.labels.len() as u32).collect();
    let mut best: Option<Fitted> = None;
    for epoch in 1..=recipe.epochs {
        let angle = std::f64::consts::PI * (epoch - 1) as f64 / recipe.epochs as f64;
        optimizer.set_learning_rate(recipe.rate * (1.0 + angle.cos()) / 2.0);
        order.shuffle(&mut rng);
        let mut sum = 0.0;
        for rows in order.chunks(recipe.batch) {
            let rows = Tensor::new(rows, &Device::Cpu)?;
            let logits =
                graph.logits(&train.columns.index_select(&rows, 0)?, Some((recipe.dropout, &mut rng)))?;
            let loss = log_loss(&logits, &train.targets.index_select(&rows, 0)?)?;
            optimizer.backward_step(&loss)?;
            sum += f64::from(loss.to_scalar::<f32>()?) * rows.elem_count() as f64;
        }
        let auc = graph.auc(valid)?;
        progress(Epoch {
            kind: recipe.kind,
            epoch,
            epochs: recipe.epochs,
            loss: sum / order.len() as f64,
            auc,
        });
        match &best {
            Some(best) if best.auc >= auc => {
                if epoch - best.epoch >= recipe.patience {
                    break;
                }
            }
            _ => best = Some(Fitted { network: graph.network(recipe.kind)?, auc, epoch }),
        }
    }
    best.ok_or_else(|| candle_core::Error::Msg("no epoch was run".into()))
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

    /// Logits `[rows]`; with a share of hidden units left out, the rest scaled up, when `dropout` is given.
    fn logits(&self, columns: &Tensor, mut dropout: Option<(f32, &mut StdRng)>) -> Result<Tensor> {
        let mut x = columns.clone();
        for (i, (weight, bias)) in self.layers.iter().enumerate() {
            if i > 0 {
                x = x.relu()?;
                if let Some((share, rng)) = dropout.as_mut().filter(|(share, _)| *share > 0.0) {
                    let scale = 1.0 / (1.0 - *share);
                    let kept =
                        (0..x.elem_count()).map(|_| if rng.random::<f32>() < *share { 0.0 } else { scale });
                    x = (&x * Tensor::from_iter(kept, &Device::Cpu)?.reshape(x.shape())?)?;
                }
            }
            x = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
        }
        x.squeeze(1)
    }

    fn auc(&self, valid: &Matrix) -> Result<f64> {
        let logits: Vec<f32> = self.logits(&valid.columns, None)?.to_vec1()?;
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        Ok(stats::auc(&logits, &valid.labels).unwrap_or(0.5))
    }

    fn network(&self, kind: Kind) -> Result<Network> {
        let layer = |(weight, bias): &(Var, Var)| -> Result<Layer> {
            let (outputs, inputs) = weight.dims2()?;
            Ok(Layer { inputs, outputs, weight: weight.flatten_all()?.to_vec1()?, bias: bias.to_vec1()? })
        };
        let mut layers: Vec<Layer> = self.layers.iter().map(layer).collect::<Result<_>>()?;
        match (kind, layers.len()) {
            (Kind::Linear, 1) => Ok(Network::Linear(layers.remove(0))),
            _ => Ok(Network::Mlp(layers)),
        }
    }
}

/// Mean log-loss in the form that overflows for no logit: `max(z, 0) - z y + ln(1 + exp(-|z|))`.
fn log_loss(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let tail = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    ((logits.relu()? - (logits * targets)?)? + tail)?.mean_all()
}
