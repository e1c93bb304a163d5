//! The cores as the control thread sees them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::overload::Actions;
use crate::snapshot::Snapshot;

/// What the control thread can ask of the cores. Whoever starts the cores implements it on their mailboxes; no call may
/// block. Every `Vec<Ack>` has one acknowledgement for each core, in the order of the cores.
pub trait Cores: Send + 'static {
    /// How many there are.
    fn count(&self) -> usize;

    /// Sends a snapshot to every core. A core acknowledges when it serves by it; it fails the acknowledgement when it
    /// could not take over a part of it (a listener that doesn't bind), and serves by the rest.
    fn publish(&mut self, snapshot: &Arc<Snapshot>, acks: Vec<Ack>);

    /// Accept no more; answer what is under way, with `Connection: close`; close what is idle. A core acknowledges when
    /// its last client connection is gone, or when `timeout` has passed and it has cut off the rest.
    fn drain(&mut self, timeout: Duration, acks: Vec<Ack>);

    /// Tells the cores what is done about overload, which each answers when it gets round. A core that owes an answer is
    /// sent nothing more.
    fn beat(&mut self, actions: Actions);

    /// How long each core has owed an answer to a beat.
    fn late(&self) -> Vec<Duration>;

    /// End every core's loop now.
    fn stop(&mut self);
}

/// One core's answer to one order. Dropped without an answer it counts as a failure.
pub struct Ack {
    core: usize,
    answers: Option<mpsc::UnboundedSender<Answer>>,
}

/// A core's number, and what went wrong, a sentence.
type Answer = (usize, Result<(), String>);

impl Ack {
    pub fn done(self) {
        self.answer(Ok(()));
    }

    /// `why` is a sentence for the operator.
    pub fn failed(self, why: &str) {
        let core = self.core;
        self.answer(Err(format!("core {core}: {why}")));
    }

    fn answer(mut self, answer: Result<(), String>) {
        if let Some(answers) = self.answers.take() {
            // Whoever asked may have given up.
            let _ = answers.send((self.core, answer));
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(answers) = self.answers.take() {
            let _ = answers.send((self.core, Err(format!("core {} gave no answer", self.core))));
        }
    }
}

/// The other end of a set of acknowledgements.
pub struct Answers {
    answers: mpsc::UnboundedReceiver<Answer>,
    /// Cores that have not answered.
    missing: Vec<usize>,
    wrong: Vec<String>,
}

/// A set of acknowledgements, one for each core in order, and their other end.
pub fn acks(cores: usize) -> (Vec<Ack>, Answers) {
    let (sender, answers) = mpsc::unbounded_channel();
    let acks = (0..cores).map(|core| Ack { core, answers: Some(sender.clone()) }).collect();
    (acks, Answers { answers, missing: (0..cores).collect(), wrong: Vec::new() })
}

impl Answers {
    /// What there is, without waiting: `None` until every core has answered, then what went wrong, one sentence a core.
    pub fn try_all(&mut self) -> Option<Vec<String>> {
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer);
        }
        self.missing.is_empty().then(|| std::mem::take(&mut self.wrong))
    }

    /// Waits for every core.
    ///
    /// # Errors
    /// What went wrong, one sentence a core, when all have answered or the time is over.
    pub(super) async fn all(mut self, timeout: Duration) -> Result<(), Vec<String>> {
        let deadline = tokio::time::Instant::now() + timeout;
        while !self.missing.is_empty() {
            match tokio::time::timeout_at(deadline, self.answers.recv()).await {
                Ok(Some(answer)) => self.take(answer),
                Ok(None) => break,
                Err(_) => {
                    let late = self.missing.iter().map(|core| format!("core {core} gave no answer within {timeout:?}"));
                    self.wrong.extend(late);
                    break;
                }
            }
        }
        if self.wrong.is_empty() { Ok(()) } else { Err(self.wrong) }
    }

    fn take(&mut self, (core, answer): Answer) {
        self.missing.retain(|missing| *missing != core);
        self.wrong.extend(answer.err());
    }
}
