//! The handshake: rustls's unbuffered connection, fed one record at a time, until it has agreed on keys. Then its keys
//! are ours and it goes, but for what replaces keys and takes tickets.

use super::error::{cause_of, describe};
use super::names;
use crate::tls::error::{Cause, TlsError};
use crate::tls::record::{Cipher, HEADER_BYTES, Keys, PLAINTEXT_BYTES_MAX};
use crate::tls::{Negotiated, Version};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, ConnectionTrafficSecrets, ExtractedSecrets, HandshakeKind, ProtocolVersion};

/// What waits for the rest of a message during a handshake is bounded by the longest message (64 KiB) in records of a
/// sensible size.
pub(in crate::tls) const WAITING_BYTES_MAX: usize = 128 * 1024;

enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl Connection {
    fn state(&self) -> &CommonState {
        match self {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    /// Takes what it can from `input` and says how much of it is done with.
    fn step(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> (usize, Step) {
        match self {
            Connection::Server(connection) => act(connection.process_tls_records(input), out),
            Connection::Client(connection) => act(connection.process_tls_records(input), out),
        }
    }
}

enum Step {
    /// Something was done; call again.
    Again,
    /// Nothing to do without more records, or at all.
    Idle,
    Ended,
    Failed(rustls::Error),
}

fn act<D>(status: UnbufferedStatus<'_, '_, D>, out: &mut Vec<u8>) -> (usize, Step) {
    let step = match status.state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            sent.done();
            Step::Again
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Step::Idle,
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Step::Ended,
        // Early data is off, and records behind the handshake never get here.
        Ok(_) => Step::Failed(rustls::Error::General("unexpected state".into())),
        Err(error) => Step::Failed(error),
    };
    (status.discard, step)
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Step {
    let start = out.len();
    // Asks for the size first; then it fits.
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
        return Step::Again;
    };
    out.resize(start + size.required_size, 0);
    match data.encode(&mut out[start..]) {
        Ok(written) => {
            out.truncate(start + written);
            Step::Again
        }
        Err(_) => {
            out.truncate(start);
            Step::Failed(rustls::Error::EncryptError)
        }
    }
}

/// A handshake under way.
pub(in crate::tls) struct Handshake {
    connection: Connection,
    /// How much of the input that the caller keeps the connection has seen: parts of a message.
    seen: usize,
}

impl Handshake {
    pub(in crate::tls) fn server(connection: UnbufferedServerConnection) -> Handshake {
        Handshake { connection: Connection::Server(connection), seen: 0 }
    }

    pub(in crate::tls) fn client(connection: UnbufferedClientConnection) -> Handshake {
        Handshake { connection: Connection::Client(connection), seen: 0 }
    }

    pub(in crate::tls) fn is_server(&self) -> bool {
        matches!(self.connection, Connection::Server(_))
    }

    /// Takes whole records from the front of `input`, up to the end of the handshake at most, and says how many bytes
    /// are done with and whether the handshake is.
    pub(in crate::tls) fn receive(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<(usize, bool), TlsError> {
        if input.len() < self.seen {
            return Err(TlsError::new(Cause::Internal, "input that was not consumed has gone"));
        }
        let (mut start, mut end) = (0, self.seen);
        loop {
            let (done, step) = self.connection.step(&mut input[start..end], out);
            start = (start + done).min(end);
            self.seen = end - start;
            match step {
                Step::Again => {}
                Step::Idle if !self.connection.state().is_handshaking() => {
                    // Half a message in the handshake's last record can't go on under keys of ours.
                    return if start == end { Ok((start, true)) } else { Err(Cause::Unexpected.into()) };
                }
                Step::Idle => match next_record(&input[end..]) {
                    Next::Record(bytes) => end += bytes,
                    Next::Partial if self.seen > WAITING_BYTES_MAX => return Err(Cause::RecordOverflow.into()),
                    Next::Partial => return Ok((start, false)),
                    // It finds out itself, and has the right alert.
                    Next::Malformed if end < input.len() => end = input.len(),
                    Next::Malformed => return Err(Cause::Malformed.into()),
                },
                Step::Ended => return Err(Cause::PeerAlert(0).into()),
                Step::Failed(error) => {
                    self.flush(&mut input[start..end], out);
                    return Err(TlsError::new(cause_of(&error), describe(&error)));
                }
            }
        }
    }

    /// Appends what is still to be sent: the alert. Nothing more is read, as that could lead to a second error.
    fn flush(&mut self, input: &mut [u8], out: &mut Vec<u8>) {
        while self.connection.state().wants_write() {
            let (_, Step::Again) = self.connection.step(input, out) else {
                return;
            };
        }
    }

    /// What the handshake led to, once [`Handshake::receive`] said that it is done.
    pub(in crate::tls) fn finish(self) -> Result<Finished, TlsError> {
        let negotiated = negotiated(self.connection.state())?;
        let failed = |error: rustls::Error| TlsError::new(Cause::Internal, describe(&error));
        let (secrets, rekeying) = match self.connection {
            Connection::Server(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection().map_err(failed)?;
                (secrets, Rekeying::Server(kernel))
            }
            Connection::Client(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection().map_err(failed)?;
                (secrets, Rekeying::Client(kernel))
            }
        };
        let ExtractedSecrets { tx, rx } = secrets;
        let version = negotiated.version;
        Ok(Finished {
            send: keys(version, &tx.1, tx.0)?,
            receive: keys(version, &rx.1, rx.0)?,
            // TLS 1.2 replaces no keys and takes no tickets after its handshake.
            rekeying: (version == Version::Tls13).then(|| Box::new(rekeying)),
            negotiated: Box::new(negotiated),
        })
    }
}

/// An established connection's keys and facts.
pub(in crate::tls) struct Finished {
    pub(in crate::tls) send: Keys,
    pub(in crate::tls) receive: Keys,
    pub(in crate::tls) rekeying: Option<Box<Rekeying>>,
    pub(in crate::tls) negotiated: Box<Negotiated>,
}

/// What is left of the handshake's state, for messages after it.
pub(in crate::tls) enum Rekeying {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

impl Rekeying {
    /// The next keys to send with (RFC 8446, section 7.2).
    pub(in crate::tls) fn next_send(&mut self) -> Result<Keys, Cause> {
        let (sequence, secrets) = match self {
            Rekeying::Server(kernel) => kernel.update_tx_secret(),
            Rekeying::Client(kernel) => kernel.update_tx_secret(),
        }
        .map_err(|_| Cause::Internal)?;
        keys(Version::Tls13, &secrets, sequence)
    }

    /// The next keys to receive with.
    pub(in crate::tls) fn next_receive(&mut self) -> Result<Keys, Cause> {
        let (sequence, secrets) = match self {
            Rekeying::Server(kernel) => kernel.update_rx_secret(),
            Rekeying::Client(kernel) => kernel.update_rx_secret(),
        }
        .map_err(|_| Cause::Internal)?;
        keys(Version::Tls13, &secrets, sequence)
    }

    /// Keeps a ticket for the next connection; only clients get any.
    pub(in crate::tls) fn ticket(&mut self, message: &[u8]) -> Result<(), Cause> {
        match self {
            Rekeying::Server(_) => Err(Cause::Unexpected),
            Rekeying::Client(kernel) => kernel.handle_new_session_ticket(message).map_err(|error| cause_of(&error)),
        }
    }
}

fn keys(version: Version, secrets: &ConnectionTrafficSecrets, sequence: u64) -> Result<Keys, Cause> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Cipher::Chacha20Poly1305, key, iv),
        _ => return Err(Cause::Internal),
    };
    let iv = iv.as_ref().try_into().map_err(|_| Cause::Internal)?;
    Keys::new(version, cipher, key.as_ref(), iv, sequence)
}

fn negotiated(state: &CommonState) -> Result<Negotiated, TlsError> {
    let version = match state.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
        Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
        _ => return Err(Cause::Internal.into()),
    };
    Ok(Negotiated {
        version,
        cipher_suite: state.negotiated_cipher_suite().map_or("", |suite| names::cipher_suite(suite.suite())),
        group: state.negotiated_key_exchange_group().map(|group| names::group(group.name())),
        alpn: state.alpn_protocol().map(Into::into),
        server_name: None,
        resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        peer_certificates: state
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.as_ref().into())
            .collect(),
    })
}

enum Next {
    /// So many bytes, with the header.
    Record(usize),
    Partial,
    Malformed,
}

/// The record that `input` begins with, judged by its header alone.
fn next_record(input: &[u8]) -> Next {
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
        return Next::Partial;
    };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if !(20..=23).contains(&header[0]) || header[1] != 3 || length == 0 || length > PLAINTEXT_BYTES_MAX + 2048 {
        return Next::Malformed;
    }
    if input.len() < HEADER_BYTES + length { Next::Partial } else { Next::Record(HEADER_BYTES + length) }
}
