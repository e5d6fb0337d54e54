//! How true scores are as probabilities.

/// Mean negative log-likelihood, natural log. Probabilities are kept an epsilon (2.2e-16) off 0 and 1, as scikit-learn
/// keeps them, so one sure miss costs 36 rather than infinity. NaN when empty.
pub fn log_loss(probabilities: &[f64], labels: &[bool]) -> f64 {
    let sum: f64 = probabilities
        .iter()
        .zip(labels)
        .map(|(&p, &positive)| {
            let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            if positive { -p.ln() } else { -(1.0 - p).ln() }
        })
        .sum();
    sum / probabilities.len() as f64
}

/// Mean squared distance between probability and outcome (Brier 1950), 0..=1. NaN when empty.
pub fn brier(probabilities: &[f64], labels: &[bool]) -> f64 {
    let sum: f64 = probabilities.iter().zip(labels).map(|(&p, &label)| (p - f64::from(label)).powi(2)).sum();
    sum / probabilities.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{goldens, stats::auc};

    #[test]
    fn agrees_with_scikit_learn() {
        let Some(ranking) = goldens::json("goldens/mlops/ranking.json") else { return };
        check(&ranking["inputs"]["y"], &ranking["inputs"]["score"], &ranking["expected"], "log_loss");
        let Some(metrics) = goldens::json("goldens/metrics.json") else { return };
        for case in metrics["cases"].as_object().unwrap().values() {
            check(&case["y"], &case["p"], &case["expect"], "logloss");
        }
    }

    fn check(y: &serde_json::Value, p: &serde_json::Value, expected: &serde_json::Value, loss: &str) {
        let labels: Vec<bool> = y.as_array().unwrap().iter().map(|y| y.as_f64() == Some(1.0)).collect();
        let scores: Vec<f64> = p.as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
        let close = |name: &str, got: f64| {
            let want = expected[name].as_f64().unwrap();
            assert!((got - want).abs() < 1e-9, "{name}: {got} is not {want}");
        };
        match auc(&scores, &labels) {
            Some(area) => close("auc", area),
            None => assert!(expected["auc"].is_null()),
        }
        close(loss, log_loss(&scores, &labels));
        close("brier", brier(&scores, &labels));
    }
}
