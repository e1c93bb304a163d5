//! From the first signal to the last connection: draining and stopping.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::cores::acks;
use super::{ServerState, Shared};

/// Added to the drain's own timeout: cores cut off what is left by themselves and then answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// SIGTERM, SIGINT: drain, then end; a second one ends at once.
    Terminate,
    /// `/drain_listeners`.
    Drain { exit: bool },
    /// `/quitquitquit`.
    Quit,
}

/// Carries out orders until the process shall end, then stops the cores.
pub(super) async fn run(shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut exit = false;
    let mut terminated = false;
    let mut told = false;
    let (drained, mut all_drained) = mpsc::unbounded_channel();
    let mut draining = false;
    let mut empty = false;
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            Some(()) = all_drained.recv() => {
                tracing::info!("drained");
                empty = true;
                None
            }
        };
        let ends = matches!(order, Some(Order::Terminate | Order::Quit | Order::Drain { exit: true }));
        if ends && !std::mem::replace(&mut told, true) {
            shared.tell_stopping();
        }
        match order {
            Some(Order::Quit) => {
                tracing::info!("stopping at once, as asked");
                break;
            }
            Some(Order::Terminate) if std::mem::replace(&mut terminated, true) => {
                tracing::warn!("stopping at once: the second signal to stop");
                break;
            }
            Some(Order::Terminate) => exit = true,
            Some(Order::Drain { exit: then_exit }) => exit |= then_exit,
            None => {}
        }
        if order.is_some() && !std::mem::replace(&mut draining, true) {
            if !exit {
                shared.tell_draining();
            }
            drain(&shared, drained.clone());
        }
        if empty && exit {
            break;
        }
    }
    shared.cores().stop();
}

fn drain(shared: &Arc<Shared>, drained: mpsc::UnboundedSender<()>) {
    let timeout = shared.drain_timeout();
    tracing::info!(?timeout, "draining: no new connections, those there are end with their next response");
    shared.set_state(ServerState::Draining);
    let mut cores = shared.cores();
    let (acks, answers) = acks(cores.count());
    cores.drain(timeout, acks);
    drop(cores);
    tokio::spawn(async move {
        if let Err(wrong) = answers.all(timeout + ANSWER_TIMEOUT).await {
            wrong.iter().for_each(|why| tracing::warn!("drain: {why}"));
        }
        let _ = drained.send(());
    });
}
