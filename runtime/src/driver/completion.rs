//! What a completion means to the table, for the drivers that have completions.

use super::accept_error_is_of_connection;
use crate::buffers::{Pool, Slice};
use crate::descriptor::Descriptor;
use crate::table::{Key, Table};

/// An accept gave a connection, or failed with an errno; without `more` it is over. A connection that nobody wants any
/// more is closed.
pub(super) fn accept(table: &mut Table, key: Key, accepted: Result<Descriptor, i32>, more: bool) {
    let Some(entry) = table.find(key) else { return };
    if !more {
        entry.outstanding -= 1;
    }
    match accepted {
        Ok(accepted) => {
            if !more {
                table.receive_stopped(key.index);
            }
            table.accepted(key.index, accepted);
        }
        Err(errno) if errno == libc::ECANCELED || accept_error_is_of_connection(errno) => {
            if !more {
                table.receive_stopped(key.index);
            }
        }
        Err(errno) => table.accept_failed(key.index, errno),
    }
}

/// `result`: 0, or an errno below zero.
pub(super) fn connect(table: &mut Table, key: Key, result: i32) {
    if let Some(entry) = table.find(key) {
        entry.outstanding -= 1;
        table.connected(key.index, -result.min(0));
    }
}

/// `result`: the number of bytes, 0 at the peer's end, or an errno below zero; without `more` the receive is over.
/// Returns whether it starves: it found no buffer, and the driver says when to try again.
#[inline]
pub(super) fn receive(table: &mut Table, pool: &Pool, key: Key, result: i32, slice: Option<Slice>, more: bool) -> bool {
    let Some(entry) = table.find(key) else { return false };
    if !more {
        entry.outstanding -= 1;
    }
    match result {
        1.. => {
            if !more {
                table.receive_stopped(key.index);
            }
            if let Some(slice) = slice {
                table.received(pool, key.index, slice);
            }
        }
        0 => table.receive_ended(key.index, 0),
        _ if -result == libc::ENOBUFS => {
            table.starved(key.index);
            table.receive_stopped(key.index);
            return true;
        }
        _ if matches!(-result, libc::ECANCELED | libc::EINTR | libc::EAGAIN) => table.receive_stopped(key.index),
        _ => table.receive_ended(key.index, -result),
    }
    false
}

/// `result`: the number of bytes, or an errno below zero.
#[inline]
pub(super) fn send(table: &mut Table, key: Key, result: i32) {
    let Some(entry) = table.find(key) else { return };
    entry.outstanding -= 1;
    match result {
        0.. => table.sent(key.index, result as usize),
        _ if matches!(-result, libc::EINTR | libc::EAGAIN | libc::ENOBUFS) => table.sent(key.index, 0),
        _ => table.send_failed(key.index, -result),
    }
}
