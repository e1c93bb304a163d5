//! The other end of a TCP session.

use runtime::{Received, Socket};

use super::drained;
use crate::client::tcp::{HEAD_BYTES, Talk};
use crate::pattern;
use crate::stage::Stage;

pub(crate) async fn serve(mut stage: Stage, socket: Socket) {
    converse(&mut stage, &socket).await;
}

/// One session, on a connection that is one or has become one.
pub(crate) async fn converse(stage: &mut Stage, socket: &Socket) {
    let mut head = Vec::new();
    let mut talk = None;
    let mut got = 0;
    loop {
        let slice = match socket.recv().await {
            Received::Data(slice) => slice,
            Received::End => break,
            Received::Failed(_) => return,
        };
        let mut bytes = &slice[..];
        if talk.is_none() {
            let n = bytes.len().min(HEAD_BYTES - head.len());
            head.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            talk = Talk::of_head(&head);
        }
        let Some(talk) = talk else { continue };
        if let Err(what) = pattern::check(talk.id, got, bytes) {
            return stage.ledger.violation(format!("at the origin: {what}"));
        }
        got += bytes.len() as u64;
        let pause_ms = stage.pause_ms();
        if pause_ms > 0 {
            stage.core.sleep_ms(pause_ms).await;
        }
    }
    let Some(talk) = talk.filter(|talk| talk.up == got) else {
        // What broke off must not look whole.
        return stage.ledger.violation(format!("{got} bytes of {talk:?} and an orderly end, at the origin"));
    };
    let mut body = Vec::new();
    pattern::fill(&mut body, !talk.id, 0, talk.down);
    let mut rest = &body[..];
    while !rest.is_empty() {
        let n = stage.random.size(rest.len() as u64) as usize;
        socket.send(&rest[..n]);
        rest = &rest[n..];
        let pause_ms = stage.pause_ms();
        if pause_ms > 0 {
            stage.core.sleep_ms(pause_ms).await;
        }
        if !drained(socket).await {
            return;
        }
    }
}
