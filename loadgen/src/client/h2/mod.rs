//! One connection of HTTP/2 and the requests that share it: `session` and `receive` are the connection, this the task that
//! gives it tickets, times requests out and connects anew.

mod flight;
mod receive;
mod session;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use runtime::Timer;

use super::connect::{self, AHEAD_TIMEOUT_MS, Retry};
use super::failure::{Failed, Failure};
use super::lane::Lane;
use super::schedule::Ticket;
use session::Session;

struct Task {
    lane: Rc<Lane>,
    index: usize,
    session: Option<Session>,
    /// Tickets whose requests have no stream yet, the oldest first.
    waiting: VecDeque<Ticket>,
    /// Expires no later than the first request.
    timer: Timer,
    armed: bool,
    /// There are no more tickets.
    over: bool,
    retry: Retry,
}

/// How it ends with a connection.
enum Ending {
    /// Every request has been answered.
    Over,
    /// It takes no more requests, and none is under way.
    Closed,
    Failed(Failed),
}

/// Sends requests on one connection after the other until the schedule has no more.
pub(crate) async fn run(lane: Rc<Lane>, index: usize) {
    let mut task = Task {
        index,
        session: None,
        waiting: VecDeque::new(),
        timer: lane.core.timer(),
        armed: false,
        over: false,
        retry: Retry::default(),
        lane: lane.clone(),
    };
    if !lane.plan.new_connections {
        task.open_ahead().await;
    }
    lane.ready();
    while task.session.is_some() || task.reconnect().await {
        match poll_fn(|context| task.step(context)).await {
            Ending::Over => break,
            Ending::Closed => task.close(),
            Ending::Failed(failed) => {
                if let Some(mut session) = task.session.take() {
                    session.fail_all(&failed);
                }
                task.retry.failed(&lane, &failed).await;
            }
        }
    }
    task.close();
    lane.ended();
}

impl Task {
    /// Connects before the run begins, so that its first latencies aren't those of connecting. A failure is tried again,
    /// and counted, with the first request.
    async fn open_ahead(&mut self) {
        let timeout_ms = AHEAD_TIMEOUT_MS.min(self.lane.plan.timeout_us.div_ceil(1000));
        self.timer.set(self.lane.core.now_ms() + timeout_ms);
        self.session = self.connect().await.ok();
    }

    /// Connects for the next ticket; false when there is none.
    async fn reconnect(&mut self) -> bool {
        let lane = self.lane.clone();
        loop {
            self.expire_waiting();
            if self.waiting.is_empty() {
                let next = poll_fn(|context| lane.schedule.poll_ticket(self.index, lane.core.now_us(), context)).await;
                let Some(ticket) = next else { return false };
                lane.started(ticket);
                self.waiting.push_back(ticket);
                continue;
            }
            self.armed = false;
            self.timer.set(self.deadline_us(self.waiting[0]).div_ceil(1000));
            match self.connect().await {
                Ok(session) => {
                    self.session = Some(session);
                    self.retry.succeeded();
                    return true;
                }
                Err(failed) => {
                    self.waiting.drain(..).for_each(|ticket| lane.failed(ticket, &failed));
                    self.retry.failed(&lane, &failed).await;
                }
            }
        }
    }

    /// A connection that is ready for requests, before the timer expires.
    async fn connect(&self) -> Result<Session, Failed> {
        let transport = connect::connect(&self.lane, &self.timer).await?;
        let mut session = Session::new(self.lane.clone(), transport);
        poll_fn(|_| {
            let is_open = match session.receive() {
                Ok(is_open) => is_open,
                Err(failed) => return Poll::Ready(Err(failed)),
            };
            let is_ready = session.prepare();
            session.flush();
            match is_ready {
                Err(failed) => Poll::Ready(Err(failed)),
                Ok(_) if !is_open => Poll::Ready(Err(Failure::ClosedEarly.into())),
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) if self.timer.expired() => Poll::Ready(Err(Failure::Timeout.into())),
                Ok(false) => Poll::Pending,
            }
        })
        .await?;
        Ok(session)
    }

    /// Takes what has come, sends what there is to send.
    fn step(&mut self, context: &Context<'_>) -> Poll<Ending> {
        let Some(session) = &mut self.session else { return Poll::Ready(Ending::Closed) };
        let is_open = match session.receive() {
            Ok(is_open) => is_open,
            Err(failed) => return Poll::Ready(Ending::Failed(failed)),
        };
        while let Some(ticket) = session.take_unprocessed() {
            self.waiting.push_front(ticket);
        }
        if self.armed && self.timer.expired() {
            self.armed = false;
            let (now_us, timeout_us) = (self.lane.core.now_us(), self.lane.plan.timeout_us);
            session.expire(|ticket| ticket.due_us + timeout_us <= now_us);
            self.expire_waiting();
        }
        if is_open {
            self.fill(context);
        }
        self.arm();
        let Some(session) = &mut self.session else { return Poll::Ready(Ending::Closed) };
        session.pump();
        session.flush();
        let spent = session.is_draining() || session.is_spent();
        match session.in_flight() {
            0 if self.over && self.waiting.is_empty() => Poll::Ready(Ending::Over),
            0 if spent || !is_open => Poll::Ready(Ending::Closed),
            _ if !is_open => Poll::Ready(Ending::Failed(session.closed_early())),
            _ => Poll::Pending,
        }
    }

    /// Gives streams to tickets, as many as may be under way at once.
    fn fill(&mut self, context: &Context<'_>) {
        let Task { lane, session: Some(session), waiting, .. } = self else { return };
        let (plan, now_us) = (&lane.plan, lane.core.now_us());
        if session.is_draining() || session.is_spent() {
            return;
        }
        let room = session.streams_max();
        while !self.over && session.in_flight() + waiting.len() < room {
            match lane.schedule.poll_ticket(self.index, now_us, context) {
                Poll::Ready(Some(ticket)) => {
                    lane.started(ticket);
                    waiting.push_back(ticket);
                }
                Poll::Ready(None) => self.over = true,
                Poll::Pending => break,
            }
        }
        while session.in_flight() < room
            && let Some(ticket) = waiting.pop_front()
        {
            if ticket.due_us + plan.timeout_us <= now_us {
                // It waited for a free stream until its time was up.
                lane.failed(ticket, &Failure::Timeout.into());
            } else if session.start(ticket).is_err() {
                waiting.push_front(ticket);
                break;
            }
        }
    }

    fn deadline_us(&self, ticket: Ticket) -> u64 {
        ticket.due_us + self.lane.plan.timeout_us
    }

    fn expire_waiting(&mut self) {
        let now_us = self.lane.core.now_us();
        while let Some(ticket) = self.waiting.front().copied()
            && self.deadline_us(ticket) <= now_us
        {
            self.waiting.pop_front();
            self.lane.failed(ticket, &Failure::Timeout.into());
        }
    }

    /// Once the timer is set it stays so until it expires: a request that is done leaves it alone.
    fn arm(&mut self) {
        let Some(session) = &self.session else { return };
        if self.armed || (session.in_flight() == 0 && self.waiting.is_empty()) {
            return;
        }
        let oldest_us = session.oldest_us().into_iter().chain(self.waiting.front().map(|ticket| ticket.due_us)).min();
        if let Some(due_us) = oldest_us {
            self.timer.set((due_us + self.lane.plan.timeout_us).div_ceil(1000));
            self.armed = true;
        }
    }

    fn close(&mut self) {
        self.armed = false;
        let Some(session) = self.session.take() else { return };
        if self.lane.plan.new_connections {
            // Servers of HTTP/2 leave it to the client to close, who would keep the port pair for a minute: with a
            // connection a request, ports would run out.
            session.reset();
        } else {
            session.finish();
        }
    }
}
