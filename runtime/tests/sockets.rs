//! Sockets of both drivers against the standard library's blocking ones.

use std::cell::RefCell;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use runtime::{Bell, Core, DriverChoice, Options, Prepared, Received, Socket, run};

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `main` on a core of each driver, each on a thread of its own, and `outside` beside it.
fn on_each_driver<F: Future<Output = ()> + 'static>(
    main: impl Fn(Core, mpsc::Sender<SocketAddr>) -> F + Send + Clone + 'static,
    outside: impl Fn(SocketAddr),
) {
    for driver in [DriverChoice::Uring, DriverChoice::Epoll] {
        let (sender, receiver) = mpsc::channel();
        let main = main.clone();
        let core = std::thread::spawn(move || {
            let bell = Bell::new().expect("a bell");
            let options = Options { driver, receive_buffers_max: 256, ..Options::default() };
            run(&options, &bell, |core| async move {
                main(core.clone(), sender).await;
                core.stop();
            })
            .expect("the core runs");
        });
        let address = receiver.recv_timeout(DEADLINE).expect("an address");
        outside(address);
        core.join().unwrap_or_else(|_| panic!("the core panicked with {driver:?}"));
    }
}

async fn accept_one(core: &Core, sender: &mpsc::Sender<SocketAddr>) -> Socket {
    let listener = core.listen("127.0.0.1:0".parse().expect("an address"), 16).expect("listens");
    sender.send(listener.address()).expect("the test waits");
    core.adopt(listener.accept().await.expect("a connection"))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn echoes_until_the_peer_ends_and_then_ends_too() {
    on_each_driver(
        |core, sender| async move {
            let socket = accept_one(&core, &sender).await;
            loop {
                match socket.recv().await {
                    Received::Data(slice) => socket.send_slice(slice),
                    Received::End => break,
                    Received::Failed(error) => panic!("{error}"),
                }
                socket.drained(64 * 1024).await.expect("the peer reads");
            }
            socket.drained(0).await.expect("all is sent");
        },
        |address| {
            let sent = pattern(3_000_000);
            let mut stream = connect(address);
            let mut writer = stream.try_clone().expect("a clone");
            let copy = sent.clone();
            let writing = std::thread::spawn(move || {
                for piece in copy.chunks(77_777) {
                    writer.write_all(piece).expect("writes");
                }
                writer.shutdown(std::net::Shutdown::Write).expect("ends");
            });
            let mut echoed = Vec::new();
            stream.read_to_end(&mut echoed).expect("reads to the end");
            writing.join().expect("the writer");
            assert!(echoed == sent, "{} bytes came back of {}", echoed.len(), sent.len());
        },
    );
}

#[test]
fn a_reader_that_stops_is_not_sent_more_than_the_marks_allow_and_loses_nothing() {
    on_each_driver(
        |core, sender| async move {
            let socket = accept_one(&core, &sender).await;
            let bytes = pattern(20_000_000);
            for piece in bytes.chunks(100_000) {
                socket.send(piece);
                socket.drained(256 * 1024).await.expect("the peer reads in the end");
                assert!(socket.unsent_bytes() <= 256 * 1024);
            }
            drop(socket);
            // The close flushes what is queued although nobody holds the socket any more.
            while core.sockets_open() > 0 {
                core.sleep_ms(1).await;
            }
        },
        |address| {
            let mut stream = connect(address);
            let mut first = [0u8; 10];
            stream.read_exact(&mut first).expect("the first bytes");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("the rest");
            let mut all = first.to_vec();
            all.extend(rest);
            assert!(all == pattern(20_000_000));
        },
    );
}

#[test]
fn an_untaken_flood_pauses_the_receive_and_arrives_whole_later() {
    on_each_driver(
        |core, sender| async move {
            let socket = accept_one(&core, &sender).await;
            // Nobody takes anything until the sender is stuck; then every byte is there, in order.
            core.sleep_ms(300).await;
            let (_, held) = core.receive_buffers();
            assert!(held <= 64, "{held} buffers pinned by one connection");
            let expected = pattern(8_000_000);
            let mut at = 0;
            loop {
                match socket.recv().await {
                    Received::Data(slice) => {
                        assert!(slice[..] == expected[at..at + slice.len()], "bytes differ near {at}");
                        at += slice.len();
                    }
                    Received::End => break,
                    Received::Failed(error) => panic!("{error}"),
                }
            }
            assert_eq!(at, expected.len());
        },
        |address| connect(address).write_all(&pattern(8_000_000)).expect("writes"),
    );
}

#[test]
fn small_pieces_that_wait_do_not_pin_receive_buffers() {
    on_each_driver(
        |core, sender| async move {
            let socket = accept_one(&core, &sender).await;
            let mut got = Vec::new();
            // Pieces of three bytes, each sent after a pause, pile up while the task sleeps.
            core.sleep_ms(300).await;
            let (_, held) = core.receive_buffers();
            assert!(held <= 2, "{held} buffers pinned");
            while let Received::Data(slice) = socket.recv().await {
                got.extend_from_slice(&slice);
            }
            assert_eq!(got, b"abc".repeat(100));
        },
        |address| {
            let mut stream = connect(address);
            stream.set_nodelay(true).expect("nodelay");
            for _ in 0..100 {
                stream.write_all(b"abc").expect("writes");
                std::thread::sleep(Duration::from_millis(1));
            }
        },
    );
}

#[test]
fn a_refused_connection_and_one_given_up_are_errors_not_leaks() {
    on_each_driver(
        |core, sender| async move {
            let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
            let error = core.connect(closed).await.err().expect("refused");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            // A listener with a full backlog leaves connects pending; giving up must not leak the socket.
            let pending: Vec<_> = (0..50).filter_map(|_| core.start_connect(([127, 0, 0, 1], 9).into()).ok()).collect();
            drop(pending);
            while core.sockets_open() > 0 {
                core.sleep_ms(1).await;
            }
            sender.send(closed).expect("the test waits");
        },
        |_| {},
    );
}

#[test]
fn a_reset_is_a_failure_after_the_data_before_it() {
    on_each_driver(
        |core, sender| async move {
            let socket = accept_one(&core, &sender).await;
            let Received::Data(slice) = socket.recv().await else { panic!("data first") };
            assert_eq!(&*slice, b"last words");
            match socket.recv().await {
                Received::Failed(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
                other => panic!("{other:?}"),
            }
            socket.send(b"into the void");
            assert!(socket.drained(0).await.is_err());
        },
        |address| {
            let mut stream = connect(address);
            stream.write_all(b"last words").expect("writes");
            // Unread input at close makes the kernel reset.
            std::thread::sleep(Duration::from_millis(100));
            let socket = std::os::fd::OwnedFd::from(stream);
            reset_on_close(&socket);
        },
    );
}

/// Makes a listener with room for one connection that nobody accepts.
fn shrink_backlog(listener: &TcpListener) {
    // SAFETY: a live socket that listens; doing it again only changes the backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
}

fn reset_on_close(socket: &std::os::fd::OwnedFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as u32;
    // SAFETY: pointer and length describe a local.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, std::ptr::from_ref(&linger).cast(), len)
    };
    assert_eq!(done, 0);
}

#[test]
fn a_lingering_close_delivers_the_reply_although_input_is_unread() {
    on_each_driver(
        |core, sender| async move {
            let socket = accept_one(&core, &sender).await;
            let Received::Data(_) = socket.recv().await else { panic!("data first") };
            socket.send(b"go away");
            socket.close_lingering();
            while core.sockets_open() > 0 {
                core.sleep_ms(1).await;
            }
        },
        |address| {
            let mut stream = connect(address);
            stream.write_all(&pattern(2_000_000)).expect("the other side takes and drops it");
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).expect("no reset");
            assert_eq!(reply, b"go away");
        },
    );
}

#[test]
fn dropping_sockets_in_every_state_frees_them() {
    on_each_driver(
        |core, sender| async move {
            let listener = core.listen("127.0.0.1:0".parse().expect("an address"), 64).expect("listens");
            let address = listener.address();
            sender.send(address).expect("the test waits");
            for round in 0..200 {
                let client = core.start_connect(address).expect("a socket");
                if round % 3 == 0 {
                    drop(client);
                    continue;
                }
                std::future::poll_fn(|_| client.poll_connected()).await.expect("connects");
                client.send(&pattern(round * 500));
                if round % 3 == 1 {
                    client.reset();
                }
            }
            let accepted = Rc::new(RefCell::new(0));
            let counted = accepted.clone();
            let inner = core.clone();
            core.spawn(async move {
                while let Ok(accepted) = listener.accept().await {
                    drop(inner.adopt(accepted));
                    *counted.borrow_mut() += 1;
                }
            });
            while core.sockets_open() > 1 || *accepted.borrow() < 133 {
                core.sleep_ms(1).await;
            }
            assert_eq!(core.receive_buffers().1, 0);
        },
        |_| {},
    );
}

#[test]
fn whatever_is_under_way_on_a_socket_ends_when_it_is_dropped() {
    on_each_driver(
        |core, sender| async move {
            let nobody = "127.0.0.1:0".parse().expect("an address");
            let full = TcpListener::bind(nobody).expect("a listener");
            shrink_backlog(&full);
            let hanging = full.local_addr().expect("its address");
            let silent = TcpListener::bind(nobody).expect("a listener");
            let reader = silent.local_addr().expect("its address");
            let listener = core.listen(nobody, 16).expect("listens");

            let connecting: Vec<_> = (0..50).map(|_| core.start_connect(hanging).expect("a socket")).collect();
            let receiving = core.connect(reader).await.expect("connects");
            let sending = core.connect(reader).await.expect("connects");
            // More than any two socket buffers hold, to who never reads.
            sending.send(&pattern(64 << 20));
            let mut left = usize::MAX;
            while sending.unsent_bytes() != left {
                left = sending.unsent_bytes();
                core.sleep_ms(100).await;
            }
            assert!(left > 0, "a send waits for its reader");
            assert_eq!(core.sockets_open(), 53);
            sending.reset();
            drop((connecting, receiving, listener));
            while core.sockets_open() > 0 {
                core.sleep_ms(1).await;
            }
            sender.send(hanging).expect("the test waits");
        },
        |_| {},
    );
}

#[test]
fn mail_wakes_a_sleeping_core_and_a_dropped_sender_ends_the_mailbox() {
    for driver in [DriverChoice::Uring, DriverChoice::Epoll] {
        let bell = Bell::new().expect("a bell");
        let (mut sender, mut receiver) = runtime::mailbox::channel::<u32>(&bell, 4);
        let core = std::thread::spawn(move || {
            let mut sum = 0;
            let total = Rc::new(RefCell::new(0));
            let seen = total.clone();
            run(&Options { driver, ..Options::default() }, &bell, |core| async move {
                while let Some(message) = receiver.recv(&core).await {
                    sum += message;
                }
                *seen.borrow_mut() = sum;
                core.stop();
            })
            .expect("the core runs");
            total.take()
        });
        for n in 1..=1_000 {
            let mut message = n;
            while let Err(back) = sender.send(message) {
                message = back;
                std::thread::yield_now();
            }
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        drop(sender);
        assert_eq!(core.join().expect("the core"), 500_500);
    }
}

#[test]
fn timers_fire_in_order_and_not_early() {
    on_each_driver(
        |core, sender| async move {
            sender.send(([127, 0, 0, 1], 1).into()).expect("the test waits");
            let order = Rc::new(RefCell::new(Vec::new()));
            for ms in [30u64, 10, 20] {
                let (inner, order) = (core.clone(), order.clone());
                core.spawn(async move {
                    let start = inner.now_us();
                    inner.sleep_ms(ms).await;
                    // The tick is a millisecond, so a deadline may come up to one tick short of the exact span.
                    assert!(inner.now_us() - start + 1_000 >= ms * 1_000);
                    order.borrow_mut().push(ms);
                });
            }
            core.sleep_ms(60).await;
            assert_eq!(*order.borrow(), [10, 20, 30]);
        },
        |_| {},
    );
}

#[test]
fn a_waker_of_another_thread_reaches_its_task() {
    on_each_driver(
        |core, sender| async move {
            sender.send(([127, 0, 0, 1], 1).into()).expect("the test waits");
            let _ = &core;
            let mut handed = false;
            std::future::poll_fn(move |context| {
                if std::mem::replace(&mut handed, true) {
                    return std::task::Poll::Ready(());
                }
                let waker = context.waker().clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(20));
                    waker.wake();
                });
                std::task::Poll::Pending
            })
            .await;
        },
        |_| {},
    );
}

#[test]
fn a_prepared_socket_is_listened_with_once() {
    // What `inherited` gives is tried with a process of its own, in Corelane's tests; here: one that was bound.
    on_each_driver(
        |core, sender| async move {
            let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
            let prepared = Prepared::bind(any, 16).expect("binds");
            let bound = prepared.address();
            core.provide(vec![prepared]);
            let listener = core.listen(bound, 16).expect("listens");
            sender.send(listener.address()).expect("the test waits");
            let socket = core.adopt(listener.accept().await.expect("a connection"));
            match socket.recv().await {
                Received::Data(slice) => socket.send_slice(slice),
                other => panic!("{other:?}"),
            }
            socket.drained(0).await.expect("all is sent");
            let fresh = core.listen(bound, 16).expect("listens");
            assert_ne!(fresh.address(), listener.address(), "the prepared one was used up: this one is new");
        },
        |address| {
            let mut stream = connect(address);
            stream.write_all(b"hello").expect("writes");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("reads");
            assert_eq!(answer, "hello");
        },
    );
}
