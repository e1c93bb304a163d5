//! The streams of a connection, against a map that needs no explaining.

use super::super::flow::{ReceiveWindow, SendWindow};
use super::super::streams::{Asked, Ended, Stream, StreamRef, Streams};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

fn stream(id: u32) -> Stream {
    Stream {
        id,
        send_window: SendWindow::new(1),
        receive_window: ReceiveWindow::new(1, 1),
        expected: None,
        asked: Asked::Plain,
        remote_open: true,
        local_open: true,
        head_received: false,
        interims: 0,
        head_sent: false,
        blocked: false,
    }
}

proptest! {
    #[test]
    fn streams_are_found_by_identifier_and_by_slot(
        moves in proptest::collection::vec((prop::bool::weighted(0.6), any::<prop::sample::Index>(), 1u32..40), 1..300),
    ) {
        let mut streams = Streams::default();
        let mut open: HashMap<u32, StreamRef> = HashMap::new();
        let (mut next, mut gone) = (1, Vec::new());
        for (opens, which, step) in moves {
            if opens || open.is_empty() {
                let made = streams.insert(stream(next));
                open.insert(next, made);
                next += 2 * step;
            } else {
                let mut ids: Vec<u32> = open.keys().copied().collect();
                ids.sort_unstable();
                let reference = open.remove(which.get(&ids)).expect("an open stream");
                streams.remove(reference, Ended::InOrder);
                gone.push(reference);
            }
            prop_assert_eq!(streams.open(), open.len());
            for (id, reference) in &open {
                prop_assert_eq!(streams.find(*id), Some(*reference));
                prop_assert_eq!(streams.get(*reference).map(|found| found.id), Some(*id));
            }
            for reference in &gone {
                prop_assert!(streams.find(reference.id).is_none() && streams.get(*reference).is_none());
            }
            let slots: HashSet<u32> = open.values().map(|reference| reference.slot).collect();
            prop_assert_eq!(slots.len(), open.len());
        }
    }
}

#[test]
fn streams_that_we_reset_stay_known_as_such() {
    let mut streams = Streams::default();
    for id in (1..1000).step_by(2) {
        let reference = streams.insert(stream(id));
        let ended = if id == 101 { Ended::InOrder } else { Ended::ResetByUs };
        streams.remove(reference, ended);
    }
    let peer = streams.insert(stream(1001));
    streams.remove(peer, Ended::ResetByPeer);
    assert_eq!(streams.ended(1), Ended::ResetByUs, "forgotten one by one, remembered as a range");
    assert_eq!(streams.ended(999), Ended::ResetByUs);
    assert_eq!(streams.ended(1001), Ended::ResetByPeer);
    let done = streams.insert(stream(1003));
    streams.remove(done, Ended::InOrder);
    assert_eq!(streams.ended(1003), Ended::InOrder);
}

#[test]
fn streams_above_a_goaway_are_removed() {
    let mut streams = Streams::default();
    let references: Vec<_> = (1..20).step_by(2).map(|id| streams.insert(stream(id))).collect();
    streams.remove_above(9);
    for reference in references {
        assert_eq!(streams.get(reference).is_some(), reference.id <= 9);
    }
    assert_eq!(streams.open(), 5);
}
