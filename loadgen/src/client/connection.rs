//! One connection: takes a ticket, sends, reads, accounts; connects anew when it must.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use runtime::Timer;

use super::connect::{self, AHEAD_TIMEOUT_MS, Retry};
use super::failure::{Failed, Failure};
use super::lane::Lane;
use super::response::{Answer, Reader};
use super::schedule::Ticket;
use crate::transport::{Input, Transport};

struct Connection {
    lane: Rc<Lane>,
    transport: Option<Transport>,
    timer: Timer,
    reader: Reader,
    /// Requests under way, the oldest first.
    tickets: Vec<Ticket>,
    retry: Retry,
}

/// Sends requests on one connection after the other until the schedule has no more.
pub(crate) async fn run(lane: Rc<Lane>, index: usize) {
    let mut connection = Connection {
        transport: None,
        timer: lane.core.timer(),
        reader: Reader::new(lane.plan.method),
        tickets: Vec::with_capacity(lane.plan.pipeline as usize),
        retry: Retry::default(),
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
        self.transport = self.connect().await.ok();
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
            self.retry.succeeded();
            return self.settle().await;
        };
        self.transport = None;
        self.tickets[answered..].iter().for_each(|ticket| lane.failed(*ticket, &failed));
        self.retry.failed(&lane, &failed).await;
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
        if self.transport.as_ref().is_none_or(Transport::has_input) {
            self.transport = None;
            self.transport = Some(self.connect().await?);
        }
        let Some(transport) = &self.transport else { return Err(Failure::Other.into()) };
        for _ in &self.tickets {
            transport.send_slice(lane.request.clone());
        }
        while *answered < self.tickets.len() {
            let answer = answer(transport, &mut self.reader, &self.timer).await?;
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
                self.transport.take().into_iter().for_each(Transport::close);
                break;
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<Transport, Failed> {
        self.reader.reset();
        connect::connect(&self.lane, &self.timer).await
    }

    async fn settle(&mut self) {
        if self.lane.plan.new_connections
            && let Some(transport) = self.transport.take()
        {
            connect::settle(&self.lane, &self.timer, transport).await;
        }
    }
}

/// Reads one response.
async fn answer(transport: &Transport, reader: &mut Reader, timer: &Timer) -> Result<Answer, Failed> {
    if reader.has_leftover()
        && let Some(answer) = reader.resume().map_err(|error| Failed::bad_response(&error))?
    {
        return Ok(answer);
    }
    poll_fn(|_| {
        loop {
            match transport.poll_recv() {
                Poll::Ready(Input::Data(slice)) => match reader.feed(&slice) {
                    Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(Failed::bad_response(&error))),
                },
                Poll::Ready(Input::End) => return Poll::Ready(reader.end().ok_or(Failure::ClosedEarly.into())),
                Poll::Ready(Input::Failed(fault)) => return Poll::Ready(Err(Failed::connection(&fault))),
                Poll::Pending if timer.expired() => return Poll::Ready(Err(Failure::Timeout.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}
