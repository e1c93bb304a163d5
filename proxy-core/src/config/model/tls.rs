//! TLS of listeners and of clusters.

use crate::config::record::{choice, record};
use crate::config::source::Spanned;
use crate::config::values::{
    AlpnName, ClusterName, Duration, FilePath, Fingerprint, HostPattern, OneOrMany, SanText, Sni, Words,
};

record! {
    /// Clients speak TLS to this listener.
    pub struct ListenerTls as "listener_tls", "TLS of a listener", "TLS of listeners";
    {
        /// The certificates. A client gets the one for the name that it asks for: exact names first, then wildcards,
        /// then the first certificate here. Of two for one name it gets the one that it can verify, ECDSA before RSA.
        certificates: Spanned<OneOrMany<Certificate>> = required,
        /// The lowest version of TLS.
        min_version: Spanned<TlsVersion> = "'1.2'",
        /// The highest version of TLS.
        max_version: TlsVersion = "'1.3'",
        /// Whether clients show certificates, and whose.
        client_auth: Option<ClientAuth> = optional,
        /// Protocols to agree on by ALPN, the preferred first. Without it, those that the listener serves.
        alpn: Option<OneOrMany<Spanned<AlpnName>>> = optional,
        /// Let clients resume sessions with tickets.
        session_tickets: bool = "true",
        /// How often the keys that seal tickets are replaced. A ticket can be used for once to twice as long.
        ticket_rotation: Spanned<Duration> = "12h",
        /// Files of 80 random bytes with the keys for tickets, to share them between processes. The first seals and opens,
        /// the others open only. Then nothing replaces them but a change of the files, and a ticket can be used for
        /// `ticket_rotation`.
        ticket_keys: OneOrMany<Spanned<FilePath>> = "[]",
        /// Offer key exchange that withstands quantum computers (X25519MLKEM768) before the others.
        post_quantum: bool = "false",
        /// Cipher suites by IANA's names, in order of preference, which then counts before the client's. Without it,
        /// every suite with forward secrecy and authentication, in the client's order.
        cipher_suites: OneOrMany<Spanned<Words>> = "[]",
        /// How long a handshake may take; then the connection is closed. `0s` turns it off.
        handshake_timeout: Duration = "10s",
        /// Serve connections that don't begin with TLS as they are. Their first bytes tell.
        allow_plain: bool = "false",
    }
}

record! {
    /// A certificate with its key. The files are watched: a change is a reload, and open connections live on.
    pub struct Certificate as "certificate", "a certificate", "certificates";
    {
        /// PEM: the certificate, then those that lead to its authority.
        chain: Spanned<FilePath> = required,
        /// PEM: its private key, not encrypted.
        key: Spanned<FilePath> = required,
        /// DER: an OCSP response that is sent with the certificate.
        ocsp: Option<Spanned<FilePath>> = optional,
        /// Names that it is for, instead of those that it says itself.
        names: OneOrMany<Words> = "[]",
    }
}

record! {
    /// Whether clients show certificates, and whose.
    pub struct ClientAuth as "client_auth", "client authentication", "client authentications";
    {
        /// What a client without a certificate may do.
        mode: ClientAuthMode = "required",
        /// PEM: the authorities whose certificates count.
        ca: Spanned<FilePath> = required,
        /// PEM: their revocation lists. With any, a certificate that none covers is refused.
        crl: OneOrMany<Spanned<FilePath>> = "[]",
        /// Look for revocation of the client's own certificate alone, not of those above it.
        crl_only_leaf: bool = "false",
        /// A certificate must have one of these names. Without any, each does.
        sans: OneOrMany<Spanned<San>> = "[]",
        /// A certificate must also be one of these, by its SHA-256. Without any, each is.
        pinned: OneOrMany<Fingerprint> = "[]",
    }
}

record! {
    /// A subject alternative name. A `*` at the beginning or the end of it stands for anything.
    pub struct San as "san", "a subject alternative name", "subject alternative names";
    one_of ["dns", "uri", "email", "ip"];
    {
        /// A host name: `a.example.com`, `*.example.com`.
        dns: Option<SanText> = optional,
        /// A URI: `spiffe://example.com/web`, `spiffe://example.com/*`.
        uri: Option<SanText> = optional,
        /// An address of mail.
        email: Option<SanText> = optional,
        /// An IP address, which matches as a whole.
        ip: Option<SanText> = optional,
    }
}

record! {
    /// Endpoints speak TLS. `tls: {}` verifies them by the system's authorities.
    pub struct ClusterTls as "cluster_tls", "TLS of a cluster", "TLS of clusters";
    {
        /// The server name to ask for and to verify. Without it, the name or address of the endpoint. With `auto`, the
        /// host in the request's Host, as the endpoint gets it; connections are shared by requests for one host.
        sni: Option<Spanned<Sni>> = optional,
        /// PEM: the authorities whose certificates count. Without it, the system's.
        ca: Option<Spanned<FilePath>> = optional,
        /// PEM: their revocation lists. With any, a certificate that none covers is refused.
        crl: OneOrMany<Spanned<FilePath>> = "[]",
        /// Verify endpoints. Without, anybody on the way can be one.
        verify: bool = "true",
        /// An endpoint's certificate must have one of these names, in place of the one that is asked for.
        sans: OneOrMany<Spanned<San>> = "[]",
        /// An endpoint's certificate must also be one of these, by its SHA-256. With `verify: false` that alone counts.
        pinned: OneOrMany<Fingerprint> = "[]",
        /// Shown to endpoints that ask for a certificate.
        certificate: Option<ClientCertificate> = optional,
        /// The lowest version of TLS.
        min_version: Spanned<TlsVersion> = "'1.2'",
        /// The highest version of TLS.
        max_version: TlsVersion = "'1.3'",
        /// Resume sessions where an endpoint gives tickets.
        session_resumption: bool = "true",
        /// Offer key exchange that withstands quantum computers (X25519MLKEM768) before the others.
        post_quantum: bool = "false",
        /// Cipher suites by IANA's names, in order of preference. Without it, every suite with forward secrecy and
        /// authentication.
        cipher_suites: OneOrMany<Spanned<Words>> = "[]",
    }
}

record! {
    /// A certificate with its key, to show to endpoints.
    pub struct ClientCertificate as "client_certificate", "a client certificate", "client certificates";
    {
        /// PEM: the certificate, then those that lead to its authority.
        chain: Spanned<FilePath> = required,
        /// PEM: its private key, not encrypted.
        key: Spanned<FilePath> = required,
    }
}

record! {
    /// Where connections go whose client asks for one of these names.
    pub struct SniRoute as "sni_route", "a route by server name", "routes by server name";
    {
        /// The names. An exact one counts before the longest suffix, that before `*`.
        r#match: Spanned<OneOrMany<HostPattern>> = required,
        /// The cluster that the connections go to.
        cluster: Spanned<ClusterName> = required,
    }
}

choice! {
    /// A version of TLS.
    pub enum TlsVersion, "a version of TLS", "versions" {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
}

choice! {
    /// What a client without a certificate may do.
    pub enum ClientAuthMode, "a mode of client authentication", "modes" {
        /// Nothing: its handshake fails.
        Required = "required",
        /// Everything: only a certificate that is shown must be good.
        Optional = "optional",
    }
}

choice! {
    /// What becomes of `x-forwarded-client-cert`.
    pub enum ClientCertHeader, "a way to treat client certificates", "ways" {
        /// It is dropped.
        Sanitize = "sanitize",
        /// It is passed on if the client has shown a certificate.
        ForwardOnly = "forward_only",
        /// The same, with the client's own certificate appended.
        AppendForward = "append_forward",
        /// It is replaced by the client's own certificate.
        SanitizeSet = "sanitize_set",
        /// It is passed on, whoever sent it.
        AlwaysForwardOnly = "always_forward_only",
    }
}

choice! {
    /// A part of a client's certificate that endpoints are told. Its fingerprint always is.
    pub enum ClientCertDetail, "a part of a certificate", "parts" {
        /// The subject's name.
        Subject = "subject",
        /// URIs among its names.
        Uri = "uri",
        /// Host names among its names.
        Dns = "dns",
        /// The certificate itself.
        Cert = "cert",
        /// The certificate and those that were sent with it.
        Chain = "chain",
    }
}
