//! The origin at the end: it remembers every request that comes whole, and answers with what it took it for.

use crate::harness::{Message, Origin, Peer, ok};

/// What the answer to a request says, so that an answer that reaches the wrong request shows.
pub(crate) fn answer(method: &str, target: &str, body: &[u8]) -> String {
    format!("{method} {target} with {} bytes", body.len())
}

/// By the request's target: `early` is answered before its body is read, `upgrade` switches protocols and echoes.
pub(crate) fn start() -> Origin {
    Origin::new(|mut peer| while serve(&mut peer).is_some() {})
}

fn method(message: &Message) -> &str {
    message.start.split(' ').next().unwrap_or_default()
}

fn serve(peer: &mut Peer) -> Option<()> {
    let mut message = peer.wire.head().ok()?;
    let early = message.target().contains("early");
    if early {
        peer.wire.send(ok(answer(method(&message), message.target(), b""))).then_some(())?;
    } else if message.all("expect") == ["100-continue"] {
        peer.wire.send("HTTP/1.1 100 Continue\r\n\r\n").then_some(())?;
    }
    peer.wire.framed(&mut message).ok()?;
    peer.remember(message.clone());
    if early {
        return Some(());
    }
    if message.target().contains("upgrade") && message.field("upgrade").is_some() {
        // The answer to the key of the example in RFC 6455 1.3.
        peer.wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
        loop {
            let byte = peer.wire.exactly(1).ok()?;
            peer.wire.send(byte).then_some(())?;
        }
    }
    let mut response = ok(answer(method(&message), message.target(), &message.body));
    if method(&message) == "HEAD" {
        let end = response.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        response.truncate(end);
    }
    peer.wire.send(response).then_some(())
}
