//! A connection after its handshake: what peers may still say to each other.

use super::error::{Cause, TlsError};
use super::record::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER_BYTES, Keys};
use super::rustls::handshake::{Finished, Rekeying};
use super::{Negotiated, Version};
use core::ops::Range;

/// Key updates without data between them, and records without data, that a peer may send; more is [`Cause::Flood`].
const IDLE_MESSAGES_MAX: u8 = 32;
/// Warnings of TLS 1.2 that are let pass.
const WARNINGS_MAX: u8 = 4;
/// A message after the handshake: tickets are the only ones of size.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const NO_RENEGOTIATION: u8 = 100;
const WARNING: u8 = 1;
const FATAL: u8 = 2;

pub(super) struct Established {
    receive: Keys,
    pub(super) send: Keys,
    rekeying: Option<Box<Rekeying>>,
    pub(super) negotiated: Box<Negotiated>,
    /// The beginning of a message that goes on in the next record.
    message: Vec<u8>,
    idle_messages: u8,
    warnings: u8,
    refused_renegotiation: bool,
    pub(super) peer_closed: bool,
    /// Whether we have said that we send no more.
    closed: bool,
}

impl Established {
    pub(super) fn new(finished: Finished) -> Established {
        Established {
            receive: finished.receive,
            send: finished.send,
            rekeying: finished.rekeying,
            negotiated: finished.negotiated,
            message: Vec::new(),
            idle_messages: 0,
            warnings: 0,
            refused_renegotiation: false,
            peer_closed: false,
            closed: false,
        }
    }

    /// Whether data can still be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.closed
    }

    /// Says that our data is complete, once.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if !core::mem::replace(&mut self.closed, true) {
            // Fails only when the keys are used up; then the end comes without a word.
            let _ = self.send.seal(ALERT, &[WARNING, CLOSE_NOTIFY], out);
        }
    }

    /// Opens the records from `at` on and says how far it came.
    pub(super) fn receive(
        &mut self,
        input: &mut [u8],
        mut at: usize,
        plain: &mut Vec<Range<usize>>,
        out: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        while !self.peer_closed {
            let Some((header, rest)) = input.get_mut(at..).and_then(|rest| rest.split_first_chunk_mut::<5>()) else {
                return Ok(at);
            };
            let (header, length) = (*header, usize::from(u16::from_be_bytes([header[3], header[4]])));
            self.check(header, length)?;
            let Some(body) = rest.get_mut(..length) else {
                return Ok(at);
            };
            let (kind, content) = self.receive.open(header, body)?;
            let start = at + HEADER_BYTES;
            at = start + length;
            match kind {
                APPLICATION_DATA if content.is_empty() => self.idle()?,
                APPLICATION_DATA => {
                    if !self.message.is_empty() {
                        return Err(Cause::Unexpected.into());
                    }
                    self.idle_messages = 0;
                    plain.push(start + content.start..start + content.end);
                }
                ALERT => self.alert(&body[content])?,
                HANDSHAKE => {
                    self.message.extend_from_slice(&body[content]);
                    self.messages(out)?;
                }
                _ => return Err(Cause::Unexpected.into()),
            }
        }
        // What comes behind a close_notify is nobody's (RFC 8446, section 6.1).
        Ok(input.len())
    }

    fn check(&self, header: [u8; HEADER_BYTES], length: usize) -> Result<(), Cause> {
        if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&header[0]) || header[1] != 3 {
            return Err(Cause::Malformed);
        }
        if length > self.receive.body_bytes_max() {
            return Err(Cause::RecordOverflow);
        }
        Ok(())
    }

    /// Counts a record that moves nothing.
    fn idle(&mut self) -> Result<(), Cause> {
        self.idle_messages += 1;
        if self.idle_messages > IDLE_MESSAGES_MAX { Err(Cause::Flood) } else { Ok(()) }
    }

    fn warning(&mut self) -> Result<(), Cause> {
        self.warnings += 1;
        if self.warnings > WARNINGS_MAX { Err(Cause::Flood) } else { Ok(()) }
    }

    fn alert(&mut self, content: &[u8]) -> Result<(), Cause> {
        let &[level, alert] = content else {
            return Err(Cause::Malformed);
        };
        match alert {
            CLOSE_NOTIFY => {
                self.peer_closed = true;
                Ok(())
            }
            // In TLS 1.3 every other alert is an error, whatever its level says (RFC 8446, section 6).
            USER_CANCELED => self.warning(),
            _ if level == WARNING && self.negotiated.version == Version::Tls12 => self.warning(),
            _ => Err(Cause::PeerAlert(alert)),
        }
    }

    /// Acts on the whole messages that there are.
    fn messages(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        while let Some(&[kind, a, b, c]) = self.message.first_chunk::<4>() {
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if length > MESSAGE_BYTES_MAX {
                return Err(Cause::RecordOverflow.into());
            }
            if self.message.len() < 4 + length {
                return Ok(());
            }
            let rest = self.message.split_off(4 + length);
            let message = core::mem::replace(&mut self.message, rest);
            self.message(kind, &message[4..], out)?;
        }
        if self.message.is_empty() {
            self.message = Vec::new();
        }
        Ok(())
    }

    fn message(&mut self, kind: u8, content: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        const HELLO_REQUEST: u8 = 0;
        const CLIENT_HELLO: u8 = 1;
        const NEW_SESSION_TICKET: u8 = 4;
        const KEY_UPDATE: u8 = 24;
        self.idle()?;
        match (kind, &mut self.rekeying) {
            (NEW_SESSION_TICKET, Some(rekeying)) => rekeying.ticket(content)?,
            (KEY_UPDATE, Some(rekeying)) => {
                // New keys begin with a new record (RFC 8446, section 5.1).
                if !self.message.is_empty() {
                    return Err(Cause::Unexpected.into());
                }
                self.receive = rekeying.next_receive()?;
                match content {
                    [0] => {}
                    [1] if !self.closed => self.update(out)?,
                    [1] => {}
                    _ => return Err(Cause::Misbehaved.into()),
                }
            }
            // A wish to renegotiate, which nobody gets (RFC 5746, section 4.5); it isn't repeated.
            (HELLO_REQUEST | CLIENT_HELLO, None) => {
                if core::mem::replace(&mut self.refused_renegotiation, true) {
                    return Err(Cause::Flood.into());
                }
                self.send.seal(ALERT, &[WARNING, NO_RENEGOTIATION], out)?;
            }
            _ => return Err(Cause::Unexpected.into()),
        }
        Ok(())
    }

    /// Replaces keys that are nearly used up, where there is a way.
    pub(super) fn renew(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.send.worn() {
            self.update(out)?;
        }
        Ok(())
    }

    /// Says that our keys change and changes them (RFC 8446, section 4.6.3).
    fn update(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let Some(rekeying) = &mut self.rekeying else {
            return Err(Cause::KeysExhausted.into());
        };
        self.send.seal(HANDSHAKE, &[24, 0, 0, 1, 0], out)?;
        self.send = rekeying.next_send()?;
        Ok(())
    }

    /// Sends the peer the alert that goes with `cause`, unless it is the one that gave up.
    pub(super) fn tell(&mut self, cause: Cause, out: &mut Vec<u8>) {
        if !self.closed && !matches!(cause, Cause::PeerAlert(_)) {
            // Nothing can be done about an alert that can't be sent.
            let _ = self.send.seal(ALERT, &[FATAL, cause.alert()], out);
        }
    }
}
