//! The other end of a TCP session.

use runtime::{Received, Socket};

use super::drained;
use super::tunnel::Hearing;
use crate::stage::Stage;

pub(crate) async fn serve(mut stage: Stage, mut socket: Socket) {
    converse(&mut stage, &mut socket).await;
}

/// One session, on a connection that is one or has become one.
pub(crate) async fn converse(stage: &mut Stage, socket: &mut Socket) {
    let mut hearing = Hearing::default();
    loop {
        match socket.recv().await {
            Received::Data(slice) if hearing.take(&slice, stage) => {}
            Received::End => break,
            Received::Data(_) | Received::Failed(_) => return,
        }
        let pause_ms = stage.pause_ms();
        if pause_ms > 0 {
            stage.core.sleep_ms(pause_ms).await;
        }
    }
    let Some((body, breaks_off)) = hearing.answer(stage) else { return };
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
    if breaks_off {
        socket.reset_when_dropped();
    }
}
