//! One core's part of a run: its connections' shared state, the start, the pace and the end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;

use codecs::http::h2::Message;
use codecs::tls::ClientConfig;
use runtime::counters::Page;
use runtime::mailbox::Receiver;
use runtime::{Core, Slice, Timer, yield_now};

use super::failure::Failed;
use super::job::Exchange;
use super::plan::Plan;
use super::response::Answer;
use super::schedule::{Bounds, Pace, Schedule, Ticket};
use super::tally::Tally;
use super::{connection, h2, websocket};
use crate::transport::Transport;
use crate::ws;

/// Without --spin requests start on the grid of the runtime's timers.
const GRID_US: u64 = 1000;

/// Cells of the page that the progress line reads.
pub(crate) mod cell {
    pub(crate) const RESPONSES: usize = 0;
    pub(crate) const FAILURES: usize = 1;
    pub(crate) const BYTES: usize = 2;
    pub(crate) const COUNT: usize = 3;
}

/// What happens to a run, for the main thread.
pub(crate) enum Event {
    /// All connections of a core are open, or have failed to.
    Ready,
    /// A core has finished.
    Done(Box<Outcome>),
    /// A core couldn't run.
    Broken(String),
    Interrupted,
}

/// A core's result; times are of the monotonic clock, which all cores share.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// What was measured began and ended here, µs; `None` if it never began.
    pub(crate) window_us: Option<(u64, u64)>,
}

/// What the main thread tells a core.
pub(crate) enum Command {
    /// All cores are ready.
    Begin,
    /// What is under way is abandoned.
    Stop,
}

pub(crate) struct Lane {
    pub(crate) core: Core,
    pub(crate) plan: Arc<Plan>,
    pub(crate) schedule: Schedule,
    /// The request (HTTP/2: its body; WebSocket: the message as a frame), held once for all connections.
    pub(crate) request: Slice,
    /// TLS with sessions of this core's own.
    pub(crate) tls: Option<ClientConfig>,
    /// Where heads of HTTP/2 are decoded to; used up at once.
    pub(crate) message: RefCell<Message>,
    tally: RefCell<Tally>,
    page: Arc<Page>,
    events: mpsc::Sender<Event>,
    /// Connections that have not tried to connect yet.
    unready: Cell<usize>,
    /// Connections that may still send.
    running: Cell<usize>,
    /// Measured requests under way.
    in_flight: Cell<u64>,
}

/// A core's main task.
pub(crate) async fn run(
    core: Core,
    plan: Arc<Plan>,
    page: Arc<Page>,
    events: mpsc::Sender<Event>,
    mut commands: Receiver<Command>,
) {
    let share = plan.shares[core.id()];
    let bounds = Bounds { warmup_us: plan.warmup_us, duration_us: plan.duration_us, requests: share.requests };
    let request = match plan.exchange.is_websocket() {
        true => ws::message(&plan.message),
        false => plan.request.clone(),
    };
    let lane = Rc::new(Lane {
        schedule: Schedule::new(pace(&plan, core.id()), bounds, share.connections),
        request: core.own(request.into_boxed_slice()),
        tls: plan.tls.as_ref().map(|(config, _)| config.for_core()),
        message: RefCell::default(),
        tally: RefCell::new(Tally::new()),
        unready: Cell::new(share.connections),
        running: Cell::new(share.connections),
        in_flight: Cell::new(0),
        core,
        plan,
        page,
        events,
    });
    for index in 0..share.connections {
        match lane.plan.exchange {
            Exchange::Http1 => lane.core.spawn(connection::run(lane.clone(), index)),
            Exchange::WebSocket => lane.core.spawn(websocket::run(lane.clone(), index)),
            Exchange::Http2 | Exchange::Grpc | Exchange::WebSocketH2 => lane.core.spawn(h2::run(lane.clone(), index)),
        }
    }
    while let Some(command) = commands.recv(&lane.core).await {
        match command {
            Command::Begin => lane.begin(),
            Command::Stop => return lane.finish(),
        }
    }
}

/// The cores take turns, so that together they keep the interval of the whole.
fn pace(plan: &Plan, core: usize) -> Pace {
    match plan.rate {
        None => Pace::Closed,
        Some(rate) => {
            let interval_us = 1e6 / rate;
            Pace::Open {
                interval_us: interval_us * plan.shares.len() as f64,
                offset_us: interval_us * core as f64,
                grid_us: if plan.spin { 1 } else { GRID_US },
            }
        }
    }
}

impl Lane {
    /// A connection has been opened, or has failed to; the run begins once all have.
    pub(crate) fn ready(&self) {
        self.unready.set(self.unready.get() - 1);
        if self.unready.get() == 0 {
            let _ = self.events.send(Event::Ready);
        }
    }

    fn begin(self: &Rc<Lane>) {
        self.schedule.begin(self.core.now_us());
        if self.plan.rate.is_some() {
            self.core.spawn(pacer(self.clone()));
        }
    }

    pub(crate) fn connected(&self, transport: &Transport) {
        let mut tally = self.tally.borrow_mut();
        tally.connects += 1;
        if let Some(negotiated) = transport.negotiated() {
            tally.handshakes += 1;
            tally.resumed += u64::from(negotiated.resumed);
            tally.tls.get_or_insert((negotiated.version.as_str(), negotiated.cipher_suite));
        }
    }

    pub(crate) fn started(&self, ticket: Ticket) {
        self.in_flight.set(self.in_flight.get() + u64::from(ticket.measured));
    }

    pub(crate) fn answered(&self, ticket: Ticket, answer: &Answer) {
        self.in_flight.set(self.in_flight.get() - u64::from(ticket.measured));
        let mut tally = self.tally.borrow_mut();
        tally.answered(ticket, answer, self.core.now_us(), self.schedule.end_us());
        self.page.add(self.core.id(), cell::RESPONSES, 1);
        self.page.add(self.core.id(), cell::BYTES, answer.bytes);
    }

    pub(crate) fn failed(&self, ticket: Ticket, failed: &Failed) {
        self.in_flight.set(self.in_flight.get() - u64::from(ticket.measured));
        self.tally.borrow_mut().failed(ticket, failed, self.core.now_us());
        self.page.add(self.core.id(), cell::FAILURES, 1);
    }

    /// A connection has nothing more to send.
    pub(crate) fn ended(&self) {
        self.running.set(self.running.get() - 1);
        if self.running.get() == 0 {
            self.finish();
        }
    }

    /// Hands over the result and stops the core.
    fn finish(&self) {
        let now_us = self.core.now_us();
        let mut tally = self.tally.replace(Tally::new());
        let (from_us, end_us) = (self.schedule.measured_from_us(), self.schedule.end_us());
        let done = self.running.get() == 0;
        tally.unfinished = self.in_flight.get() + if done { 0 } else { self.schedule.waiting(now_us) };
        let end_us = if done && self.schedule.is_exhausted() { end_us.min(tally.last_us) } else { end_us.min(now_us) };
        let window_us = (from_us < end_us).then_some((from_us, end_us));
        // Without a receiver the process is on its way out already.
        let _ = self.events.send(Event::Done(Box::new(Outcome { tally, window_us })));
        self.core.stop();
    }
}

/// Gives tickets to idle connections as they fall due.
async fn pacer(lane: Rc<Lane>) {
    let timer = lane.core.timer();
    while let Some(due_us) = lane.schedule.hand_out(lane.core.now_us()) {
        let due_ms = due_us / 1000;
        if due_ms > lane.core.now_ms() {
            sleep_until(&timer, due_ms).await;
        } else {
            yield_now().await;
        }
    }
}

async fn sleep_until(timer: &Timer, deadline_ms: u64) {
    timer.set(deadline_ms);
    std::future::poll_fn(|_| if timer.expired() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }).await;
}
