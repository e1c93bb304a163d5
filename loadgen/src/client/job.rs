//! What a run does, as the commands say it in their different ways.

use std::path::Path;

use crate::cli::{Grpc, Http, Load, Ws};

/// How a request and its answer are exchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exchange {
    Http1,
    Http2,
    /// A unary call over HTTP/2.
    Grpc,
    /// A message and its echo.
    WebSocket,
    /// The same over HTTP/2 (RFC 8441).
    WebSocketH2,
}

impl Exchange {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Exchange::Http1 => "http/1.1",
            Exchange::Http2 => "h2",
            Exchange::Grpc => "grpc",
            Exchange::WebSocket => "websocket",
            Exchange::WebSocketH2 => "websocket over h2",
        }
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Exchange::WebSocket | Exchange::WebSocketH2)
    }

    /// Several requests share a connection, each on its stream.
    pub(crate) fn has_streams(self) -> bool {
        matches!(self, Exchange::Http2 | Exchange::Grpc | Exchange::WebSocketH2)
    }

    /// The protocol that ALPN has to agree on.
    pub(crate) fn alpn(self) -> &'static [u8] {
        if self.has_streams() { b"h2" } else { b"http/1.1" }
    }

    /// Schemes of URLs: without and with TLS.
    pub(crate) fn schemes(self) -> [&'static str; 2] {
        if self.is_websocket() { ["ws", "wss"] } else { ["http", "https"] }
    }
}

pub(crate) struct Job<'a> {
    pub(crate) url: &'a str,
    pub(crate) exchange: Exchange,
    pub(crate) method: &'a str,
    pub(crate) body: Option<&'a Path>,
    pub(crate) new_connections: bool,
    pub(crate) pipeline: u32,
    pub(crate) load: &'a Load,
}

impl<'a> Job<'a> {
    pub(crate) fn http(arguments: &'a Http) -> Result<Job<'a>, String> {
        let exchange = match (arguments.grpc, arguments.h2) {
            (true, _) => Exchange::Grpc,
            (false, true) => Exchange::Http2,
            (false, false) => Exchange::Http1,
        };
        Job {
            url: &arguments.url,
            exchange,
            method: if arguments.grpc { "POST" } else { &arguments.method },
            body: arguments.body.as_deref(),
            new_connections: arguments.new_connections,
            pipeline: arguments.pipeline,
            load: &arguments.load,
        }
        .checked()
    }

    pub(crate) fn grpc(arguments: &'a Grpc) -> Result<Job<'a>, String> {
        Job {
            url: &arguments.url,
            exchange: Exchange::Grpc,
            method: "POST",
            body: None,
            new_connections: arguments.new_connections,
            pipeline: 1,
            load: &arguments.load,
        }
        .checked()
    }

    pub(crate) fn ws(arguments: &'a Ws) -> Result<Job<'a>, String> {
        Job {
            url: &arguments.url,
            exchange: if arguments.h2 { Exchange::WebSocketH2 } else { Exchange::WebSocket },
            method: if arguments.h2 { "CONNECT" } else { "GET" },
            body: None,
            new_connections: false,
            pipeline: 1,
            load: &arguments.load,
        }
        .checked()
    }

    fn checked(self) -> Result<Job<'a>, String> {
        if self.load.streams > 1 && !self.exchange.has_streams() {
            return Err("only HTTP/2 has several streams on a connection: --streams needs --h2".into());
        }
        if self.load.streams > 1 && self.new_connections {
            return Err("with --new-connections a connection carries one request, so --streams has to be 1".into());
        }
        Ok(self)
    }
}
