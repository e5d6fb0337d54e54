//! The fused kernel: a compact row becomes a logit without an allocation.
//!
//! At load the weights are packed so that the inner loop reads them in order: a layer is blocks of 32 outputs, a block is
//! one row of 32 weights per input. An input is then a multiply-add over four vectors of eight, and a category's one-hot
//! is the plain addition of one row. A piecewise number's ramps are one such addition, of the sum of all rows below its
//! part, and one multiply-add, of the part's own row. A block that reads only some outputs of the layer before, as the
//! members of an ensemble do, is stored and computed for those alone. Written as plain loops over arrays that the compiler turns into vector code.
//!
//! The one `unsafe` of the library stands here: calling the copy of those loops that was compiled for AVX2 and FMA, on a
//! processor that was found to have them. 20 numbers and 10 categories through 64-32-1 take it 115 ns; the copy for
//! any x86-64 takes 257. Four members of 32-32 over 9 piecewise numbers and 10 categories take about 270, once their
//! weights are in cache. The binary must run on any, so the choice is made when a kernel is built.

use super::{Encoder, Layer, ModelError, Network, trees::TreeScratch};

/// Outputs that are computed together: four AVX registers of accumulators.
const LANES: usize = 32;

/// A network packed for one encoder's rows.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Standardised values at the front of a row; the places of `ramps` follow, a flag for each of both, then the codes.
    numbers: usize,
    ramps: Vec<Ramps>,
    categories: Vec<Category>,
    hidden: Vec<Packed>,
    head: Vec<f32>,
    head_bias: f32,
    vectors: bool,
}

/// What scoring one lead needs; reused, it stops allocating. Fits any model.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The compact row.
    pub(super) row: Vec<f32>,
    /// What the kernel needs besides.
    pub(super) buffers: Buffers,
    /// The plain row, of trees.
    pub(super) plain: Vec<f64>,
    /// What trees need besides.
    pub(super) trees: TreeScratch,
}

/// The kernel's part of [`Scratch`].
#[derive(Debug, Default)]
pub(super) struct Buffers {
    columns: Vec<usize>,
    /// Column of the ramp a place stands on, and how far up.
    slopes: Vec<(usize, f32)>,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

/// Where a category's one-hot columns stand.
#[derive(Clone, Copy, Debug)]
struct Category {
    first: usize,
    last: usize,
}

/// Where a piecewise number's ramps stand, and the column that is the sum of none of them, of one, of two and so on.
#[derive(Clone, Copy, Debug)]
struct Ramps {
    first: usize,
    parts: usize,
    sums: usize,
}

/// A hidden layer in blocks, the last one padded with zeros.
#[derive(Clone, Debug)]
struct Packed {
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
struct Block {
    bias: Lanes,
    /// The first input it reads, a multiple of [`LANES`].
    first: usize,
    /// One per input from there.
    weight: Vec<Lanes>,
}

/// Aligned to a cache line, so that no vector straddles two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Lanes([f32; LANES]);

impl Kernel {
    /// Packs a network; its first layer must take the encoder's columns.
    pub fn new(encoder: &Encoder, network: &Network) -> Result<Self, ModelError> {
        let Some((first, rest)) = network.layers().split_first() else {
            return Err(ModelError::Weights("no layers".into()));
        };
        let numbers = encoder.dense() / 2 - encoder.ramps().len();
        let ramps: usize = encoder.ramps().iter().sum();
        let mut width = numbers + ramps + encoder.dense() / 2;
        let mut categories = Vec::new();
        for columns in encoder.categories() {
            categories.push(Category { first: width, last: width + columns - 1 });
            width += columns;
        }
        if network.width() != width {
            return Err(ModelError::Weights(format!(
                "{} input columns, the schema has {width}",
                network.width()
            )));
        }
        let (ramps, first) = climbed(numbers, encoder.ramps(), first);
        let (hidden, head) = match rest.split_last() {
            None => (Vec::new(), &first),
            Some((head, between)) => {
                let packed = [Packed::new(&first, false)].into_iter();
                (packed.chain(between.iter().map(|layer| Packed::new(layer, true))).collect(), head)
            }
        };
        let mut weight = head.weight.clone();
        weight.resize(weight.len().next_multiple_of(LANES), 0.0);
        Ok(Self {
            numbers,
            ramps,
            categories,
            hidden,
            head: weight,
            head_bias: head.bias.first().copied().unwrap_or_default(),
            vectors: vectors(),
        })
    }

    /// Length of the rows it takes.
    pub fn row_width(&self) -> usize {
        self.dense() * 2 + self.categories.len()
    }

    /// Values at the front of a row, each of which has a flag.
    fn dense(&self) -> usize {
        self.numbers + self.ramps.len()
    }

    /// The same kernel without vector instructions.
    #[cfg(test)]
    pub(super) fn plain(mut self) -> Self {
        self.vectors = false;
        self
    }

    /// The logit of one compact row; NaN where the row is too short or holds one.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(unsafe_code, reason = "calls code for the processor that was found")
    )]
    pub(super) fn logit(&self, row: &[f32], buffers: &mut Buffers) -> f32 {
        #[cfg(target_arch = "x86_64")]
        if self.vectors {
            // SAFETY: `vectors` is set only by `vectors()`, when the processor has AVX2 and FMA.
            return unsafe { logit_avx2(self, row, buffers) };
        }
        self.forward::<false>(row, buffers)
    }

    #[inline(always)]
    fn forward<const FMA: bool>(&self, row: &[f32], buffers: &mut Buffers) -> f32 {
        let Buffers { columns, slopes, inputs, outputs } = buffers;
        let Some((numbers, places)) =
            row.get(..self.dense()).and_then(|row| row.split_at_checked(self.numbers))
        else {
            return f32::NAN;
        };
        self.columns(row, columns);
        self.climb(places, columns, slopes);
        let Some((first, rest)) = self.hidden.split_first() else {
            return self.linear(numbers, columns, slopes);
        };
        first.run::<FMA>(numbers, (columns, slopes), outputs);
        for layer in rest {
            std::mem::swap(inputs, outputs);
            layer.run::<FMA>(inputs, (&[], &[]), outputs);
        }
        self.head_bias + dot::<FMA>(&self.head, outputs)
    }

    /// The columns that are 1 among the flags and one-hots. Everything else there is 0.
    #[inline(always)]
    fn columns(&self, row: &[f32], columns: &mut Vec<usize>) {
        columns.clear();
        let dense = self.dense();
        let flags = row.get(dense..dense * 2).unwrap_or_default();
        // Most leads miss nothing, and a few vector instructions see that.
        if flags.iter().fold(0, |bits, flag| bits | flag.to_bits()) != 0 {
            let first = self.ramps.last().map_or(self.numbers, |ramps| ramps.first + ramps.parts);
            let set = flags.iter().zip(first..).filter(|(flag, _)| **flag != 0.0);
            columns.extend(set.map(|(_, column)| column));
        }
        let codes = row.iter().skip(dense * 2);
        // A cast from float saturates, so whatever a tensor holds, the column is one of the category's.
        columns.extend(
            self.categories
                .iter()
                .zip(codes)
                .map(|(at, code)| at.last.min(at.first.saturating_add(*code as usize))),
        );
    }

    /// Adds the columns that sum the ramps climbed, and finds the ramps that places stand on.
    #[inline(always)]
    fn climb(&self, places: &[f32], columns: &mut Vec<usize>, slopes: &mut Vec<(usize, f32)>) {
        slopes.clear();
        for (ramps, place) in self.ramps.iter().zip(places) {
            // The cast saturates, and the clamp keeps a NaN.
            let part = (*place as usize).min(ramps.parts - 1);
            columns.push(ramps.sums + part);
            slopes.push((ramps.first + part, (place - part as f32).clamp(0.0, 1.0)));
        }
    }

    #[inline(always)]
    fn linear(&self, numbers: &[f32], columns: &[usize], slopes: &[(usize, f32)]) -> f32 {
        let dense: f32 = numbers.iter().zip(&self.head).map(|(x, weight)| x * weight).sum();
        let hot: f32 = columns.iter().filter_map(|column| self.head.get(*column)).sum();
        let ramps = slopes.iter().filter_map(|(column, x)| Some(x * self.head.get(*column)?)).sum::<f32>();
        self.head_bias + dense + hot + ramps
    }
}

/// The first layer with one more column for every ramp: the sum of the ramps before it. `ramps` has the parts of each
/// piecewise number, whose columns follow those of `numbers`.
fn climbed(numbers: usize, ramps: &[usize], layer: &Layer) -> (Vec<Ramps>, Layer) {
    let (mut first, mut sums) = (numbers, layer.inputs);
    let mut places = Vec::new();
    for parts in ramps.iter().copied() {
        places.push(Ramps { first, parts, sums });
        first += parts;
        sums += parts;
    }
    let mut weight = Vec::with_capacity(sums * layer.outputs);
    for row in layer.weight.chunks_exact(layer.inputs.max(1)) {
        weight.extend_from_slice(row);
        for Ramps { first, parts, .. } in &places {
            let ramps = row.iter().skip(*first).take(*parts);
            weight.extend(ramps.scan(0.0f64, |sum, ramp| {
                let before = *sum;
                *sum += f64::from(*ramp);
                Some(before as f32)
            }));
        }
    }
    (places, Layer { inputs: sums, outputs: layer.outputs, weight, bias: layer.bias.clone() })
}

impl Packed {
    /// `narrow` leaves out the blocks of inputs before the first and after the last that an output block reads.
    fn new(layer: &Layer, narrow: bool) -> Self {
        let rows: Vec<&[f32]> = layer.weight.chunks_exact(layer.inputs.max(1)).collect();
        let block = |(rows, bias): (&[&[f32]], &[f32])| {
            let used = |input: &usize| rows.iter().any(|row| row.get(*input).is_some_and(|w| *w != 0.0));
            let (first, end) = if narrow {
                let first = (0..layer.inputs).find(used).unwrap_or_default();
                let end = (first..layer.inputs).rfind(used).map_or(first, |last| last + 1);
                (first - first % LANES, end.next_multiple_of(LANES).min(layer.inputs))
            } else {
                (0, layer.inputs)
            };
            let weight = |input| Lanes::new(|lane| rows.get(lane)?.get(input).copied());
            let bias = Lanes::new(|lane| bias.get(lane).copied());
            Block { bias, first, weight: (first..end).map(weight).collect() }
        };
        Self { blocks: rows.chunks(LANES).zip(layer.bias.chunks(LANES)).map(block).collect() }
    }

    /// `relu(weight * inputs + the rows of the columns that are 1 + those of slopes by how far up + bias)`, padded to
    /// whole blocks.
    #[inline(always)]
    fn run<const FMA: bool>(
        &self,
        inputs: &[f32],
        (columns, slopes): (&[usize], &[(usize, f32)]),
        outputs: &mut Vec<f32>,
    ) {
        outputs.resize(self.blocks.len() * LANES, 0.0);
        for (block, out) in self.blocks.iter().zip(outputs.as_chunks_mut::<LANES>().0) {
            // Two sums, as one multiply-add must wait for the one before it but not for its neighbour.
            let (mut sum, mut odd) = (block.bias.0, [0.0; LANES]);
            let inputs = inputs.get(block.first..).unwrap_or_default();
            // The padding of the layer before is no input, or an odd last one would have no partner.
            let inputs = inputs.get(..block.weight.len()).unwrap_or(inputs).as_chunks::<2>();
            let weights = block.weight.as_chunks::<2>();
            for ([x0, x1], [w0, w1]) in inputs.0.iter().zip(weights.0) {
                multiply_add::<FMA>(&mut sum, *x0, &w0.0);
                multiply_add::<FMA>(&mut odd, *x1, &w1.0);
            }
            if let ([x], Some(weight)) = (inputs.1, block.weight.get(inputs.0.len() * 2)) {
                multiply_add::<FMA>(&mut sum, *x, &weight.0);
            }
            for (column, x) in slopes {
                if let Some(weight) = block.weight.get(*column) {
                    multiply_add::<FMA>(&mut sum, *x, &weight.0);
                }
            }
            for weight in columns.iter().filter_map(|column| block.weight.get(*column)) {
                add(&mut odd, &weight.0);
            }
            add(&mut sum, &odd);
            // Not `f32::max`, which would turn a NaN into a plausible 0.
            *out = sum.map(|x| if x < 0.0 { 0.0 } else { x });
        }
    }
}

impl Lanes {
    /// Zero where there is no value.
    fn new(value: impl Fn(usize) -> Option<f32>) -> Self {
        Lanes(std::array::from_fn(|lane| value(lane).unwrap_or_default()))
    }
}

/// Whether this processor runs the vector code.
fn vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn logit_avx2(kernel: &Kernel, row: &[f32], buffers: &mut Buffers) -> f32 {
    kernel.forward::<true>(row, buffers)
}

#[inline(always)]
fn multiply_add<const FMA: bool>(sum: &mut [f32; LANES], x: f32, weight: &[f32; LANES]) {
    for (sum, weight) in sum.iter_mut().zip(weight) {
        *sum = fused::<FMA>(x, *weight, *sum);
    }
}

#[inline(always)]
fn add<const N: usize>(sum: &mut [f32; N], more: &[f32; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// `mul_add` only where the processor has it: elsewhere it calls a slow library function.
#[inline(always)]
fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Of two slices of whole blocks.
#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sum = [0.0; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum = fused::<FMA>(*a, *b, *sum);
        }
    }
    let mut eight = [0.0; 8];
    sum.as_chunks().0.iter().for_each(|part| add(&mut eight, part));
    let [a, b, c, d, e, f, g, h] = eight;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Module, Tensor};

    use super::*;
    use crate::score::{Encoding, FeatureSpec, KernelOp, Kind, Schema, fixture};

    /// Numbers, piecewise numbers of 2, 3, 4, ... parts, categories of 3, 4, 5, ... words, and the sizes of the hidden
    /// layers.
    struct Shape(usize, usize, usize, &'static [usize]);

    const SHAPES: [Shape; 10] = [
        Shape(20, 0, 10, &[64, 32]),
        Shape(9, 0, 10, &[]),
        Shape(1, 0, 0, &[1]),
        Shape(0, 0, 1, &[33]),
        Shape(3, 0, 2, &[31, 7, 65]),
        Shape(0, 0, 2, &[]),
        Shape(5, 0, 1, &[128]),
        Shape(0, 9, 10, &[64, 64]),
        Shape(2, 40, 1, &[33]),
        Shape(1, 3, 2, &[]),
    ];

    impl Shape {
        fn encoder(&self) -> Encoder {
            let number = |_| Encoding::Number { median: 0.5, mean: 0.0, sd: 1.0 };
            let words = |i| Encoding::Category {
                vocabulary: (0..i + 3).map(|word: usize| word.to_string()).collect(),
            };
            let piecewise = |i| Encoding::Piecewise {
                median: 0.5,
                mean: 0.5,
                edges: (0..i + 3).map(|edge: usize| edge as f64).collect(),
            };
            let numbers = (0..self.0).map(number).chain((0..self.1).map(piecewise));
            let encodings = numbers.chain((0..self.2).map(words));
            let features = encodings
                .enumerate()
                .map(|(i, encoding)| FeatureSpec::new(i.to_string(), false, encoding))
                .collect();
            Encoder::new(&Schema { features }).unwrap()
        }

        fn network(&self) -> Network {
            let width = self.0 * 2
                + (0..self.1).map(|i| i + 3).sum::<usize>()
                + (0..self.2).map(|i| i + 4).sum::<usize>();
            let sizes: Vec<usize> = [&[width], self.3, &[1]].concat();
            let names: Vec<String> = (0..sizes.len() - 1).map(|i| format!("layers.{i}")).collect();
            let layers: Vec<_> =
                names.iter().zip(sizes.windows(2)).map(|(n, s)| (n.as_str(), s[1], s[0])).collect();
            let mut network = Network::read(Kind::Mlp, &fixture::random_weights(&layers, 7), width).unwrap();
            // Scaled as trained weights are, so that logits are of the order of 1.
            if let Network::Mlp(layers) = &mut network {
                for layer in layers {
                    let scale = (layer.inputs as f32).sqrt().recip();
                    layer.weight.iter_mut().for_each(|weight| *weight *= scale);
                }
            }
            network
        }

        /// Rows with every code in turn, some values missing.
        fn rows(&self) -> Vec<Vec<f32>> {
            let row = |i: usize| {
                let numbers = (0..self.0).map(move |f| ((i * 31 + f * 17) % 23) as f32 / 11.0 - 1.0);
                let places =
                    (0..self.1).map(move |f| ((i * 31 + f * 17) % 23) as f32 / 22.0 * (f + 2) as f32);
                let flags = (0..self.0 + self.1).map(move |f| f32::from((i + f).is_multiple_of(7)));
                let codes = (0..self.2).map(move |c| ((i + c) % (c + 4)) as f32);
                numbers.chain(places).chain(flags).chain(codes).collect()
            };
            (0..40).map(row).collect()
        }
    }

    /// The network as candle-nn has it, over the expanded columns.
    fn graph(network: &Network, columns: &Tensor) -> Vec<f32> {
        let cpu = &Device::Cpu;
        let mut x = columns.clone();
        for (i, layer) in network.layers().iter().enumerate() {
            let weight = Tensor::from_slice(&layer.weight, (layer.outputs, layer.inputs), cpu).unwrap();
            let bias = Tensor::from_slice(&layer.bias, layer.outputs, cpu).unwrap();
            x = if i == 0 { x } else { x.relu().unwrap() };
            x = candle_nn::Linear::new(weight, Some(bias)).forward(&x).unwrap();
        }
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Three networks of 32-40 side by side, but that the second reads one unit of the first's.
    #[test]
    fn a_block_is_computed_for_what_it_reads() {
        let shape = Shape(4, 2, 1, &[96, 120]);
        let mut network = shape.network();
        let Network::Mlp(layers) = &mut network else { return };
        for (output, row) in layers[1].weight.chunks_exact_mut(96).enumerate() {
            let member = output / 40;
            for (input, weight) in row.iter_mut().enumerate() {
                if input / 32 != member && (output, input) != (40, 31) {
                    *weight = 0.0;
                }
            }
        }
        let kernel = Kernel::new(&shape.encoder(), &network).unwrap();
        let reads: Vec<_> = kernel.hidden[1].blocks.iter().map(|b| (b.first, b.weight.len())).collect();
        assert_eq!(reads, [(0, 32), (0, 64), (32, 64), (64, 32)]);
        check_against_candle(&shape, &network);
    }

    #[test]
    fn agrees_with_candle_with_and_without_vectors() {
        for shape in SHAPES {
            check_against_candle(&shape, &shape.network());
        }
    }

    fn check_against_candle(shape: &Shape, network: &Network) {
        let (encoder, rows) = (shape.encoder(), shape.rows());
        let mut columns = Vec::new();
        rows.iter().for_each(|row| encoder.expand(row, &mut columns));
        let columns = Tensor::from_vec(columns, (rows.len(), network.width()), &Device::Cpu).unwrap();
        let expected = graph(network, &columns);
        let kernel = Kernel::new(&encoder, network).unwrap();
        for kernel in [kernel.clone(), kernel.plain()] {
            let mut buffers = Buffers::default();
            for (row, expected) in rows.iter().zip(&expected) {
                let logit = kernel.logit(row, &mut buffers);
                let error = (logit - expected).abs();
                assert!(error <= 1e-6 * expected.abs().max(1.0), "{logit} is not {expected}");
            }
        }
    }

    #[test]
    fn a_batch_is_its_rows_bit_for_bit() {
        for shape in SHAPES {
            let kernel = Kernel::new(&shape.encoder(), &shape.network()).unwrap();
            let rows = shape.rows();
            let mut buffers = Buffers::default();
            let expected: Vec<f32> = rows.iter().map(|row| kernel.logit(row, &mut buffers)).collect();
            let batch =
                Tensor::from_vec(rows.concat(), (rows.len(), kernel.row_width()), &Device::Cpu).unwrap();
            let logits = batch.apply_op1_no_bwd(&KernelOp(kernel.into())).unwrap();
            assert_eq!(logits.to_vec1::<f32>().unwrap(), expected);
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_refused_or_nan() {
        let shape = Shape(2, 0, 1, &[4]);
        let kernel = Kernel::new(&shape.encoder(), &shape.network()).unwrap();
        let mut buffers = Buffers::default();
        assert!(kernel.logit(&[], &mut buffers).is_nan());
        assert!(kernel.logit(&[f32::NAN, 0.0, 0.0, 0.0, 0.0], &mut buffers).is_nan());
        for code in [9.0, -1.0, f32::INFINITY, f32::NAN] {
            assert!(kernel.logit(&[0.0, 0.0, 0.0, 0.0, code], &mut buffers).is_finite());
        }
        let op = KernelOp(kernel.into());
        let rows = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(rows(&[3, 4]).apply_op1_no_bwd(&op).is_err());
        assert!(rows(&[5]).apply_op1_no_bwd(&op).is_err());
        assert!(rows(&[5, 3]).t().unwrap().apply_op1_no_bwd(&op).is_err());
        assert!(rows(&[0, 5]).apply_op1_no_bwd(&op).is_ok());
    }

    #[test]
    fn a_network_of_another_width_is_refused() {
        assert!(Kernel::new(&Shape(2, 0, 0, &[]).encoder(), &Shape(3, 0, 0, &[]).network()).is_err());
    }
}
