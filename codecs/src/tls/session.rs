//! One TLS connection's end: bytes from the peer to plaintext, plaintext to bytes for the peer.

use super::Negotiated;
use super::error::{Cause, TlsError};
use super::established::Established;
use super::record::{ALERT, APPLICATION_DATA, PLAINTEXT_BYTES_MAX};
use super::rustls::client::ClientConfig;
use super::rustls::handshake::Handshake;
use super::rustls::server::ServerConfig;
use super::sniff::{self, Sniffed};
use crate::Status;
use core::ops::Range;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Handshaking,
    Established,
    /// The peer has said that it sends no more; we still may.
    PeerClosed,
}

/// What a call of [`Session::receive`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// So many bytes at the front of the input are done with. The rest, as the call left it, comes first the next time.
    pub consumed: usize,
    pub phase: Phase,
}

/// One end of a TLS connection.
pub struct Session(State);

enum State {
    Handshaking(Box<Opening>),
    Established(Box<Established>),
    /// After an error nothing goes in or out.
    Failed,
}

/// Before the keys are agreed on.
struct Opening {
    handshake: Handshake,
    /// A server's view of the client's hello, once it is whole.
    hello: Option<sniff::Hello>,
}

impl Session {
    /// The end that waits for a client.
    ///
    /// # Errors
    /// [`Cause::Internal`]; none for a config that could be made.
    pub fn server(config: &ServerConfig) -> Result<Session, TlsError> {
        Ok(Session(State::Handshaking(Box::new(Opening { handshake: config.handshake()?, hello: None }))))
    }

    /// The end that begins; its hello is appended to `out`. `server_name` takes precedence over the config's: a DNS
    /// name, or an address as text, which is verified but not sent (RFC 6066, section 3).
    ///
    /// # Errors
    /// [`Cause::Internal`] if there is no server name or it isn't one.
    pub fn client(config: &ClientConfig, server_name: Option<&str>, out: &mut Vec<u8>) -> Result<Session, TlsError> {
        let mut handshake = config.handshake(server_name)?;
        handshake.receive(&mut [], out)?;
        Ok(Session(State::Handshaking(Box::new(Opening { handshake, hello: None }))))
    }

    /// Takes the whole records in `input` and decrypts them where they lie. Where plaintext is in `input` is appended
    /// to `plain`, in order; what is to be sent to the peer, handshake messages and alerts, is appended to `out`, also
    /// when the call fails.
    ///
    /// What isn't consumed is part of a record, or during a handshake of a message that goes on in further records. It
    /// must come again as the call left it, with more behind it: an established connection leaves less than
    /// [`RECORD_BYTES_MAX`](super::RECORD_BYTES_MAX), a handshake less than
    /// [`WAITING_BYTES_MAX`](super::WAITING_BYTES_MAX). [`missing_bytes`](super::missing_bytes) says how much to add.
    ///
    /// # Errors
    /// The end of the connection, after sending `out`. What `plain` got before the error is good.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<Range<usize>>,
        out: &mut Vec<u8>,
    ) -> Result<Received, TlsError> {
        let result = self.advance(input, plain, out);
        if let Err(error) = &result {
            if let State::Established(established) = &mut self.0 {
                established.tell(error.cause, out);
            }
            self.0 = State::Failed;
        }
        result
    }

    fn advance(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<Range<usize>>,
        out: &mut Vec<u8>,
    ) -> Result<Received, TlsError> {
        let mut consumed = 0;
        if let State::Handshaking(opening) = &mut self.0 {
            let (taken, done) = opening.receive(input, out)?;
            consumed = taken;
            if !done {
                return Ok(Received { consumed, phase: Phase::Handshaking });
            }
            self.establish()?;
        }
        let State::Established(established) = &mut self.0 else {
            return Err(TlsError::new(Cause::Internal, "the connection has failed before"));
        };
        consumed = established.receive(input, consumed, plain, out)?;
        let phase = if established.peer_closed { Phase::PeerClosed } else { Phase::Established };
        Ok(Received { consumed, phase })
    }

    /// Goes on with the handshake's keys.
    fn establish(&mut self) -> Result<(), TlsError> {
        let State::Handshaking(opening) = core::mem::replace(&mut self.0, State::Failed) else {
            return Err(Cause::Internal.into());
        };
        let Opening { handshake, hello } = *opening;
        let mut finished = handshake.finish()?;
        finished.negotiated.server_name = hello.and_then(|hello| hello.server_name);
        self.0 = State::Established(Box::new(Established::new(finished)));
        Ok(())
    }

    /// What follows from the end of the peer's bytes.
    ///
    /// # Errors
    /// [`Cause::HandshakeEof`], and [`Cause::Truncated`] if the peer hasn't said before that its data is complete: what
    /// came may be part of it only, as anybody on the way can close a connection.
    pub fn end_of_input(&self) -> Result<(), TlsError> {
        match &self.0 {
            State::Handshaking(_) => Err(Cause::HandshakeEof.into()),
            State::Established(established) if established.peer_closed => Ok(()),
            State::Established(_) => Err(Cause::Truncated.into()),
            State::Failed => Ok(()),
        }
    }

    /// Appends records with all of `plaintext`, of 16 KiB each but for the last.
    ///
    /// # Errors
    /// [`Cause::Internal`] before the handshake is done, after [`Session::close_notify`] and after an error;
    /// [`Cause::KeysExhausted`] after 256 GiB with TLS 1.2.
    pub fn encrypt(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.encrypt_records(plaintext, PLAINTEXT_BYTES_MAX, out)
    }

    /// As [`Session::encrypt`] with records of at most `record_bytes_max` of plaintext. A peer can use a record only
    /// when it has all of it, so the first ones of a connection, while TCP's window is small, better are too.
    ///
    /// # Errors
    /// As [`Session::encrypt`].
    pub fn encrypt_records(
        &mut self,
        plaintext: &[u8],
        record_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let established = self.sender()?;
        let step = record_bytes_max.clamp(1, PLAINTEXT_BYTES_MAX);
        let records = plaintext.len().div_ceil(step);
        out.reserve(plaintext.len() + records * established.send.sealed_bytes(0));
        for fragment in plaintext.chunks(step) {
            established.renew(out)?;
            established.send.seal(APPLICATION_DATA, fragment, out)?;
        }
        Ok(())
    }

    /// As [`Session::encrypt`] for bytes that lie in several places; small ones share a record.
    ///
    /// # Errors
    /// As [`Session::encrypt`].
    pub fn encrypt_parts(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let mut parts = parts;
        while !parts.is_empty() {
            // As many whole parts as fit into one record.
            let mut bytes = 0;
            let count = parts
                .iter()
                .take_while(|part| {
                    bytes += part.len();
                    bytes <= PLAINTEXT_BYTES_MAX
                })
                .count();
            let (together, rest) = parts.split_at(count.max(1));
            match together {
                [] => {}
                [one] => self.encrypt(one, out)?,
                several => {
                    let bytes = several.iter().map(|part| part.len()).sum();
                    if bytes > 0 {
                        let established = self.sender()?;
                        established.renew(out)?;
                        established.send.seal_parts(APPLICATION_DATA, several.iter().copied(), bytes, out)?;
                    }
                }
            }
            parts = rest;
        }
        Ok(())
    }

    fn sender(&mut self) -> Result<&mut Established, TlsError> {
        match &mut self.0 {
            State::Established(established) if established.is_open() => Ok(established),
            State::Established(_) => Err(TlsError::new(Cause::Internal, "data after close_notify")),
            State::Handshaking(_) => Err(TlsError::new(Cause::Internal, "data before the handshake is done")),
            State::Failed => Err(TlsError::new(Cause::Internal, "the connection has failed before")),
        }
    }

    /// Appends the word that our data is complete, once; nothing can be encrypted afterwards. A handshake that is
    /// given up ends without a word.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        match &mut self.0 {
            State::Established(established) => established.close(out),
            State::Handshaking(_) | State::Failed => {}
        }
    }

    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        matches!(self.0, State::Handshaking(_))
    }

    /// What was agreed on, once the handshake is done.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        match &self.0 {
            State::Established(established) => Some(&established.negotiated),
            State::Handshaking(_) | State::Failed => None,
        }
    }

    /// The protocol that was agreed on by ALPN, if any.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.negotiated()?.alpn.as_deref()
    }

    /// Makes the keys look as if they had been used nearly as much as they may.
    #[cfg(test)]
    pub(super) fn wear_out(&mut self) {
        if let State::Established(established) = &mut self.0 {
            established.send.wear_out();
        }
    }

    /// Takes the peer's certificates out, which needn't be kept once they have been made use of.
    pub fn take_peer_certificates(&mut self) -> Box<[Box<[u8]>]> {
        match &mut self.0 {
            State::Established(established) => core::mem::take(&mut established.negotiated.peer_certificates),
            State::Handshaking(_) | State::Failed => Box::default(),
        }
    }
}

impl Opening {
    fn receive(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<(usize, bool), TlsError> {
        if self.handshake.is_server() && self.hello.is_none() {
            self.hello = match sniff::sniff(input) {
                Ok(Status::Complete(Sniffed::Tls(hello))) => Some(hello),
                // An alert is no beginning either, but TLS; it is answered as such.
                Ok(Status::Complete(Sniffed::Plain)) if input.first() != Some(&ALERT) => return Err(not_tls(input)),
                Ok(Status::Partial) => return Ok((0, false)),
                // The handshake knows the right alert.
                Ok(Status::Complete(Sniffed::Plain)) | Err(_) => Some(sniff::Hello::default()),
            };
        }
        self.handshake.receive(input, out)
    }
}

fn not_tls(input: &[u8]) -> TlsError {
    let http = input.first().is_some_and(u8::is_ascii_uppercase);
    TlsError::new(Cause::NotTls, if http { "plain HTTP, by the look of it" } else { "" })
}
