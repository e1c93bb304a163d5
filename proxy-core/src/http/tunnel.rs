//! Exchanges that have become tunnels: upgrades and CONNECT.

use codecs::http::h1::emit;

use super::client::Client;
use super::exchange::Exchange;
use super::upstream::Upstream;
use crate::cluster::Connection;
use crate::fault::Fault;
use crate::relay::{self, End, Pipe};
use crate::stats::HttpStat;

impl Exchange<'_> {
    /// The connection is no longer HTTP: bytes both ways until both sides have ended. A reset stays a reset on the other
    /// side, and what a drain cuts off ends in one, or a transfer that broke off would look complete.
    pub(super) async fn tunnel(&mut self, upstream: Upstream) -> Result<(), Fault> {
        let world = &self.downstream.world;
        let stats = &self.config.serve_stats;
        stats.inc(HttpStat::DownstreamCxUpgradesTotal);
        stats.gauge_inc(HttpStat::DownstreamCxUpgradesActive);
        let idle_ms = self.http.idle_timeout_ms;
        let client = match &self.client {
            Client::Http1 => Pipe::Transport(&self.downstream.socket),
            Client::Http2(stream) => Pipe::Stream(stream),
        };
        let relayed = relay::relay(&world.core, &client, &upstream.pipe(), idle_ms, || world.cut_off()).await;
        stats.gauge_dec(HttpStat::DownstreamCxUpgradesActive);
        self.seen.request_body_bytes += relayed.up_bytes;
        self.seen.response_body_bytes += relayed.down_bytes;
        self.seen.received_bytes += relayed.up_bytes;
        self.seen.sent_bytes += relayed.down_bytes;
        self.keep_alive = false;
        match relayed.end {
            End::Complete | End::Idle => Ok(()),
            End::CutOff => {
                upstream.reset();
                Err(Fault::Drained)
            }
            End::UpstreamFailed => {
                if let Upstream::Http1(mut connection) = upstream {
                    connection.mark_remote();
                }
                Err(Fault::ResponseCutOff)
            }
            End::ClientFailed => {
                upstream.reset();
                Err(Fault::ClientGone)
            }
            End::Hoarding => {
                upstream.reset();
                Err(Fault::Hoarding)
            }
        }
    }

    /// CONNECT: the endpoint is the other end of the tunnel.
    pub(super) async fn connect_tunnel(&mut self, connection: Connection) -> Result<(), Fault> {
        match &self.client {
            Client::Http2(stream) => stream.send_response(200, None, false),
            Client::Http1 => {
                let out = &mut self.scratch.out;
                out.clear();
                emit::status_line(out, 200, b"OK");
                emit::end_of_head(out);
                self.seen.sent_bytes += out.len() as u64;
                self.downstream.socket.send(out);
            }
        }
        self.response_started = true;
        self.seen.status = 200;
        self.tunnel(Upstream::Http1(connection)).await
    }
}
