//! XGBoost's `gblinear`: a weight per feature and class, and a bias.

/// Weights `[feature][class]`, the bias last, as the file has them.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub(super) weights: Vec<f32>,
}

impl Linear {
    /// Bias and base, then weight times x over the features that are present, in f32.
    pub(super) fn raw(&self, row: &[f64], base: &[f32], out: &mut [f64]) {
        let classes = base.len();
        let bias = self.weights.get(row.len() * classes..).unwrap_or_default();
        for (class, ((out, base), bias)) in out.iter_mut().zip(base).zip(bias).enumerate() {
            let mut sum = bias + base;
            let weights = self.weights.iter().skip(class).step_by(classes.max(1));
            for (x, weight) in row.iter().zip(weights) {
                if !x.is_nan() {
                    sum += *x as f32 * weight;
                }
            }
            *out = f64::from(sum);
        }
    }
}
