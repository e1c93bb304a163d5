//! Which subject alternative names are allowed.

use super::CertificateFacts;
use core::net::IpAddr;

/// Which kind of name (RFC 5280, section 4.2.1.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SanKind {
    Dns,
    Uri,
    Email,
    Ip,
}

/// What a name must be like.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SanPattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
}

/// Matches names of one kind. DNS names are compared without regard to case; a certificate's wildcard matches as one
/// label does (`*.example.com` in it satisfies an exact `a.example.com`). Addresses match exactly, however written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SanMatcher {
    pub kind: SanKind,
    pub pattern: SanPattern,
}

impl SanMatcher {
    /// What is wrong with the matcher, if anything: it could never match.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        match (self.kind, &self.pattern) {
            (_, SanPattern::Exact(text) | SanPattern::Prefix(text) | SanPattern::Suffix(text)) if text.is_empty() => {
                Some("an empty name")
            }
            (SanKind::Ip, SanPattern::Exact(text)) if text.parse::<IpAddr>().is_err() => Some("not an IP address"),
            (SanKind::Ip, SanPattern::Prefix(_) | SanPattern::Suffix(_)) => Some("addresses match exactly only"),
            _ => None,
        }
    }

    /// Whether one of the certificate's names matches.
    #[must_use]
    pub fn matches(&self, facts: &CertificateFacts) -> bool {
        match self.kind {
            SanKind::Dns => facts.dns.iter().any(|name| self.matches_dns(name)),
            SanKind::Uri => facts.uris.iter().any(|name| self.matches_text(name)),
            SanKind::Email => facts.emails.iter().any(|name| self.matches_text(name)),
            SanKind::Ip => match &self.pattern {
                SanPattern::Exact(text) => text.parse::<IpAddr>().is_ok_and(|address| facts.ips.contains(&address)),
                SanPattern::Prefix(_) | SanPattern::Suffix(_) => false,
            },
        }
    }

    fn matches_text(&self, name: &str) -> bool {
        match &self.pattern {
            SanPattern::Exact(text) => name == text,
            SanPattern::Prefix(text) => name.starts_with(text.as_str()),
            SanPattern::Suffix(text) => name.ends_with(text.as_str()),
        }
    }

    fn matches_dns(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match &self.pattern {
            SanPattern::Exact(text) => {
                let text = text.to_ascii_lowercase();
                let parent = || text.split_once('.').map(|(_, parent)| parent);
                name == text || name.strip_prefix("*.").is_some_and(|suffix| parent() == Some(suffix))
            }
            SanPattern::Prefix(text) => name.starts_with(&text.to_ascii_lowercase()),
            SanPattern::Suffix(text) => name.ends_with(&text.to_ascii_lowercase()),
        }
    }
}
