//! Which counters a handshake and its failures move.

use codecs::tls::{Cause, TlsError};

use super::TlsFacts;
use crate::stats::{ClusterStat, Lane, ListenerStat, Stat};
use crate::transport::Refused;

/// The rows of one scope.
pub(crate) struct Counter<S> {
    connection_error: S,
    handshake: S,
    session_reused: S,
    no_certificate: S,
    fail_verify_no_cert: S,
    fail_verify_error: S,
    fail_verify_san: S,
    fail_verify_cert_hash: S,
    /// By OpenSSL's names.
    ciphers: [(&'static str, S); 9],
    /// By IANA's names; the rows have BoringSSL's, as Envoy's do.
    curves: [(&'static str, S); 4],
    version_12: S,
    version_13: S,
    timeout: S,
    cause: fn(Cause) -> Option<S>,
}

macro_rules! counter {
    ($stat:ident) => {
        Counter {
            connection_error: $stat::SslConnectionError,
            handshake: $stat::SslHandshake,
            session_reused: $stat::SslSessionReused,
            no_certificate: $stat::SslNoCertificate,
            fail_verify_no_cert: $stat::SslFailVerifyNoCert,
            fail_verify_error: $stat::SslFailVerifyError,
            fail_verify_san: $stat::SslFailVerifySan,
            fail_verify_cert_hash: $stat::SslFailVerifyCertHash,
            ciphers: [
                ("TLS_AES_128_GCM_SHA256", $stat::SslCiphersTLSAES128GCMSHA256),
                ("TLS_AES_256_GCM_SHA384", $stat::SslCiphersTLSAES256GCMSHA384),
                ("TLS_CHACHA20_POLY1305_SHA256", $stat::SslCiphersTLSCHACHA20POLY1305SHA256),
                ("ECDHE-ECDSA-AES128-GCM-SHA256", $stat::SslCiphersECDHEECDSAAES128GCMSHA256),
                ("ECDHE-ECDSA-AES256-GCM-SHA384", $stat::SslCiphersECDHEECDSAAES256GCMSHA384),
                ("ECDHE-ECDSA-CHACHA20-POLY1305", $stat::SslCiphersECDHEECDSACHACHA20POLY1305),
                ("ECDHE-RSA-AES128-GCM-SHA256", $stat::SslCiphersECDHERSAAES128GCMSHA256),
                ("ECDHE-RSA-AES256-GCM-SHA384", $stat::SslCiphersECDHERSAAES256GCMSHA384),
                ("ECDHE-RSA-CHACHA20-POLY1305", $stat::SslCiphersECDHERSACHACHA20POLY1305),
            ],
            curves: [
                ("x25519", $stat::SslCurvesX25519),
                ("secp256r1", $stat::SslCurvesP256),
                ("secp384r1", $stat::SslCurvesP384),
                ("X25519MLKEM768", $stat::SslCurvesX25519MLKEM768),
            ],
            version_12: $stat::SslVersionsTLSv12,
            version_13: $stat::SslVersionsTLSv13,
            timeout: $stat::SslHandshakeTimeout,
            cause: |cause| {
                Some(match cause {
                    Cause::NotTls => $stat::SslErrorNotTls,
                    // Envoy's rows say these already.
                    Cause::NoCertificate | Cause::SanMismatch | Cause::HashMismatch => return None,
                    Cause::UnknownCa => $stat::SslErrorUnknownCa,
                    Cause::Expired | Cause::NotYetValid => $stat::SslErrorExpired,
                    Cause::BadName => $stat::SslErrorBadName,
                    Cause::Revoked | Cause::RevocationUnknown => $stat::SslErrorRevoked,
                    Cause::BadCertificate => $stat::SslErrorBadCertificate,
                    Cause::NoSharedVersion => $stat::SslErrorNoSharedVersion,
                    Cause::NoSharedCipher | Cause::NoSharedGroup | Cause::NoSharedSignature => {
                        $stat::SslErrorNoSharedCipher
                    }
                    Cause::NoSharedAlpn => $stat::SslErrorNoSharedAlpn,
                    Cause::PeerAlert(_) => $stat::SslErrorPeerAlert,
                    Cause::HandshakeEof => $stat::SslErrorHandshakeEof,
                    Cause::Truncated => $stat::SslErrorTruncated,
                    Cause::BadRecord
                    | Cause::RecordOverflow
                    | Cause::Malformed
                    | Cause::Unexpected
                    | Cause::Misbehaved
                    | Cause::Flood => $stat::SslErrorProtocol,
                    Cause::KeysExhausted | Cause::Internal => $stat::SslErrorInternal,
                })
            },
        }
    };
}

/// A listener's rows.
pub(crate) static DOWNSTREAM: Counter<ListenerStat> = counter!(ListenerStat);

/// A cluster's rows.
pub(crate) static UPSTREAM: Counter<ClusterStat> = counter!(ClusterStat);

impl<S: Stat> Counter<S> {
    pub(crate) fn established(&self, stats: &Lane, facts: &TlsFacts) {
        stats.inc(self.handshake);
        stats.inc(if facts.version == "TLSv1.2" { self.version_12 } else { self.version_13 });
        let row = |rows: &[(&str, S)], name: &str| {
            if let Some((_, stat)) = rows.iter().find(|(known, _)| *known == name) {
                stats.inc(*stat);
            }
        };
        row(&self.ciphers, facts.cipher);
        row(&self.curves, facts.group.unwrap_or_default());
        if facts.resumed {
            stats.inc(self.session_reused);
        }
        if facts.peer.is_none() {
            stats.inc(self.no_certificate);
        }
    }

    pub(crate) fn refused(&self, stats: &Lane, refused: &Refused) {
        match refused {
            Refused::Tls(error) => self.failed(stats, error, true),
            Refused::Timeout => stats.inc(self.timeout),
            Refused::Io(_) => stats.inc(self.connection_error),
            Refused::CutOff => {}
        }
    }

    /// `handshaking`: an end that comes without a word later on is nothing unusual.
    pub(crate) fn failed(&self, stats: &Lane, error: &TlsError, handshaking: bool) {
        match error.cause {
            Cause::NoCertificate => stats.inc(self.fail_verify_no_cert),
            Cause::SanMismatch => stats.inc(self.fail_verify_san),
            Cause::HashMismatch => stats.inc(self.fail_verify_cert_hash),
            Cause::UnknownCa
            | Cause::Expired
            | Cause::NotYetValid
            | Cause::BadName
            | Cause::Revoked
            | Cause::RevocationUnknown
            | Cause::BadCertificate => stats.inc(self.fail_verify_error),
            Cause::Truncated if !handshaking => {}
            _ => stats.inc(self.connection_error),
        }
        if let Some(stat) = (self.cause)(error.cause) {
            stats.inc(stat);
        }
    }
}
