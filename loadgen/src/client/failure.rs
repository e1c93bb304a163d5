//! Why a request has no response.

use std::io;

use codecs::tls::{Cause, TlsError};

use crate::transport::Fault;

/// Kinds of failure, each counted by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Failure {
    ConnectRefused,
    ConnectTimeout,
    /// No route, no free local port, no descriptor.
    ConnectOther,
    /// The connection was reset before the response was complete.
    Reset,
    /// The server ended the connection before the response was complete.
    ClosedEarly,
    /// No complete response in time.
    Timeout,
    /// What came is no valid response.
    BadResponse,
    /// TLS: the handshake failed, or a record was none.
    Tls,
    Other,
}

impl Failure {
    pub(crate) const ALL: [Failure; 9] = [
        Failure::ConnectRefused,
        Failure::ConnectTimeout,
        Failure::ConnectOther,
        Failure::Reset,
        Failure::ClosedEarly,
        Failure::Timeout,
        Failure::BadResponse,
        Failure::Tls,
        Failure::Other,
    ];

    /// The key in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::ConnectRefused => "connect_refused",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::ConnectOther => "connect_other",
            Failure::Reset => "reset",
            Failure::ClosedEarly => "closed_early",
            Failure::Timeout => "timeout",
            Failure::BadResponse => "bad_response",
            Failure::Tls => "tls",
            Failure::Other => "other",
        }
    }

    /// The connection was never made.
    pub(crate) fn is_of_connect(self) -> bool {
        matches!(self, Failure::ConnectRefused | Failure::ConnectTimeout | Failure::ConnectOther | Failure::Tls)
    }

    pub(crate) fn of_connect(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
            io::ErrorKind::ConnectionReset => Failure::Reset,
            io::ErrorKind::TimedOut => Failure::ConnectTimeout,
            _ => Failure::ConnectOther,
        }
    }

    pub(crate) fn of_connection(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Failure::Reset
            }
            io::ErrorKind::TimedOut => Failure::Timeout,
            _ => Failure::Other,
        }
    }
}

/// A failure and, where the kind alone doesn't say it, what happened in words.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) detail: Option<String>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        Failed { failure, detail: None }
    }
}

impl Failed {
    pub(crate) fn connect(error: &io::Error) -> Failed {
        Failed::with(Failure::of_connect(error), error)
    }

    pub(crate) fn connection(fault: &Fault) -> Failed {
        match fault {
            Fault::Io(error) => Failed::with(Failure::of_connection(error), error),
            // The end of the connection without a word that it is one.
            Fault::Tls(error) if error.cause == Cause::Truncated => Failure::ClosedEarly.into(),
            Fault::Tls(error) => Failed::tls(error),
        }
    }

    pub(crate) fn tls(error: &TlsError) -> Failed {
        Failed { failure: Failure::Tls, detail: Some(error.to_string()) }
    }

    /// The server gave up a stream of HTTP/2.
    pub(crate) fn stream_reset(code: codecs::http::h2::ErrorCode) -> Failed {
        Failed { failure: Failure::Reset, detail: Some(format!("the stream, with {code:?}")) }
    }

    pub(crate) fn bad_response(reason: &impl ToString) -> Failed {
        Failed { failure: Failure::BadResponse, detail: Some(reason.to_string()) }
    }

    fn with(failure: Failure, error: &io::Error) -> Failed {
        let vague = matches!(failure, Failure::ConnectOther | Failure::Other);
        Failed { failure, detail: vague.then(|| error.to_string()) }
    }
}
