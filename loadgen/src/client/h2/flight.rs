//! What is kept of the requests that are under way on a connection.

use codecs::http::h2::StreamRef;
use codecs::http::{Field, FieldId};

use crate::client::response::{Answer, GRPC_STATUS_NONE};
use crate::client::schedule::Ticket;
use crate::ws;

/// A request under way, or for WebSocket a stream with or without a message under way.
pub(super) struct Flight {
    pub(super) stream: StreamRef,
    pub(super) ticket: Option<Ticket>,
    /// Bytes of the body that have been sent.
    pub(super) sent: usize,
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) body_bytes: u64,
    pub(super) grpc_status: Option<u8>,
    /// WebSocket: what has come of the echo.
    pub(super) reader: Option<Box<ws::Reader>>,
}

impl Flight {
    pub(super) fn answer(&self) -> Answer {
        Answer {
            status: self.status,
            keep_alive: true,
            bytes: self.bytes,
            body_bytes: self.body_bytes,
            grpc_status: self.grpc_status,
        }
    }

    /// Makes ready for the next message.
    pub(super) fn rewind(&mut self, ticket: Option<Ticket>) {
        self.ticket = ticket;
        (self.sent, self.bytes, self.body_bytes) = (0, 0, 0);
    }
}

/// Flights by the slots of their streams.
#[derive(Default)]
pub(super) struct Flights {
    slots: Vec<Option<Flight>>,
    /// Those with a ticket.
    in_flight: usize,
}

impl Flights {
    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    #[inline]
    pub(super) fn get(&mut self, stream: StreamRef) -> Option<&mut Flight> {
        self.slots.get_mut(stream.slot as usize)?.as_mut().filter(|flight| flight.stream == stream)
    }

    #[inline]
    pub(super) fn insert(&mut self, flight: Flight) {
        let slot = flight.stream.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.in_flight += usize::from(flight.ticket.is_some());
        self.slots[slot] = Some(flight);
    }

    #[inline]
    pub(super) fn remove(&mut self, stream: StreamRef) -> Option<Flight> {
        let place = self.slots.get_mut(stream.slot as usize)?;
        let flight = place.take_if(|flight| flight.stream == stream)?;
        self.in_flight -= usize::from(flight.ticket.is_some());
        Some(flight)
    }

    /// Gives an idle stream its next message.
    pub(super) fn resume(&mut self, stream: StreamRef, ticket: Ticket) {
        if let Some(flight) = self.get(stream) {
            flight.rewind(Some(ticket));
            self.in_flight += 1;
        }
    }

    /// The message is back: the answer to it, and the ticket.
    pub(super) fn land(&mut self, stream: StreamRef) -> Option<(Ticket, Answer)> {
        let flight = self.get(stream)?;
        let (ticket, answer) = (flight.ticket.take()?, flight.answer());
        self.in_flight -= 1;
        Some((ticket, answer))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.slots.iter().flatten()
    }
}

/// The `grpc-status` among fields of `text`.
pub(super) fn grpc_status(text: &[u8], fields: &[Field]) -> u8 {
    let status = fields.iter().find(|field| field.id == FieldId::GrpcStatus);
    let digits = status.and_then(|field| std::str::from_utf8(field.value.of(text)).ok());
    digits
        .and_then(|digits| digits.parse().ok())
        .filter(|status| *status < GRPC_STATUS_NONE)
        .unwrap_or(GRPC_STATUS_NONE)
}
