//! What a core counts. Merged once, at the end.

use hdrhistogram::Histogram;

use super::failure::{Failed, Failure};
use super::response::{Answer, GRPC_STATUS_NONE};
use super::schedule::Ticket;

/// Latencies are recorded in µs with this many significant digits.
const SIGNIFICANT_DIGITS: u8 = 3;
/// Latencies above an hour count as an hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Latencies, answers and failures of the measured requests.
pub(crate) struct Tally {
    /// Latency of every response, and how long every request waited that timed out.
    pub(crate) latency_us: Histogram<u64>,
    /// Responses by hundreds of the status.
    pub(crate) statuses: [u64; 10],
    /// Calls by `grpc-status`, those without one last.
    pub(crate) grpc_statuses: [u64; GRPC_STATUS_NONE as usize + 1],
    pub(crate) failures: [u64; Failure::ALL.len()],
    /// The first failure of each kind in words, where there is more to say than its name.
    pub(crate) details: [Option<String>; Failure::ALL.len()],
    /// Everything received of responses, heads included.
    pub(crate) bytes: u64,
    pub(crate) body_bytes: u64,
    /// Responses that were complete before the end of the run's time, and their bytes.
    pub(crate) in_time: u64,
    pub(crate) in_time_bytes: u64,
    /// Requests that were interrupted, or not even started though due.
    pub(crate) unfinished: u64,
    /// Connections that were made, those before the run included.
    pub(crate) connects: u64,
    /// TLS handshakes that were completed, and those of them that resumed a session.
    pub(crate) handshakes: u64,
    pub(crate) resumed: u64,
    /// What the first handshake agreed on.
    pub(crate) tls: Option<(&'static str, &'static str)>,
    /// When the last request ended, µs.
    pub(crate) last_us: u64,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)
            .unwrap_or_else(|_| unreachable!("constant bounds that the histogram allows"));
        Tally {
            latency_us,
            statuses: [0; 10],
            grpc_statuses: [0; GRPC_STATUS_NONE as usize + 1],
            failures: [0; Failure::ALL.len()],
            details: Default::default(),
            bytes: 0,
            body_bytes: 0,
            in_time: 0,
            in_time_bytes: 0,
            unfinished: 0,
            connects: 0,
            handshakes: 0,
            resumed: 0,
            tls: None,
            last_us: 0,
        }
    }

    /// `end_us`: of the run's time.
    #[inline]
    pub(crate) fn answered(&mut self, ticket: Ticket, answer: &Answer, now_us: u64, end_us: u64) {
        if !ticket.measured {
            return;
        }
        self.latency_us.saturating_record(now_us - ticket.due_us);
        self.statuses[usize::from(answer.status / 100) % 10] += 1;
        if let Some(status) = answer.grpc_status {
            self.grpc_statuses[usize::from(status.min(GRPC_STATUS_NONE))] += 1;
        }
        self.bytes += answer.bytes;
        self.body_bytes += answer.body_bytes;
        if now_us <= end_us {
            self.in_time += 1;
            self.in_time_bytes += answer.bytes;
        }
        self.last_us = now_us;
    }

    #[cold]
    pub(crate) fn failed(&mut self, ticket: Ticket, failed: &Failed, now_us: u64) {
        if !ticket.measured {
            return;
        }
        let kind = failed.failure as usize;
        self.failures[kind] += 1;
        if self.details[kind].is_none() {
            self.details[kind].clone_from(&failed.detail);
        }
        // Left out, the percentiles would look the better the more requests get no answer at all.
        if matches!(failed.failure, Failure::Timeout | Failure::ConnectTimeout) {
            self.latency_us.saturating_record(now_us - ticket.due_us);
        }
        self.last_us = now_us;
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        // The same bounds everywhere, so that nothing can fall out.
        let merged = self.latency_us.add(&other.latency_us);
        debug_assert!(merged.is_ok());
        add(&mut self.statuses, &other.statuses);
        add(&mut self.grpc_statuses, &other.grpc_statuses);
        add(&mut self.failures, &other.failures);
        for (mine, theirs) in self.details.iter_mut().zip(&other.details) {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
        self.bytes += other.bytes;
        self.body_bytes += other.body_bytes;
        self.in_time += other.in_time;
        self.in_time_bytes += other.in_time_bytes;
        self.unfinished += other.unfinished;
        self.connects += other.connects;
        self.handshakes += other.handshakes;
        self.resumed += other.resumed;
        self.tls = self.tls.or(other.tls);
        self.last_us = self.last_us.max(other.last_us);
    }

    pub(crate) fn responses(&self) -> u64 {
        self.statuses.iter().sum()
    }

    /// Answers that say that the request was served: a status below 400, or for a call a `grpc-status` of 0.
    pub(crate) fn succeeded(&self) -> u64 {
        let calls: u64 = self.grpc_statuses.iter().sum();
        if calls > 0 { self.grpc_statuses[0] } else { self.statuses[1] + self.statuses[2] + self.statuses[3] }
    }

    pub(crate) fn failed_total(&self) -> u64 {
        self.failures.iter().sum()
    }
}

fn add(sums: &mut [u64], more: &[u64]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Ticket = Ticket { due_us: 1000, measured: true };
    const ANSWER: Answer = Answer { status: 200, keep_alive: true, bytes: 150, body_bytes: 100, grpc_status: None };

    #[test]
    fn the_warm_up_leaves_no_trace() {
        let mut tally = Tally::new();
        let warmup = Ticket { measured: false, ..MEASURED };
        tally.answered(warmup, &ANSWER, 2000, 9000);
        tally.failed(warmup, &Failure::Reset.into(), 2000);
        assert_eq!((tally.responses(), tally.failed_total(), tally.latency_us.len()), (0, 0, 0));
    }

    #[test]
    fn cores_merge_into_sums_and_a_timeout_counts_in_the_latencies() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        one.answered(MEASURED, &ANSWER, 2000, 2500);
        other.answered(MEASURED, &Answer { status: 503, ..ANSWER }, 3000, 2500);
        other.failed(MEASURED, &Failure::Reset.into(), 3500);
        other.failed(MEASURED, &Failure::Timeout.into(), 101_000);
        one.merge(&other);
        assert_eq!((one.responses(), one.in_time, one.bytes), (2, 1, 300));
        assert_eq!((one.statuses[2], one.statuses[5], one.failed_total()), (1, 1, 2));
        assert_eq!(one.latency_us.len(), 3);
        assert!(one.latency_us.equivalent(one.latency_us.max(), 100_000));
        assert_eq!(one.last_us, 101_000);
    }
}
