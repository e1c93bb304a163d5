//! Authorities that are trusted.

use super::provider;
use crate::tls::error::{ConfigError, Place};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;

/// Authorities whose certificates count. Cheap to clone, so that clusters can share the system's.
#[derive(Clone, Debug)]
pub struct Roots(pub(super) Arc<RootCertStore>);

impl Roots {
    /// All certificates of a PEM.
    ///
    /// # Errors
    /// If it has none, or one that can't be an authority's.
    pub fn from_pem(pem: &[u8]) -> Result<Roots, ConfigError> {
        let mut store = RootCertStore::empty();
        for (index, certificate) in provider::certificates(pem, Place::Ca)?.into_iter().enumerate() {
            store.add(certificate).map_err(|_| {
                ConfigError::new(Place::Ca, format!("certificate {} in the PEM can't be an authority's", index + 1))
            })?;
        }
        Ok(Roots(Arc::new(store)))
    }

    /// Those of the certificates (DER) that can be read, as a system's collection may hold odd ones. None are an error
    /// only for the client that is to trust them.
    #[must_use]
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Roots {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.into_iter().map(CertificateDer::from));
        Roots(Arc::new(store))
    }

    /// Those of the certificates in a system's collection (PEM) that can be read; see [`Roots::from_der`].
    #[must_use]
    pub fn of_system(pem: &[u8]) -> Roots {
        Roots::from_der(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).map(|der| der.to_vec()))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
