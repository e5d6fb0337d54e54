//! Quantiles, and the histograms cut at them.

/// The values in rising order, ready for [`quantile`] and [`edges`].
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The `q`-quantile (0..=1) of sorted values, interpolated between neighbours as numpy does by default. `None` when
/// empty.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let at = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let low = *sorted.get(at.floor() as usize)?;
    let high = *sorted.get(at.ceil() as usize)?;
    Some(low + (high - low) * at.fract())
}

/// The least of the sorted values that the share `q` (0..=1) of them does not exceed: a value that occurred, as an SLO reads
/// its p99. `None` when empty.
pub fn nearest_rank(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The edges that cut sorted values into at most `bins` parts of equal count, from the least value to the greatest.
/// Edges that coincide are merged: a constant yields one edge, an empty slice none.
pub fn edges(sorted: &[f64], bins: usize) -> Vec<f64> {
    let mut edges: Vec<f64> = (0..=bins).filter_map(|i| quantile(sorted, i as f64 / bins as f64)).collect();
    edges.dedup();
    edges
}

/// How many values fall in each part: `(-inf, e1], (e1, e2], ..., (ek, inf)` over the inner edges, those between the
/// first and the last. One part where there are no inner edges.
pub fn counts(values: &[f64], edges: &[f64]) -> Vec<u64> {
    let inner = edges.get(1..edges.len().saturating_sub(1)).unwrap_or_default();
    let mut counts = vec![0; inner.len() + 1];
    for value in values {
        if let Some(count) = counts.get_mut(inner.partition_point(|edge| edge < value)) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = sorted(vec![3.0, 1.0, 2.0, 4.0]);
        assert_eq!([0.0, 0.5, 0.9, 1.0].map(|q| quantile(&values, q).unwrap()), [1.0, 2.5, 3.7, 4.0]);
        assert_eq!(quantile(&[7.0], 0.3), Some(7.0));
        assert_eq!(quantile(&[], 0.3), None);
    }

    #[test]
    fn a_value_on_an_edge_belongs_below_it() {
        assert_eq!(counts(&[0.0, 1.0, 1.5, 2.0, 9.0], &[0.0, 1.0, 2.0, 9.0]), [2, 2, 1]);
        assert_eq!(
            [counts(&[1.0, 2.0], &[]), counts(&[1.0, 2.0], &[1.0]), counts(&[1.0, 2.0], &[1.0, 2.0])],
            [[2]; 3]
        );
    }

    #[test]
    fn coinciding_edges_merge() {
        assert_eq!(edges(&sorted((0..101).map(f64::from).collect()), 4), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(edges(&[5.0; 10], 10), [5.0]);
        assert!(edges(&[], 10).is_empty());
    }
}
