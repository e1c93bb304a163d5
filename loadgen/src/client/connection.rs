//! One connection: takes a ticket, sends, reads, accounts; connects anew when it must.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use runtime::{Received, Socket, Timer};

use super::failure::{Failed, Failure};
use super::lane::Lane;
use super::response::{Answer, Reader};
use super::schedule::Ticket;

/// How long opening the connections may hold up the start of a run, ms.
const AHEAD_TIMEOUT_MS: u64 = 1_000;
/// How long a server may take to close a connection that was asked to, ms.
const CLOSE_TIMEOUT_MS: u64 = 1_000;
/// Longest pause after a connection couldn't be made, ms (closed loop); it starts with 1 and doubles.
const RETRY_PAUSE_MS_MAX: u64 = 16;

struct Connection {
    lane: Rc<Lane>,
    socket: Option<Socket>,
    timer: Timer,
    reader: Reader,
    /// Requests under way, the oldest first.
    tickets: Vec<Ticket>,
    retry_pause_ms: u64,
}

/// Sends requests on one connection after the other until the schedule has no more.
pub(crate) async fn run(lane: Rc<Lane>, index: usize) {
    let mut connection = Connection {
        socket: None,
        timer: lane.core.timer(),
        reader: Reader::new(lane.plan.method),
        tickets: Vec::with_capacity(lane.plan.pipeline as usize),
        retry_pause_ms: 0,
        lane: lane.clone(),
    };
    if !lane.plan.new_connections {
        connection.open_ahead().await;
    }
    lane.ready();
    loop {
        let ticket = poll_fn(|context| lane.schedule.poll_ticket(index, lane.core.now_us(), context)).await;
        let Some(ticket) = ticket else { break };
        connection.serve(ticket).await;
    }
    drop(connection);
    lane.ended();
}

impl Connection {
    /// Connects before the run begins, so that its first latencies aren't those of connecting. A failure is tried again,
    /// and counted, with the first request.
    async fn open_ahead(&mut self) {
        let timeout_ms = AHEAD_TIMEOUT_MS.min(self.lane.plan.timeout_us.div_ceil(1000));
        self.timer.set(self.lane.core.now_ms() + timeout_ms);
        self.socket = self.connect().await.ok();
    }

    /// Sends the ticket's request, and more up to the pipeline's depth.
    async fn serve(&mut self, ticket: Ticket) {
        let lane = self.lane.clone();
        self.tickets.clear();
        self.tickets.push(ticket);
        while self.tickets.len() < lane.plan.pipeline as usize
            && let Some(ticket) = lane.schedule.take_now(lane.core.now_us())
        {
            self.tickets.push(ticket);
        }
        self.tickets.iter().for_each(|ticket| lane.started(*ticket));
        let mut answered = 0;
        let result = self.exchange(&mut answered).await;
        let Err(failed) = result else {
            self.retry_pause_ms = 0;
            return self.settle().await;
        };
        self.socket = None;
        self.tickets[answered..].iter().for_each(|ticket| lane.failed(*ticket, &failed));
        if failed.failure.is_of_connect() && lane.plan.rate.is_none() {
            self.retry_pause_ms = (self.retry_pause_ms * 2).clamp(1, RETRY_PAUSE_MS_MAX);
            lane.core.sleep_ms(self.retry_pause_ms).await;
        }
    }

    /// Sends a request for each ticket and reads the answers; `answered` counts those that came.
    async fn exchange(&mut self, answered: &mut usize) -> Result<(), Failed> {
        let lane = self.lane.clone();
        let deadline_us = self.tickets[0].due_us + lane.plan.timeout_us;
        if lane.core.now_us() >= deadline_us {
            // It waited for a free connection until its time was up.
            return Err(Failure::Timeout.into());
        }
        self.timer.set(deadline_us.div_ceil(1000));
        // An idle connection that shows anything has been ended by the server.
        if self.socket.as_ref().is_none_or(Socket::has_input) {
            self.socket = None;
            self.socket = Some(self.connect().await?);
        }
        let Some(socket) = &self.socket else { return Err(Failure::Other.into()) };
        for _ in &self.tickets {
            socket.send_slice(lane.request.clone());
        }
        while *answered < self.tickets.len() {
            let answer = answer(socket, &mut self.reader, &self.timer).await?;
            let last = *answered + 1 == self.tickets.len();
            if last && self.reader.has_leftover() {
                return Err(Failed::bad_response(&"bytes behind the response"));
            }
            lane.answered(self.tickets[*answered], &answer);
            *answered += 1;
            if !answer.keep_alive && !last {
                return Err(Failure::ClosedEarly.into());
            }
            if !answer.keep_alive && !lane.plan.new_connections {
                self.socket = None;
                break;
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<Socket, Failed> {
        self.reader.reset();
        let socket = self.lane.core.start_connect(self.lane.plan.address).map_err(|error| Failed::connect(&error))?;
        poll_fn(|_| match socket.poll_connected() {
            Poll::Ready(result) => Poll::Ready(result.map_err(|error| Failed::connect(&error))),
            Poll::Pending if self.timer.expired() => Poll::Ready(Err(Failure::ConnectTimeout.into())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        self.lane.connected();
        Ok(socket)
    }

    /// With a connection a request, the server closes first: whoever does keeps the port pair for a minute, and here
    /// ports would run out.
    async fn settle(&mut self) {
        if !self.lane.plan.new_connections {
            return;
        }
        let Some(socket) = self.socket.take() else { return };
        self.timer.set(self.lane.core.now_ms() + CLOSE_TIMEOUT_MS);
        poll_fn(|_| {
            loop {
                match socket.poll_recv() {
                    Poll::Ready(Received::Data(_)) => {}
                    Poll::Ready(Received::End | Received::Failed(_)) => return Poll::Ready(()),
                    Poll::Pending if self.timer.expired() => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}

/// Reads one response.
async fn answer(socket: &Socket, reader: &mut Reader, timer: &Timer) -> Result<Answer, Failed> {
    if reader.has_leftover()
        && let Some(answer) = reader.resume().map_err(|error| Failed::bad_response(&error))?
    {
        return Ok(answer);
    }
    poll_fn(|_| {
        loop {
            match socket.poll_recv() {
                Poll::Ready(Received::Data(slice)) => match reader.feed(&slice) {
                    Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(Failed::bad_response(&error))),
                },
                Poll::Ready(Received::End) => return Poll::Ready(reader.end().ok_or(Failure::ClosedEarly.into())),
                Poll::Ready(Received::Failed(error)) => return Poll::Ready(Err(Failed::connection(&error))),
                Poll::Pending if timer.expired() => return Poll::Ready(Err(Failure::Timeout.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}
