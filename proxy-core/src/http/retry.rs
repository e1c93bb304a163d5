//! Sending a request again that failed, where its route says so.
//!
//! What was sent of the request's body is kept, up to a bound, so that it can be sent once more. A response that is to
//! be tried again never reaches the client: it is judged by its head, and a call's also by its trailers, for which its
//! head is held back until there is something else to pass on.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::exchange::Exchange;
use crate::cluster::{Cluster, Retrying};
use crate::fault::Fault;
use crate::log::Flag;
use crate::snapshot::{Forward, Retry};
use crate::stats::ClusterStat;

/// Pauses before the first retry are up to so long, then up to three times, seven times, …
const BACKOFF_BASE_MS: u64 = 25;
/// But never longer.
const BACKOFF_MAX_MS: u64 = 250;

/// The tries of one request.
#[derive(Default)]
pub(super) struct Tries {
    /// Retries that were begun.
    retries: u32,
    /// The body as far as it was sent.
    sent: Vec<u8>,
    /// There was more of it than is kept.
    sent_too_much: bool,
    /// Counts the retry under way.
    under_way: Option<Retrying>,
}

impl Retry {
    /// Whether a try that ended like this is worth another. `refused`: the endpoint said that it did nothing.
    pub(super) fn wants_fault(&self, fault: Fault, refused: bool) -> bool {
        let on = &self.on;
        let any = on.reset || on.gateway_error || on.server_error;
        match fault {
            Fault::ConnectFailed | Fault::ConnectTimeout => any || on.connect_failure,
            Fault::UpstreamClosed => any || (refused && on.refused_stream),
            Fault::BadResponse(_) | Fault::TryTimeout => any,
            _ => false,
        }
    }

    fn wants_status(&self, status: u16) -> bool {
        (self.on.server_error && status >= 500)
            || (self.on.gateway_error && matches!(status, 502..=504))
            || self.statuses.contains(&status)
    }

    fn wants_call_status(&self, status: Option<u32>) -> bool {
        status.is_some_and(|status| status < 32 && self.call_statuses >> status & 1 != 0)
    }
}

/// What becomes of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    PassOn,
    /// It may yet have to be thrown away.
    Hold,
    ThrowAway,
}

impl Exchange<'_> {
    /// The head of a response is there.
    pub(super) fn judge_head(&mut self, retry: &Retry, cluster: &Rc<Cluster>) -> Verdict {
        let response = &self.scratch.response;
        let is_call = self.grpc.is_call;
        if response.tunnel {
            return Verdict::PassOn;
        }
        if retry.wants_status(response.status) || (is_call && retry.wants_call_status(self.grpc.status)) {
            return if self.may_retry(retry, cluster) { Verdict::ThrowAway } else { Verdict::PassOn };
        }
        match is_call && retry.call_statuses != 0 && !response.body.is_empty() {
            true => Verdict::Hold,
            false => Verdict::PassOn,
        }
    }

    /// A response that was held ends with nothing but trailers.
    pub(super) fn judge_trailers(&mut self, retry: &Retry, cluster: &Rc<Cluster>) -> Verdict {
        self.note_call_trailers();
        match retry.wants_call_status(self.grpc.status) && self.may_retry(retry, cluster) {
            true => Verdict::ThrowAway,
            false => Verdict::PassOn,
        }
    }

    /// Whether what wants to be tried again can be; if so, that counts as begun.
    pub(super) fn may_retry(&mut self, retry: &Retry, cluster: &Rc<Cluster>) -> bool {
        let stats = &cluster.stats;
        self.tries.under_way = None;
        if self.tries.sent_too_much || self.response_started || self.upgrade.is_some() {
            return false;
        }
        if self.tries.retries >= retry.attempts {
            stats.inc(ClusterStat::UpstreamRqRetryLimitExceeded);
            self.seen.flags.set(Flag::UpstreamRetryLimitExceeded);
            return false;
        }
        let Some(under_way) = cluster.admit_retry() else {
            stats.inc(ClusterStat::UpstreamRqRetryOverflow);
            self.seen.flags.set(Flag::UpstreamOverflow);
            return false;
        };
        self.tries.under_way = Some(under_way);
        self.tries.retries += 1;
        stats.inc(ClusterStat::UpstreamRqRetry);
        stats.inc(ClusterStat::UpstreamRqRetryBackoffExponential);
        true
    }

    /// Keeps what is sent of the body for another try.
    pub(super) fn remember_sent(&mut self, piece: &[u8], retry: &Retry, cluster: &Cluster) {
        let tries = &mut self.tries;
        if self.response_started || tries.sent_too_much {
            return;
        }
        if tries.sent.len() + piece.len() > retry.buffer_bytes_max as usize {
            tries.sent_too_much = true;
            tries.sent = Vec::new();
            cluster.stats.inc(ClusterStat::RetryOrShadowAbandoned);
            return;
        }
        tries.sent.extend_from_slice(piece);
    }

    /// The body as far as it was sent before.
    pub(super) fn sent_before(&self) -> &[u8] {
        &self.tries.sent
    }

    /// Nothing of the try that failed is left, and the pause is over.
    pub(super) async fn back_off(&mut self) -> Result<(), Fault> {
        self.forget_response();
        self.deadlines.attempt = u64::MAX;
        self.touch();
        self.arm();
        let core = &self.downstream.world.core;
        let longest = BACKOFF_MAX_MS.min(BACKOFF_BASE_MS * ((1 << self.tries.retries.min(8)) - 1));
        let until = core.now_ms() + core.random() % longest;
        let timer = core.timer();
        timer.set(until);
        let pause = poll_fn(|_| if core.now_ms() >= until { Poll::Ready(Ok(())) } else { Poll::Pending });
        self.guarded(pause).await
    }

    pub(super) fn forget_response(&mut self) {
        let scratch = &mut *self.scratch;
        scratch.response.clear();
        scratch.response_input.clear();
        scratch.response_body.clear();
        scratch.response_trailers = None;
        scratch.scanner = Default::default();
        self.grpc.status = None;
        self.seen.status = 0;
    }

    /// The request was sent whole: the time of this try begins.
    pub(super) fn start_try_timeout(&mut self, forward: &Forward) {
        if let Some(retry) = &forward.retry
            && retry.per_try_timeout_ms > 0
            && !self.response_started
        {
            self.deadlines.attempt = self.downstream.world.core.now_ms() + retry.per_try_timeout_ms;
        }
    }

    /// The last try has ended, well or not.
    pub(super) fn end_tries(&mut self, cluster: &Cluster, is_success: bool) {
        if self.tries.under_way.take().is_some() && is_success {
            cluster.stats.inc(ClusterStat::UpstreamRqRetrySuccess);
        }
    }
}
