//! Starting the cores, and the control thread's hold on them.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use runtime::counters::Page;
use runtime::mailbox::{self, Receiver, Sender};
use runtime::{Bell, DriverChoice, Options, Prepared};

use crate::control::{Ack, Cores};
use crate::core::{self, HandOver, Message, Parts};
use crate::log::Sink;
use crate::overload::Actions;
use crate::snapshot::Snapshot;
use crate::stats::Block;

/// Messages that a core may have waiting from the control thread.
const MESSAGES_MAX: usize = 64;
/// Fresh connections on their way from one core to another.
const HAND_OVERS_MAX: usize = 256;

/// How to run the cores.
pub struct Plan {
    /// A processor for each core, to pin it to; `None` leaves it floating.
    pub cpus: Vec<Option<usize>>,
    pub driver: DriverChoice,
    /// Restrict an io_uring to what is used of it.
    pub restrict_ring: bool,
}

/// All cores, from the outside.
pub struct Lanes {
    senders: Vec<Sender<Message>>,
    /// The last beat that each core was sent, from 1, and when.
    beats: Vec<(u64, Instant)>,
    /// The last beat that each core has answered.
    answered: Arc<Page>,
}

impl Lanes {
    /// Starts a thread a core; none has a snapshot yet. `sockets`: for each core those to listen with; may be short.
    ///
    /// # Errors
    /// No descriptors, or no threads, to be had.
    pub fn start(
        plan: &Plan,
        server: &Arc<Block>,
        sinks: Vec<Sink>,
        sockets: Vec<Vec<Prepared>>,
    ) -> io::Result<(Lanes, Threads)> {
        let cores = plan.cpus.len();
        let bells = (0..cores).map(|_| Bell::new()).collect::<io::Result<Vec<Bell>>>()?;
        let (lanes, parts) = Lanes::prepare(&bells, server, sinks);
        let mut threads = Threads(Vec::new());
        let mut sockets = sockets.into_iter();
        for (id, (bell, mut parts)) in bells.into_iter().zip(parts).enumerate() {
            parts.sockets = sockets.next().unwrap_or_default();
            let (driver, cpu, restrict_ring) = (plan.driver, plan.cpus[id], plan.restrict_ring);
            let options = Options { id, driver, cpu, restrict_ring, ..Options::default() };
            let thread = std::thread::Builder::new().name(format!("core-{id}"));
            let thread = thread.spawn(move || runtime::run(&options, &bell, |core| core::run(core, parts)))?;
            threads.0.push(thread);
        }
        Ok((lanes, threads))
    }

    /// What each core needs to start, by whoever runs them: one for each bell, in order.
    pub fn prepare(bells: &[Bell], server: &Arc<Block>, sinks: Vec<Sink>) -> (Lanes, Vec<Parts>) {
        let cores = bells.len();
        let adopted = Page::new(cores, cores);
        let Mesh { incoming, outgoing } = Mesh::new(bells);
        let answered = Page::new(cores, 1);
        let beats = vec![(0, Instant::now()); cores];
        let mut lanes = Lanes { senders: Vec::new(), beats, answered: answered.clone() };
        let mut all = Vec::new();
        for (((bell, log), incoming), outgoing) in bells.iter().zip(sinks).zip(incoming).zip(outgoing) {
            let (sender, messages) = mailbox::channel(bell, MESSAGES_MAX);
            lanes.senders.push(sender);
            let (adopted, answered, server_stats) = (adopted.clone(), answered.clone(), server.clone());
            let sockets = Vec::new();
            all.push(Parts { cores, messages, incoming, outgoing, adopted, answered, server_stats, log, sockets });
        }
        (lanes, all)
    }
}

impl Cores for Lanes {
    fn count(&self) -> usize {
        self.senders.len()
    }

    fn publish(&mut self, snapshot: &Arc<Snapshot>, acks: Vec<Ack>) {
        for (core, ack) in acks.into_iter().enumerate() {
            self.publish_to(core, snapshot, ack);
        }
    }

    fn drain(&mut self, timeout: Duration, acks: Vec<Ack>) {
        let timeout_ms = timeout.as_millis() as u64;
        for (core, ack) in acks.into_iter().enumerate() {
            self.tell(core, Message::Drain { timeout_ms, ack });
        }
    }

    fn beat(&mut self, actions: Actions) {
        for (core, (sender, (number, sent))) in self.senders.iter_mut().zip(&mut self.beats).enumerate() {
            let owes = self.answered.get(core, 0) < *number;
            if !owes && sender.send(Message::Beat { number: *number + 1, actions }).is_ok() {
                (*number, *sent) = (*number + 1, Instant::now());
            }
        }
    }

    fn late(&self) -> Vec<Duration> {
        let owed = |(core, (number, sent)): (usize, &(u64, Instant))| match self.answered.get(core, 0) < *number {
            true => sent.elapsed(),
            false => Duration::ZERO,
        };
        self.beats.iter().enumerate().map(owed).collect()
    }

    fn stop(&mut self) {
        // A core whose mailbox is full ends when its sender goes.
        for mut sender in self.senders.drain(..) {
            let _ = sender.send(Message::Stop);
        }
    }
}

impl Lanes {
    /// Gives a snapshot to one core; to all, one after the other, is what `publish` does.
    pub fn publish_to(&mut self, core: usize, snapshot: &Arc<Snapshot>, ack: Ack) {
        self.tell(core, Message::Snapshot(snapshot.clone(), ack));
    }

    fn tell(&mut self, core: usize, message: Message) {
        if let Some(sender) = self.senders.get_mut(core) {
            // A message that doesn't fit is dropped, and its acknowledgement with it: that counts as a failure.
            let _ = sender.send(message);
        }
    }
}

/// The cores' threads.
pub struct Threads(Vec<JoinHandle<io::Result<()>>>);

impl Threads {
    /// Waits for the threads.
    ///
    /// # Errors
    /// The first that a core ended with.
    pub fn join(self) -> io::Result<()> {
        for thread in self.0 {
            thread.join().map_err(|_| io::Error::other("a core panicked"))??;
        }
        Ok(())
    }
}

/// Mailboxes between every two cores.
struct Mesh {
    incoming: Vec<Vec<Option<Receiver<HandOver>>>>,
    outgoing: Vec<Vec<Option<Sender<HandOver>>>>,
}

impl Mesh {
    fn new(bells: &[Bell]) -> Mesh {
        let cores = bells.len();
        let empty = |_| (0..cores).map(|_| None).collect::<Vec<_>>();
        let mut mesh = Mesh {
            incoming: (0..cores).map(empty).collect(),
            outgoing: (0..cores).map(|_| (0..cores).map(|_| None).collect()).collect(),
        };
        for from in 0..cores {
            for to in (0..cores).filter(|to| *to != from) {
                let (sender, receiver) = mailbox::channel(&bells[to], HAND_OVERS_MAX);
                mesh.outgoing[from][to] = Some(sender);
                mesh.incoming[to][from] = Some(receiver);
            }
        }
        mesh
    }
}
