//! Origins: they check what arrives, and do what the path says.

mod call;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod tcp;
mod tunnel;
mod unasked;

use std::net::SocketAddr;

use runtime::Socket;

use crate::stage::Stage;

/// What an origin speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    Tcp,
}

/// Accepts for ever.
pub(crate) async fn listen(mut stage: Stage, address: SocketAddr, speaks: Speaks) {
    let listener = match stage.core.listen(address, 64) {
        Ok(listener) => listener,
        Err(error) => return stage.ledger.violation(format!("an origin can't listen on {address}: {error}")),
    };
    loop {
        // A failure passes.
        let Ok(accepted) = listener.accept().await else { continue };
        let socket = stage.core.adopt(accepted);
        let own = stage.fork();
        match speaks {
            Speaks::Http1 => stage.core.spawn(http1::serve(own, socket)),
            Speaks::Http2 => stage.core.spawn(http2::serve(own, socket)),
            Speaks::Tcp => stage.core.spawn(tcp::serve(own, socket)),
        }
    }
}

/// Waits until little is queued; false: the connection has failed.
async fn drained(socket: &Socket) -> bool {
    socket.drained(16 * 1024).await.is_ok()
}
