//! How well scores rank.

/// Area under the ROC curve by the Mann-Whitney statistic: the chance that a positive outscores a negative, ties
/// counting half. `scores` and `labels` are paired; any scale that rises with the chance of a positive will do.
/// `None` when a class is empty.
pub fn auc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let mut pairs: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = pairs.iter().filter(|(_, positive)| *positive).count() as f64;
    let negatives = pairs.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let mut won = 0.0;
    let mut below = 0.0;
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let up = tied.iter().filter(|(_, positive)| *positive).count() as f64;
        let down = tied.len() as f64 - up;
        won += up * (below + down / 2.0);
        below += down;
    }
    Some(won / (positives * negatives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half() {
        let check = |scores: &[f64], labels: &[bool], expected| assert_eq!(auc(scores, labels), expected);
        check(&[0.1, 0.9], &[false, true], Some(1.0));
        check(&[0.9, 0.1], &[false, true], Some(0.0));
        check(&[0.5, 0.5], &[false, true], Some(0.5));
        check(&[0.2, 0.5, 0.5, 0.1], &[false, true, false, true], Some(0.375));
        check(&[0.0, -0.0], &[false, true], Some(0.5));
        check(&[0.2, 0.5], &[true, true], None);
        check(&[], &[], None);
    }
}
