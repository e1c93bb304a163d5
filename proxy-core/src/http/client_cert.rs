//! `x-forwarded-client-cert`: what an endpoint hears of the client's certificate, and from whom.

use codecs::http::h1::emit;
use codecs::http::{FieldId, FieldSet, RequestHead};

use crate::listener::{Config, Downstream};
use crate::snapshot::{ClientCert, Forwarding};

/// Fields of the request that don't go on.
pub(super) fn dropped(downstream: &Downstream, forwarding: &Forwarding) -> FieldSet {
    let shown = downstream.socket.tls().is_some_and(|facts| facts.peer.is_some());
    match forwarding.client_cert {
        ClientCert::AlwaysForwardOnly => FieldSet::EMPTY,
        ClientCert::ForwardOnly if shown => FieldSet::EMPTY,
        // What came is written anew, with the client's own behind it.
        ClientCert::AppendForward | ClientCert::ForwardOnly | ClientCert::Sanitize | ClientCert::SanitizeSet => {
            FieldSet::of(&[FieldId::XForwardedClientCert])
        }
    }
}

/// Appends the field that tells of the client's certificate, if it has shown one and the config wants it told.
pub(super) fn emit_field(
    out: &mut Vec<u8>,
    downstream: &Downstream,
    config: &Config,
    forwarding: &Forwarding,
    head: &RequestHead,
    input: &[u8],
) {
    if !matches!(forwarding.client_cert, ClientCert::AppendForward | ClientCert::SanitizeSet) {
        return;
    }
    let Some(peer) = downstream.socket.tls().and_then(|facts| facts.peer.as_deref()) else { return };
    let from = out.len();
    out.extend_from_slice(b"x-forwarded-client-cert: ");
    if forwarding.client_cert == ClientCert::AppendForward {
        for field in head.fields.iter().filter(|field| field.id == FieldId::XForwardedClientCert) {
            out.extend_from_slice(field.value.of(input));
            out.push(b',');
        }
    }
    let told = peer.with_element(own_uris(config), forwarding.client_cert_details, |element| {
        out.extend_from_slice(element.as_bytes());
    });
    match told {
        true => emit_line_end(out),
        false => out.truncate(from),
    }
}

fn emit_line_end(out: &mut Vec<u8>) {
    // The end of a head and that of a line are the same bytes.
    emit::end_of_head(out);
}

/// The URIs of the certificate that we have shown, where there is only one that it can have been.
fn own_uris(config: &Config) -> &[String] {
    match config.listener.tls.as_ref().map(|tls| tls.config.certificates()) {
        Some([only]) => &only.uris,
        _ => &[],
    }
}
