//! The little statistics that the report needs.

/// The median; 0 of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => 0.0,
        (Some(high), 0) => (high + values[middle - 1]) / 2.0,
        (Some(value), _) => *value,
    }
}

/// The value that this part of the values does not exceed; 0 of nothing.
pub(crate) fn part(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

/// The straight line of least squares through (x, y): what it is at 0, and its slope.
pub(crate) fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |f: fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if spread == 0.0 {
        return (if points.is_empty() { 0.0 } else { y }, 0.0);
    }
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
    (y - slope * x, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_part_lies_below() {
        assert_eq!(part((1..=100).map(f64::from).collect(), 0.99), 99.0);
        assert_eq!(part(vec![5.0], 0.99), 5.0);
        assert_eq!(part(Vec::new(), 0.99), 0.0);
    }

    #[test]
    fn a_line_is_found_again() {
        let (start, slope) = line(&[(0.0, 40.0), (1.0, 50.0), (5.0, 90.0), (20.0, 240.0)]);
        assert!((start - 40.0).abs() < 1e-9 && (slope - 10.0).abs() < 1e-9);
        assert_eq!(line(&[(2.0, 7.0)]), (7.0, 0.0));
    }
}
