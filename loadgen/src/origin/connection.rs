//! What a new connection speaks: TLS first if there is a certificate, then HTTP/1.1 or HTTP/2, by ALPN or by the preface.

use std::future::poll_fn;
use std::rc::Rc;

use codecs::Status;
use codecs::http::h2::is_preface;
use runtime::Socket;

use super::serve::Origin;
use super::{h2, serve};
use crate::transport::{Input, Transport};

/// Serves a connection until it ends.
pub(super) async fn serve(origin: Rc<Origin>, socket: Socket) {
    let transport = match &origin.tls {
        None => Transport::plain(socket),
        Some(config) => {
            let Ok(transport) = Transport::server(&origin.core, socket, config) else { return };
            // What was wrong has been said in an alert.
            if poll_fn(|_| transport.poll_handshake()).await.is_err() {
                return transport.close_lingering();
            }
            transport
        }
    };
    if transport.is_h2() {
        return h2::serve(&origin, transport).await;
    }
    match begins_with_preface(&origin, &transport).await {
        Some(true) => h2::serve(&origin, transport).await,
        Some(false) => serve::serve(origin, transport).await,
        None => {}
    }
}

/// Whether HTTP/2 is what the client begins with; the bytes stay. `None`: there were none.
async fn begins_with_preface(origin: &Origin, transport: &Transport) -> Option<bool> {
    let Input::Data(first) = transport.recv().await else { return None };
    if let Status::Complete(answer) = is_preface(&first) {
        transport.unrecv(first);
        return Some(answer);
    }
    let mut received = first.to_vec();
    drop(first);
    loop {
        let Input::Data(more) = transport.recv().await else { return None };
        received.extend_from_slice(&more);
        if let Status::Complete(answer) = is_preface(&received) {
            transport.unrecv(origin.core.own(received.into_boxed_slice()));
            return Some(answer);
        }
    }
}
