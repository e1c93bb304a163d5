use super::*;
use proptest::prelude::*;

/// What is asked for after receives of these sizes, each of which has been taken.
fn receive_after(sizes: &[usize]) -> Option<Action> {
    let (pool, mut table) = (Pool::new(1), Table::new());
    let key = table.add(Descriptor::simulated(0), Phase::Open, None);
    for &size in sizes {
        table.next_action(key.index);
        table.received(&pool, key.index, pool.heap(vec![0; size].into()));
        table.take_received(key);
        table.receive_stopped(key.index);
    }
    table.next_action(key.index)
}

#[test]
fn only_small_receives_in_a_row_are_repeated_by_the_kernel() {
    let (once, repeated) = (Some(Action::Receive { once: true }), Some(Action::Receive { once: false }));
    let (small, large) = (BULK_BYTES_MIN - 1, BULK_BYTES_MIN);
    assert_eq!(receive_after(&[]), once);
    assert_eq!(receive_after(&[small, small, small]), once);
    assert_eq!(receive_after(&[small, small, small, small]), repeated);
    assert_eq!(receive_after(&[small, small, small, large, small, small, small]), once);
}

#[test]
fn a_send_is_full_with_so_many_bytes_or_parts() {
    let pool = Pool::new(1);
    let taken = |part_bytes: usize, parts: usize| {
        let mut entry = Entry::new();
        entry.send = (0..parts).map(|_| pool.heap(vec![0; part_bytes].into())).collect();
        entry.next_send().count()
    };
    assert_eq!((taken(100, 3), taken(100, 40)), (3, SEND_PARTS_MAX));
    assert_eq!((taken(SEND_BYTES / 2, 5), taken(SEND_BYTES / 2 - 1, 5)), (2, 3));
    assert_eq!(taken(10 * SEND_BYTES, 2), 1, "a part is never split");
}

/// What happens to one of the sockets that were ever there.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add,
    Receive(usize, usize),
    Take(usize),
    Send(usize, usize),
    Sent(usize, usize),
    End(usize),
    Close(usize, u8),
    /// A cancelled receive is over.
    Stopped(usize),
    Act,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let (which, bytes) = (|| 0..24usize, || prop_oneof![1..100usize, 1..70_000usize]);
    prop_oneof![
        2 => Just(Step::Add),
        4 => (which(), bytes()).prop_map(|(at, n)| Step::Receive(at, n)),
        2 => which().prop_map(Step::Take),
        3 => (which(), bytes()).prop_map(|(at, n)| Step::Send(at, n)),
        3 => (which(), bytes()).prop_map(|(at, n)| Step::Sent(at, n)),
        1 => which().prop_map(Step::End),
        2 => (which(), 0..3u8).prop_map(|(at, how)| Step::Close(at, how)),
        3 => which().prop_map(Step::Stopped),
        6 => Just(Step::Act),
        1 => Just(Step::Expire),
    ]
}

/// A socket as a task and as a driver know it.
#[derive(Clone, Copy, Default)]
struct Socket {
    key: Option<Key>,
    receiving: bool,
    sending: bool,
    /// Its task is done with it.
    is_closed: bool,
    /// The driver was told to close the descriptor.
    is_gone: bool,
}

/// Does what the table asks for, and keeps its rules: one receive and one send at a time, and no close before both are
/// over.
fn act(table: &mut Table, sockets: &mut [Socket]) {
    while let Some(index) = table.take_marked() {
        while let Some(action) = table.next_action(index) {
            let socket = sockets
                .iter_mut()
                .rfind(|socket| socket.key.is_some_and(|key| key.index == index) && !socket.is_gone)
                .expect("a socket");
            match action {
                Action::Receive { .. } => {
                    assert!(!std::mem::replace(&mut socket.receiving, true), "two receives");
                    table.entries[index as usize].outstanding += 1;
                }
                Action::Send => {
                    assert!(!std::mem::replace(&mut socket.sending, true), "two sends");
                    table.entries[index as usize].outstanding += 1;
                }
                Action::Close { .. } => {
                    assert!(socket.is_closed && !socket.receiving && !socket.sending, "closed under an operation");
                    socket.is_gone = true;
                }
                Action::StopReceiving | Action::ShutdownWrite | Action::CancelAll => {}
                Action::Connect | Action::Accept => panic!("{action:?} of a stream"),
            }
        }
    }
}

/// The operations of a socket whose task is done with it end, as cancelled ones do.
fn settle(table: &mut Table, sockets: &mut [Socket]) {
    act(table, sockets);
    for at in 0..sockets.len() {
        let Some(key) = sockets[at].key.filter(|_| !sockets[at].is_gone) else { continue };
        if std::mem::take(&mut sockets[at].receiving) {
            table.entries[key.index as usize].outstanding -= 1;
            table.receive_stopped(key.index);
        }
        if std::mem::take(&mut sockets[at].sending) {
            table.entries[key.index as usize].outstanding -= 1;
            table.send_failed(key.index, libc::ECANCELED);
        }
        act(table, sockets);
    }
}

fn happen(table: &mut Table, pool: &Pool, sockets: &mut Vec<Socket>, step: Step) {
    let (Step::Receive(at, _)
    | Step::Take(at)
    | Step::Send(at, _)
    | Step::Sent(at, _)
    | Step::End(at)
    | Step::Close(at, _)
    | Step::Stopped(at)) = step
    else {
        match step {
            Step::Add => {
                let key = table.add(Descriptor::simulated(sockets.len() as u32), Phase::Open, None);
                sockets.push(Socket { key: Some(key), ..Socket::default() });
            }
            Step::Act => act(table, sockets),
            _ => {
                table.now_ms += LINGER_TIMEOUT_MS;
                table.expire();
            }
        }
        return;
    };
    let Some(socket) = sockets.get_mut(at) else { return };
    let (Some(key), false) = (socket.key, socket.is_gone) else { return };
    match step {
        Step::Receive(_, n) if socket.receiving => {
            table.received(pool, key.index, pool.heap(vec![at as u8; n].into()));
        }
        Step::Take(_) if !socket.is_closed => {
            if let Some(Received::Data(slice)) = table.take_received(key) {
                assert!(slice.iter().all(|byte| usize::from(*byte) == at), "another socket's bytes");
            }
        }
        Step::Send(_, n) if !socket.is_closed => table.send_slice(pool, key, pool.heap(vec![at as u8; n].into())),
        Step::Sent(_, n) if socket.sending => {
            let under_way: usize = table.entry(key).next_send().map(Slice::len).sum();
            assert!(table.entry(key).next_send().all(|part| part.iter().all(|byte| usize::from(*byte) == at)));
            socket.sending = false;
            table.entries[key.index as usize].outstanding -= 1;
            match n % 10 {
                0 => table.send_failed(key.index, libc::ECONNRESET),
                _ => table.sent(key.index, n.min(under_way)),
            }
        }
        Step::End(_) if socket.receiving => {
            socket.receiving = false;
            table.entries[key.index as usize].outstanding -= 1;
            table.receive_ended(key.index, 0);
            table.receive_stopped(key.index);
        }
        Step::Close(_, how) if !socket.is_closed => {
            socket.is_closed = true;
            table.close(key, [Close::Flush, Close::Linger, Close::Reset][usize::from(how)]);
        }
        Step::Stopped(_) if socket.receiving => {
            socket.receiving = false;
            table.entries[key.index as usize].outstanding -= 1;
            table.receive_stopped(key.index);
        }
        _ => {}
    }
}

proptest! {
    /// Whatever sockets do, each has its own bytes only, its figures agree with what it holds, a driver has one receive
    /// and one send of it at a time, a stale key finds nothing, and in the end every place is free.
    #[test]
    fn places_are_used_again_by_one_socket_at_a_time(steps in prop::collection::vec(step(), 1..200)) {
        let (pool, mut table, mut sockets) = (Pool::new(1), Table::new(), Vec::<Socket>::new());
        for step in steps {
            happen(&mut table, &pool, &mut sockets, step);
            let under_way = |socket: &Socket| usize::from(socket.receiving) + usize::from(socket.sending);
            prop_assert_eq!(table.check(sockets.iter().map(under_way).sum()), Ok(()));
            for socket in &sockets {
                let found = socket.key.is_some_and(|key| table.find(key).is_some());
                prop_assert_eq!(found, !socket.is_gone);
            }
        }
        table.close_all();
        for socket in &mut sockets {
            socket.is_closed = true;
        }
        settle(&mut table, &mut sockets);
        prop_assert!(table.open() == 0 && sockets.iter().all(|socket| socket.is_gone));
    }
}
