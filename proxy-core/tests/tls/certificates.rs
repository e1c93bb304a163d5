//! Certificates made on the spot, in files.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};

use crate::ops::Folder;

/// An authority with a folder for what it issues.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
}

/// Files of a certificate.
pub(crate) struct Files {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    /// As a config has it.
    pub(crate) fn config(&self) -> String {
        format!("{{ chain: '{}', key: '{}' }}", self.chain.display(), self.key.display())
    }
}

impl Ca {
    pub(crate) fn new() -> Ca {
        let mut params = CertificateParams::new([]).expect("params");
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let ca = Ca { issuer: CertifiedIssuer::self_signed(params, key).expect("authority"), folder: Folder::new() };
        std::fs::write(ca.path("ca.pem"), ca.issuer.pem()).expect("written");
        ca
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    pub(crate) fn pem(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for these names: host names, addresses or URIs.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> Files {
        self.issue_until(file, names, 2040)
    }

    pub(crate) fn issue_until(&self, file: &str, names: &[&str], year: i32) -> Files {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("params");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().expect("a URI")));
        }
        params.distinguished_name.push(DnType::CommonName, file);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        let files = Files { chain: self.path(&format!("{file}.pem")), key: self.path(&format!("{file}.key")) };
        std::fs::write(&files.chain, certificate.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }
}
