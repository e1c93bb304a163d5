//! What goes wrong on a TLS connection, by cause, and what is wrong with a configuration.

use crate::{Fault, Scope};
use core::fmt;

/// Why a connection can't go on. One cause, one counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// The client speaks something else, plain HTTP for instance.
    NotTls,
    /// The peer was asked for a certificate and has none.
    NoCertificate,
    /// The peer's certificate leads to none of the authorities that we trust.
    UnknownCa,
    Expired,
    NotYetValid,
    /// The server's certificate isn't for the name that we asked for.
    BadName,
    /// The peer's certificate has none of the subject alternative names that are allowed.
    SanMismatch,
    /// The peer's certificate is none of those that are pinned.
    HashMismatch,
    Revoked,
    /// No revocation list says anything about the certificate, or the one that does is out of date.
    RevocationUnknown,
    /// The certificate can't be read, isn't meant for this use or is signed in a way that we don't take.
    BadCertificate,
    NoSharedVersion,
    NoSharedCipher,
    /// No key exchange group in common.
    NoSharedGroup,
    /// No signature scheme in common that our certificate or the peer's could be used with.
    NoSharedSignature,
    /// No protocol in common by ALPN.
    NoSharedAlpn,
    /// A record that wasn't made with the connection's keys.
    BadRecord,
    RecordOverflow,
    /// Bytes that aren't TLS, or a message that can't be read.
    Malformed,
    /// A message that doesn't belong here.
    Unexpected,
    /// The peer breaks a rule of the protocol.
    Misbehaved,
    /// More key updates, warnings or empty records in a row than anybody needs.
    Flood,
    /// The peer gave up and says so with this alert (RFC 8446, section 6).
    PeerAlert(u8),
    /// The peer closed the connection during the handshake.
    HandshakeEof,
    /// The peer closed the connection without saying that its data is complete.
    Truncated,
    /// As much was sent as the keys are good for, and TLS 1.2 has no way to replace them.
    KeysExhausted,
    /// Our own code or configuration.
    Internal,
}

impl Cause {
    /// The token for logs and counters; which alert it was is [`alert_name`]'s to say.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::NotTls => "tls.not_tls",
            Cause::NoCertificate => "tls.no_certificate",
            Cause::UnknownCa => "tls.unknown_ca",
            Cause::Expired => "tls.expired",
            Cause::NotYetValid => "tls.not_yet_valid",
            Cause::BadName => "tls.bad_name",
            Cause::SanMismatch => "tls.san_mismatch",
            Cause::HashMismatch => "tls.hash_mismatch",
            Cause::Revoked => "tls.revoked",
            Cause::RevocationUnknown => "tls.revocation_unknown",
            Cause::BadCertificate => "tls.bad_certificate",
            Cause::NoSharedVersion => "tls.no_shared_version",
            Cause::NoSharedCipher => "tls.no_shared_cipher",
            Cause::NoSharedGroup => "tls.no_shared_group",
            Cause::NoSharedSignature => "tls.no_shared_signature",
            Cause::NoSharedAlpn => "tls.no_shared_alpn",
            Cause::BadRecord => "tls.bad_record",
            Cause::RecordOverflow => "tls.record_overflow",
            Cause::Malformed => "tls.malformed",
            Cause::Unexpected => "tls.unexpected_message",
            Cause::Misbehaved => "tls.misbehaved",
            Cause::Flood => "tls.flood",
            Cause::PeerAlert(_) => "tls.peer_alert",
            Cause::HandshakeEof => "tls.handshake_eof",
            Cause::Truncated => "tls.truncated",
            Cause::KeysExhausted => "tls.keys_exhausted",
            Cause::Internal => "tls.internal",
        }
    }

    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Cause::Internal | Cause::KeysExhausted => Fault::Local,
            _ => Fault::Peer,
        }
    }

    #[must_use]
    pub const fn scope(self) -> Scope {
        Scope::Connection
    }

    /// The alert that tells an established peer (RFC 8446, section 6.2).
    pub(super) const fn alert(self) -> u8 {
        match self {
            Cause::Unexpected | Cause::Flood => 10,
            Cause::BadRecord => 20,
            Cause::RecordOverflow => 22,
            Cause::Misbehaved => 47,
            Cause::Malformed => 50,
            _ => 80,
        }
    }
}

/// Why a connection can't go on, with what a person may want to know beside the cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsError {
    pub cause: Cause,
    detail: Box<str>,
}

impl TlsError {
    pub(super) fn new(cause: Cause, detail: impl Into<Box<str>>) -> TlsError {
        TlsError { cause, detail: detail.into() }
    }

    /// The token for logs and counters, see [`Cause::as_str`].
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.cause.as_str()
    }

    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.cause.fault()
    }

    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.cause.scope()
    }
}

impl From<Cause> for TlsError {
    fn from(cause: Cause) -> TlsError {
        TlsError::new(cause, "")
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause.as_str())?;
        if let Cause::PeerAlert(alert) = self.cause {
            write!(f, ": {}", alert_name(alert))?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl core::error::Error for TlsError {}

/// What the protocol calls an alert (RFC 8446, section 6; RFC 5246, section 7.2).
#[must_use]
pub const fn alert_name(alert: u8) -> &'static str {
    match alert {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => "unknown",
    }
}

/// Which part of a certificate's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Chain,
    Key,
    Ocsp,
    Names,
}

/// Which setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The list of certificates as a whole.
    Certificates,
    /// One of them, counted from 0 in the order given; a client's only one is 0.
    Certificate(usize, Part),
    Ca,
    Crl,
    /// Counted from 0.
    AllowedSan(usize),
    /// Counted from 0.
    CipherSuite(usize),
    Versions,
    /// Counted from 0.
    Alpn(usize),
    ServerName,
}

/// What is wrong with settings. The whole of it is a sentence without an end for a person who wrote the config.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    pub place: Place,
    pub message: String,
}

impl ConfigError {
    pub(super) fn new(place: Place, message: impl Into<String>) -> ConfigError {
        ConfigError { place, message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for ConfigError {}
