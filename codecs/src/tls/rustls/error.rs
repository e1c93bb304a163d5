//! rustls's errors by our causes.

use super::verify::{HashMismatch, SanMismatch};
use crate::tls::error::Cause;
use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

pub(super) fn cause_of(error: &Error) -> Cause {
    match error {
        Error::NoCertificatesPresented => Cause::NoCertificate,
        Error::InvalidCertificate(error) => certificate(error),
        Error::PeerIncompatible(error) => incompatible(error),
        Error::NoApplicationProtocol => Cause::NoSharedAlpn,
        Error::PeerMisbehaved(error) => misbehaved(error),
        Error::DecryptError => Cause::BadRecord,
        Error::PeerSentOversizedRecord => Cause::RecordOverflow,
        Error::AlertReceived(alert) => Cause::PeerAlert(u8::from(*alert)),
        Error::InvalidMessage(InvalidMessage::MessageTooLarge | InvalidMessage::HandshakePayloadTooLarge) => {
            Cause::RecordOverflow
        }
        Error::InvalidMessage(_) => Cause::Malformed,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => Cause::Unexpected,
        Error::InvalidCertRevocationList(_) => Cause::RevocationUnknown,
        _ => Cause::Internal,
    }
}

fn certificate(error: &CertificateError) -> Cause {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Cause::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Cause::NotYetValid,
        CertificateError::Revoked => Cause::Revoked,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => Cause::RevocationUnknown,
        CertificateError::UnknownIssuer => Cause::UnknownCa,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Cause::BadName,
        CertificateError::Other(other) if other.0.downcast_ref::<SanMismatch>().is_some() => Cause::SanMismatch,
        CertificateError::Other(other) if other.0.downcast_ref::<HashMismatch>().is_some() => Cause::HashMismatch,
        _ => Cause::BadCertificate,
    }
}

fn incompatible(error: &PeerIncompatible) -> Cause {
    match error {
        PeerIncompatible::NoCipherSuitesInCommon => Cause::NoSharedCipher,
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired
        | PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::UncompressedEcPointsRequired => Cause::NoSharedGroup,
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => Cause::NoSharedSignature,
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => Cause::NoSharedVersion,
        _ => Cause::Misbehaved,
    }
}

fn misbehaved(error: &PeerMisbehaved) -> Cause {
    match error {
        PeerMisbehaved::TooManyEmptyFragments
        | PeerMisbehaved::TooManyKeyUpdateRequests
        | PeerMisbehaved::TooManyRenegotiationRequests
        | PeerMisbehaved::TooManyWarningAlertsReceived => Cause::Flood,
        PeerMisbehaved::SelectedUnofferedApplicationProtocol => Cause::NoSharedAlpn,
        _ => Cause::Misbehaved,
    }
}

/// What the error adds to its cause.
pub(super) fn describe(error: &Error) -> String {
    match error {
        // The alert's name is said already.
        Error::AlertReceived(_) => String::new(),
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.to_string(),
        other => other.to_string(),
    }
}
