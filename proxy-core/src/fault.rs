//! Faults: what can go wrong with an exchange, and the one table of what follows from it.

use codecs::http::{ErrorKind, PathError};

use crate::log::Flag;

/// Why an exchange could not be completed as asked. Says the side and the stage; whether trying again is safe is known
/// where the request was sent (`http::forward`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The client's message breaks the protocol or a limit.
    BadRequest(ErrorKind),
    /// The path has no single meaning.
    BadPath(PathError),
    /// CONNECT without permission for it.
    ConnectRefused,
    /// An upgrade to a protocol that isn't allowed.
    UpgradeRefused,
    /// The endpoint doesn't take upgrades over HTTP/2 (RFC 8441).
    UpgradeUnsupported,
    /// The head took longer than the header timeout.
    HeaderTimeout,
    /// The whole request took longer than the request timeout.
    RequestTimeout,
    /// Nothing moved for longer than the stream idle timeout while the request was incomplete.
    RequestIdle,
    /// The same while the endpoint was to answer.
    ResponseIdle,
    /// A side took nothing of what is queued to it for too long, and the core is short of buffers.
    Hoarding,
    NoRoute,
    /// The cluster has no endpoint to send to.
    NoEndpoint,
    /// The process is short of descriptors or memory.
    Overloaded,
    /// A bound of the cluster is reached.
    Overflow,
    ConnectFailed,
    ConnectTimeout,
    /// The endpoint closed or reset the connection before the response's head.
    UpstreamClosed,
    /// The endpoint's response breaks the protocol or a limit.
    BadResponse(ErrorKind),
    /// The route's timeout.
    ResponseTimeout,
    /// The timeout of one try.
    TryTimeout,
    /// The body of a gRPC-Web request isn't base64.
    BadGrpcWeb,
    /// The response broke off after its head had been passed on.
    ResponseCutOff,
    /// The client went away.
    ClientGone,
    /// The drain's time is up.
    Drained,
}

/// What a fault turns into.
pub(crate) struct Outcome {
    /// Status of the reply, where one can still be sent.
    pub(crate) status: u16,
    pub(crate) flag: Option<Flag>,
    /// `%RESPONSE_CODE_DETAILS%`, Envoy's words where it has them.
    pub(crate) details: &'static str,
    pub(crate) body: &'static str,
}

impl Fault {
    pub(crate) fn outcome(self) -> Outcome {
        let (status, flag, details, body) = match self {
            Fault::BadRequest(kind) => {
                (kind.request_status(), Some(Flag::DownstreamProtocolError), kind.as_str(), bad_request_text(kind))
            }
            Fault::BadPath(error) => {
                let (details, body) = bad_path_text(error);
                (400, None, details, body)
            }
            Fault::ConnectRefused => (405, None, "connect_not_allowed", "CONNECT is not enabled on this listener\n"),
            Fault::UpgradeRefused => (403, None, "upgrade_failed", "this upgrade is not enabled on this listener\n"),
            Fault::UpgradeUnsupported => {
                (502, None, "upstream_upgrade_unsupported", "the endpoint does not take this upgrade over HTTP/2\n")
            }
            Fault::HeaderTimeout => (408, None, "request_header_timeout", "request header timeout\n"),
            Fault::RequestTimeout => (408, None, "request_overall_timeout", "request timeout\n"),
            Fault::RequestIdle => (408, Some(Flag::StreamIdleTimeout), "stream_idle_timeout", "stream timeout\n"),
            Fault::ResponseIdle => (504, Some(Flag::StreamIdleTimeout), "stream_idle_timeout", "stream timeout\n"),
            Fault::Hoarding => (503, Some(Flag::OverloadManagerTerminated), "overload_unread_bytes", "overloaded\n"),
            Fault::NoRoute => (404, Some(Flag::NoRouteFound), "route_not_found", "no route matches this request\n"),
            Fault::NoEndpoint => (503, Some(Flag::NoHealthyUpstream), "no_healthy_upstream", "no healthy upstream\n"),
            Fault::Overloaded => (503, Some(Flag::OverloadManagerTerminated), "overload", "overloaded\n"),
            Fault::Overflow => (
                503,
                Some(Flag::UpstreamOverflow),
                "upstream_reset_before_response_started{overflow}",
                "upstream connect error or disconnect/reset before headers. reset reason: overflow\n",
            ),
            Fault::ConnectFailed => (
                503,
                Some(Flag::UpstreamConnectionFailure),
                "upstream_reset_before_response_started{remote_connection_failure}",
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure\n",
            ),
            Fault::ConnectTimeout => (
                503,
                Some(Flag::UpstreamConnectionFailure),
                "upstream_reset_before_response_started{connection_timeout}",
                "upstream connect error or disconnect/reset before headers. reset reason: connection timeout\n",
            ),
            Fault::UpstreamClosed => (
                503,
                Some(Flag::UpstreamConnectionTermination),
                "upstream_reset_before_response_started{connection_termination}",
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination\n",
            ),
            Fault::BadResponse(_) => (
                502,
                Some(Flag::UpstreamProtocolError),
                "upstream_reset_before_response_started{protocol_error}",
                "upstream connect error or disconnect/reset before headers. reset reason: protocol error\n",
            ),
            Fault::ResponseTimeout => {
                (504, Some(Flag::UpstreamRequestTimeout), "response_timeout", "upstream request timeout\n")
            }
            Fault::TryTimeout => {
                (504, Some(Flag::UpstreamRequestTimeout), "upstream_per_try_timeout", "upstream request timeout\n")
            }
            Fault::BadGrpcWeb => (400, Some(Flag::DownstreamProtocolError), "grpc_web_not_base64", "bad request\n"),
            Fault::ResponseCutOff => (
                502,
                Some(Flag::UpstreamConnectionTermination),
                "upstream_reset_after_response_started{connection_termination}",
                "",
            ),
            Fault::ClientGone => (0, Some(Flag::DownstreamConnectionTermination), "downstream_remote_disconnect", ""),
            Fault::Drained => (503, Some(Flag::LocalReset), "drain_timeout", "shutting down\n"),
        };
        Outcome { status, flag, details, body }
    }
}

fn bad_request_text(kind: ErrorKind) -> &'static str {
    match kind.request_status() {
        414 => "request line too long\n",
        431 => "request header fields too large\n",
        501 => "transfer coding not supported\n",
        505 => "HTTP version not supported\n",
        _ => "bad request\n",
    }
}

/// What follows Envoy's word in braces says which rule it was.
fn bad_path_text(error: PathError) -> (&'static str, &'static str) {
    match error {
        PathError::AboveRoot => {
            ("path_normalization_failed{above_root}", "the path has more .. than segments in front of them\n")
        }
        PathError::BadEscape => {
            ("path_normalization_failed{bad_escape}", "the path has a % without two hexadecimal digits\n")
        }
        PathError::Nul => ("path_normalization_failed{nul}", "the path has a NUL\n"),
        PathError::OverlongUtf8 => ("path_normalization_failed{overlong_utf8}", "the path has overlong UTF-8\n"),
        PathError::EscapedSlash => ("path_normalization_failed{escaped_slash}", "the path has an escaped slash\n"),
        PathError::HiddenDotSegment => {
            ("path_normalization_failed{hidden_dot_segment}", "the path has a dot segment beside an escaped slash\n")
        }
        PathError::DotSegmentParameters => {
            ("path_normalization_failed{dot_segment_parameters}", "the path has a dot segment with parameters\n")
        }
        PathError::Parameters => ("path_normalization_failed{parameters}", "the path has parameters\n"),
        PathError::Rewritten => {
            ("path_normalization_failed{rewritten}", "the path has a dot segment once its prefix is rewritten\n")
        }
    }
}
