//! Histograms: twenty buckets with Envoy's default bounds and the sum of what was observed, in 21 cells.

/// Upper bounds of the buckets in microseconds, each included in its bucket; one more bucket has no bound.
pub const BOUNDS_US: [u64; 19] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// The same bounds as readers print them, in milliseconds.
pub const BOUNDS_MS: [&str; 19] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000", "60000",
    "300000", "600000", "1800000", "3600000",
];

/// Bounded buckets and the one without a bound.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Buckets, then the sum in microseconds.
pub const CELLS: usize = BUCKETS + 1;

/// Quantiles of the text and JSON forms.
pub const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];

/// How text names them.
pub const QUANTILE_NAMES: [&str; 10] = ["P0", "P25", "P50", "P75", "P90", "P95", "P99", "P99.5", "P99.9", "P100"];

/// Bucket of a value.
#[inline]
pub fn bucket(value_us: u64) -> usize {
    BOUNDS_US.partition_point(|&bound| bound < value_us)
}

/// What was observed, summed over the cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Not cumulative.
    pub buckets: [u64; BUCKETS],
    pub sum_us: u64,
}

impl Summary {
    pub const EMPTY: Summary = Summary { buckets: [0; BUCKETS], sum_us: 0 };

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Summary) -> Summary {
        Summary {
            buckets: std::array::from_fn(|at| self.buckets[at].wrapping_sub(earlier.buckets[at])),
            sum_us: self.sum_us.wrapping_sub(earlier.sum_us),
        }
    }

    /// Estimate in milliseconds, linear within a bucket; `None` when nothing was observed. Values over the last bound
    /// are taken for it.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * count as f64;
        let mut below = 0.0;
        let mut last_ms = 0.0;
        for (at, &within) in self.buckets.iter().enumerate().filter(|(_, within)| **within > 0) {
            let low = if at == 0 { 0 } else { BOUNDS_US[at - 1] } as f64 / 1_000.0;
            let high = BOUNDS_US.get(at).map_or(low, |&bound| bound as f64 / 1_000.0);
            if rank <= below + within as f64 {
                return Some(low + (high - low) * ((rank - below) / within as f64).max(0.0));
            }
            below += within as f64;
            last_ms = high;
        }
        Some(last_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(500), 0);
        assert_eq!(bucket(501), 1);
        assert_eq!(bucket(3_600_000_000), 18);
        assert_eq!(bucket(u64::MAX), 19);
        for (bound, text) in BOUNDS_US.iter().zip(BOUNDS_MS) {
            assert_eq!(*bound as f64 / 1_000.0, text.parse::<f64>().expect("number"));
        }
    }

    #[test]
    fn quantiles_interpolate_and_stop_at_the_last_bound() {
        let mut summary = Summary { buckets: [0; BUCKETS], sum_us: 0 };
        assert_eq!(summary.quantile_ms(0.5), None);
        summary.buckets[2] = 4; // (1 ms, 5 ms]
        assert_eq!(summary.quantile_ms(0.0), Some(1.0));
        assert_eq!(summary.quantile_ms(0.5), Some(3.0));
        assert_eq!(summary.quantile_ms(1.0), Some(5.0));
        summary.buckets[19] = 4;
        assert_eq!(summary.quantile_ms(0.99), Some(3_600_000.0));
    }
}
