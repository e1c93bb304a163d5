//! Making a connection, with TLS if the URL says so.

use std::future::poll_fn;
use std::task::Poll;

use runtime::Timer;

use super::failure::{Failed, Failure};
use super::lane::Lane;
use crate::transport::{Input, Transport};

/// How long opening the connections may hold up the start of a run, ms.
pub(super) const AHEAD_TIMEOUT_MS: u64 = 1_000;
/// How long a server may take to close a connection that was asked to, ms.
const CLOSE_TIMEOUT_MS: u64 = 1_000;
/// Longest pause after a connection couldn't be made, ms (closed loop); it starts with 1 and doubles.
const RETRY_PAUSE_MS_MAX: u64 = 16;

/// Connects and shakes hands before `timer` expires.
pub(super) async fn connect(lane: &Lane, timer: &Timer) -> Result<Transport, Failed> {
    let plan = &lane.plan;
    let socket = lane.core.start_connect(plan.address).map_err(|error| Failed::connect(&error))?;
    poll_fn(|_| match socket.poll_connected() {
        Poll::Ready(result) => Poll::Ready(result.map_err(|error| Failed::connect(&error))),
        Poll::Pending if timer.expired() => Poll::Ready(Err(Failure::ConnectTimeout.into())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let (Some(config), Some((_, name))) = (&lane.tls, &plan.tls) else {
        let transport = Transport::plain(socket);
        lane.connected(&transport);
        return Ok(transport);
    };
    let transport = Transport::client(&lane.core, socket, config, name).map_err(|error| Failed::tls(&error))?;
    poll_fn(|_| match transport.poll_handshake() {
        Poll::Ready(result) => Poll::Ready(result.map_err(|fault| Failed::connection(&fault))),
        Poll::Pending if timer.expired() => Poll::Ready(Err(Failure::Timeout.into())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    if plan.exchange.has_streams() && !transport.is_h2() {
        let detail = Some("the server doesn't take HTTP/2 (ALPN)".to_owned());
        return Err(Failed { failure: Failure::Tls, detail });
    }
    lane.connected(&transport);
    Ok(transport)
}

/// Waits for the server to close first: whoever does keeps the port pair for a minute, and with a connection a request
/// ports would run out here.
pub(super) async fn settle(lane: &Lane, timer: &Timer, transport: Transport) {
    timer.set(lane.core.now_ms() + CLOSE_TIMEOUT_MS);
    poll_fn(|_| {
        loop {
            match transport.poll_recv() {
                Poll::Ready(Input::Data(_)) => {}
                Poll::Ready(Input::End | Input::Failed(_)) => return Poll::Ready(()),
                Poll::Pending if timer.expired() => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    transport.close();
}

/// The pauses between attempts to connect.
#[derive(Default)]
pub(super) struct Retry {
    pause_ms: u64,
}

impl Retry {
    pub(super) fn succeeded(&mut self) {
        self.pause_ms = 0;
    }

    /// After a failure: waits if it was to connect. The open loop has its own pace.
    pub(super) async fn failed(&mut self, lane: &Lane, failed: &Failed) {
        if failed.failure.is_of_connect() && lane.plan.rate.is_none() {
            self.pause_ms = (self.pause_ms * 2).clamp(1, RETRY_PAUSE_MS_MAX);
            lane.core.sleep_ms(self.pause_ms).await;
        }
    }
}
