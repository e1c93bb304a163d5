//! When requests start.
//!
//! Every request has a ticket. In the closed loop a connection gets one whenever it asks. In the open loop tickets fall
//! due on a schedule that knows nothing of the server; a ticket that finds all connections busy waits for one, and its
//! latency counts from the time at which it was due. The queue of waiting tickets is two numbers: how many are due, and
//! how many were given out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// The right to send one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    /// When the request should start, µs; latency counts from here.
    pub(crate) due_us: u64,
    /// Not part of the warm-up.
    pub(crate) measured: bool,
}

/// How a core's requests are timed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As soon as a connection is free.
    Closed,
    /// Every `interval_us`, the first after `offset_us`; on a grid of `grid_us`.
    Open { interval_us: f64, offset_us: f64, grid_us: u64 },
}

/// Bounds of a core's run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) warmup_us: u64,
    pub(crate) duration_us: Option<u64>,
    /// Tickets after the warm-up; MAX when only time bounds the run.
    pub(crate) requests: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Now(Ticket),
    /// Not before this time, µs.
    At(u64),
    Over,
}

/// A connection's place in the queue of idle ones.
#[derive(Default)]
struct Place {
    waker: Option<Waker>,
    /// Given while it slept.
    ticket: Option<Ticket>,
}

pub(crate) struct Schedule {
    pace: Pace,
    bounds: Bounds,
    /// Start of the run (with the warm-up), once every connection is ready for it.
    start_us: Cell<Option<u64>>,
    /// Tickets given out, the warm-up's included (open loop).
    given: Cell<u64>,
    left: Cell<u64>,
    places: RefCell<Vec<Place>>,
    idle: RefCell<VecDeque<usize>>,
}

impl Schedule {
    pub(crate) fn new(pace: Pace, bounds: Bounds, connections: usize) -> Schedule {
        Schedule {
            pace,
            bounds,
            start_us: Cell::new(None),
            given: Cell::new(0),
            left: Cell::new(bounds.requests),
            places: RefCell::new((0..connections).map(|_| Place::default()).collect()),
            idle: RefCell::new(VecDeque::with_capacity(connections)),
        }
    }

    /// Starts the run; wakes the connections that wait for it.
    pub(crate) fn begin(&self, now_us: u64) {
        let start = match self.pace {
            Pace::Closed => now_us,
            Pace::Open { grid_us, .. } => now_us.next_multiple_of(grid_us),
        };
        self.start_us.set(Some(start));
        if matches!(self.pace, Pace::Closed) {
            self.wake_all();
        }
    }

    /// What is measured begins here, µs; MAX before the run has begun.
    pub(crate) fn measured_from_us(&self) -> u64 {
        self.start_us.get().map_or(u64::MAX, |start| start + self.bounds.warmup_us)
    }

    /// No ticket is due at or after this time, µs.
    pub(crate) fn end_us(&self) -> u64 {
        let end = self.bounds.duration_us.zip(self.start_us.get());
        end.map_or(u64::MAX, |(duration, start)| start + self.bounds.warmup_us + duration)
    }

    /// Every request asked for has been given out.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }

    fn due_us(&self, start_us: u64, index: u64) -> u64 {
        match self.pace {
            Pace::Closed => start_us,
            Pace::Open { interval_us, offset_us, grid_us } => {
                let due_us = start_us + (offset_us + index as f64 * interval_us) as u64;
                due_us - due_us % grid_us
            }
        }
    }

    fn next(&self, now_us: u64) -> Next {
        let Some(start_us) = self.start_us.get() else { return Next::At(u64::MAX) };
        let open = matches!(self.pace, Pace::Open { .. });
        let due_us = if open { self.due_us(start_us, self.given.get()) } else { now_us };
        let measured = due_us >= self.measured_from_us();
        if due_us >= self.end_us() || (measured && self.is_exhausted()) {
            return Next::Over;
        }
        if due_us > now_us {
            return Next::At(due_us);
        }
        self.given.set(self.given.get() + 1);
        if measured && self.left.get() != u64::MAX {
            self.left.set(self.left.get() - 1);
        }
        Next::Now(Ticket { due_us, measured })
    }

    /// A further ticket that is due now, for a connection that sends several requests at once.
    pub(crate) fn take_now(&self, now_us: u64) -> Option<Ticket> {
        match self.next(now_us) {
            Next::Now(ticket) => Some(ticket),
            Next::At(_) | Next::Over => None,
        }
    }

    /// The next ticket for an idle connection, `None` when there are no more; the connection waits in line for it.
    pub(crate) fn poll_ticket(&self, connection: usize, now_us: u64, context: &Context<'_>) -> Poll<Option<Ticket>> {
        let mut places = self.places.borrow_mut();
        let place = &mut places[connection];
        if let Some(ticket) = place.ticket.take() {
            return Poll::Ready(Some(ticket));
        }
        if place.waker.is_some() {
            // Woken by something else: it keeps its place in line.
            return Poll::Pending;
        }
        match self.next(now_us) {
            Next::Now(ticket) => Poll::Ready(Some(ticket)),
            Next::Over => Poll::Ready(None),
            Next::At(_) => {
                place.waker = Some(context.waker().clone());
                self.idle.borrow_mut().push_back(connection);
                Poll::Pending
            }
        }
    }

    /// Gives the tickets that are due to idle connections, the longest idle first. Returns when to call again, µs: at the
    /// latest when the next ticket falls due; `None` when there are no more.
    pub(crate) fn hand_out(&self, now_us: u64) -> Option<u64> {
        loop {
            let Some(&connection) = self.idle.borrow().front() else {
                // Busy connections help themselves; look again when a later ticket could find an idle one.
                let start_us = self.start_us.get()?;
                return (!self.is_over(now_us)).then(|| self.due_us(start_us, self.given.get()).max(now_us + 1));
            };
            match self.next(now_us) {
                Next::Now(ticket) => {
                    self.idle.borrow_mut().pop_front();
                    let place = &mut self.places.borrow_mut()[connection];
                    place.ticket = Some(ticket);
                    place.waker.take().inspect(Waker::wake_by_ref);
                }
                Next::At(due_us) => return Some(due_us),
                Next::Over => {
                    self.wake_all();
                    return None;
                }
            }
        }
    }

    fn is_over(&self, now_us: u64) -> bool {
        now_us >= self.end_us() || (self.is_exhausted() && now_us >= self.measured_from_us())
    }

    /// Measured tickets that are due and wait for a connection.
    pub(crate) fn waiting(&self, now_us: u64) -> u64 {
        let (Pace::Open { interval_us, offset_us, grid_us }, Some(start_us)) = (self.pace, self.start_us.get()) else {
            return 0;
        };
        let due_before = |time_us: u64| {
            let since_us = time_us.saturating_sub(start_us) as f64 - offset_us;
            (since_us / interval_us).ceil().max(0.0) as u64
        };
        let until_us = (now_us - now_us % grid_us + grid_us).min(self.end_us());
        let from = self.given.get().max(due_before(self.measured_from_us()));
        due_before(until_us).saturating_sub(from).min(self.left.get())
    }

    fn wake_all(&self) {
        let mut places = self.places.borrow_mut();
        for connection in self.idle.borrow_mut().drain(..) {
            places[connection].waker.take().inspect(Waker::wake_by_ref);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNBOUNDED: Bounds = Bounds { warmup_us: 0, duration_us: None, requests: u64::MAX };

    fn open(interval_us: f64, grid_us: u64) -> Pace {
        Pace::Open { interval_us, offset_us: 0.0, grid_us }
    }

    fn poll(schedule: &Schedule, connection: usize, now_us: u64) -> Poll<Option<Ticket>> {
        schedule.poll_ticket(connection, now_us, &Context::from_waker(Waker::noop()))
    }

    fn due(poll: Poll<Option<Ticket>>) -> Option<u64> {
        match poll {
            Poll::Ready(ticket) => ticket.map(|ticket| ticket.due_us),
            Poll::Pending => None,
        }
    }

    #[test]
    fn nobody_gets_a_ticket_before_all_are_ready() {
        let schedule = Schedule::new(Pace::Closed, UNBOUNDED, 1);
        assert!(poll(&schedule, 0, 5).is_pending());
        schedule.begin(7);
        assert_eq!(due(poll(&schedule, 0, 8)), Some(8));
    }

    #[test]
    fn the_closed_loop_gives_as_many_tickets_as_asked_for_and_the_warm_up_is_extra() {
        let bounds = Bounds { warmup_us: 100, duration_us: None, requests: 2 };
        let schedule = Schedule::new(Pace::Closed, bounds, 1);
        schedule.begin(1000);
        assert_eq!(poll(&schedule, 0, 1000), Poll::Ready(Some(Ticket { due_us: 1000, measured: false })));
        assert_eq!(poll(&schedule, 0, 1100), Poll::Ready(Some(Ticket { due_us: 1100, measured: true })));
        assert_eq!(due(poll(&schedule, 0, 1101)), Some(1101));
        assert_eq!(poll(&schedule, 0, 1102), Poll::Ready(None));
        assert!(schedule.is_exhausted());
    }

    #[test]
    fn a_late_connection_gets_tickets_with_the_times_at_which_they_were_due() {
        let schedule = Schedule::new(open(250.0, 1), Bounds { duration_us: Some(1000), ..UNBOUNDED }, 1);
        schedule.begin(0);
        assert_eq!(due(poll(&schedule, 0, 0)), Some(0));
        assert_eq!(schedule.waiting(900), 3);
        for expected in [250, 500, 750] {
            assert_eq!(due(poll(&schedule, 0, 5000)), Some(expected));
        }
        assert_eq!(poll(&schedule, 0, 5000), Poll::Ready(None));
        assert_eq!(schedule.waiting(5000), 0);
    }

    #[test]
    fn idle_connections_are_served_in_turn_and_keep_their_place_when_woken_by_something_else() {
        let schedule = Schedule::new(open(10.0, 1), Bounds { requests: 3, ..UNBOUNDED }, 2);
        schedule.begin(0);
        assert_eq!(due(poll(&schedule, 0, 0)), Some(0));
        assert!(poll(&schedule, 1, 5).is_pending());
        assert!(poll(&schedule, 0, 6).is_pending());
        assert!(poll(&schedule, 1, 7).is_pending());
        assert_eq!(schedule.hand_out(11), Some(20));
        assert!(poll(&schedule, 0, 12).is_pending());
        assert_eq!(due(poll(&schedule, 1, 12)), Some(10));
        assert_eq!(schedule.hand_out(25), None);
        assert_eq!(due(poll(&schedule, 0, 25)), Some(20));
        assert_eq!(poll(&schedule, 1, 26), Poll::Ready(None));
    }

    #[test]
    fn the_end_of_the_schedule_wakes_whoever_still_waits() {
        let schedule = Schedule::new(open(10.0, 1), Bounds { requests: 1, ..UNBOUNDED }, 2);
        schedule.begin(5);
        assert_eq!(due(poll(&schedule, 0, 5)), Some(5));
        // Exhausted, so that nothing more can come.
        assert_eq!(poll(&schedule, 1, 6), Poll::Ready(None));
    }

    #[test]
    fn tickets_on_a_grid_keep_the_rate() {
        let schedule = Schedule::new(open(300.0, 1000), Bounds { duration_us: Some(10_000), ..UNBOUNDED }, 1);
        schedule.begin(1);
        assert_eq!(schedule.waiting(3500), 10);
        let mut given = Vec::new();
        while let Poll::Ready(Some(ticket)) = poll(&schedule, 0, 1_000_000) {
            assert_eq!(ticket.due_us % 1000, 0);
            given.push(ticket.due_us);
        }
        assert_eq!(given.len(), 34);
        assert_eq!((given[0], given[1], given[4], given[33]), (1000, 1000, 2000, 10_000));
    }
}
