//! Handles of sockets for tasks.
//!
//! A handle waits on the table and owns no memory that the kernel can touch: dropping it, or a future that waits on
//! it, is safe at any point. A dropped socket sends what is queued and closes.
//!
//! One task waits on a socket at a time (it may wait for input and for the chain to drain at once); a task may wait
//! on any number of sockets and timers.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use crate::Core;
use crate::buffers::Slice;
use crate::descriptor::Descriptor;
use crate::executor::TaskId;
use crate::host::Listening;
use crate::prepared::Prepared;
use crate::sys::RawAddress;
use crate::table::{Close, Key, Phase, Received, flag};

/// A stream connection of this core.
pub struct Socket {
    core: Core,
    key: Key,
    closed: bool,
    /// How it closes when it is dropped.
    ending: Close,
}

/// A task that watches sockets which it doesn't own; see `Socket::watch_by`.
#[derive(Clone, Copy)]
pub struct Watcher(TaskId);

/// A connection that no core has taken yet; may go to another core.
pub struct Accepted(Descriptor);

/// A listening socket of this core.
pub struct Listener {
    core: Core,
    key: Key,
    address: SocketAddr,
    /// Others have the socket, too, and go on with it.
    inherited: bool,
}

impl Core {
    /// The running task as a watcher of other tasks' sockets.
    pub fn watcher(&self) -> Watcher {
        Watcher(self.0.executor.current())
    }

    /// Gives the core sockets for `listen`. One that was bound is used once; one that was inherited again and again.
    pub fn provide(&self, sockets: Vec<Prepared>) {
        self.0.host.provide(sockets);
    }

    /// Listens on `address`: with the socket that was provided for it, or with SO_REUSEPORT, so that every core can.
    pub fn listen(&self, address: SocketAddr, backlog: u32) -> io::Result<Listener> {
        let Listening { socket, address, inherited } = self.0.host.listen(address, backlog)?;
        let key = self.0.table.borrow_mut().add(socket, Phase::Listening, None);
        Ok(Listener { core: self.clone(), key, address, inherited })
    }

    /// Takes an accepted connection to this core; receiving starts at once.
    pub fn adopt(&self, accepted: Accepted) -> Socket {
        let key = self.0.table.borrow_mut().add(accepted.0, Phase::Open, None);
        Socket { core: self.clone(), key, closed: false, ending: Close::Flush }
    }

    /// Connects to `address`. Dropping the future gives up.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = self.start_connect(address)?;
        poll_fn(|_| socket.poll_connected()).await?;
        Ok(socket)
    }

    /// Begins to connect; `Socket::poll_connected` tells how it went.
    pub fn start_connect(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = self.0.host.stream_socket(address)?;
        let remote = Some(Box::new(RawAddress::new(address)));
        let key = self.0.table.borrow_mut().add(socket, Phase::Connecting, remote);
        Ok(Socket { core: self.clone(), key, closed: false, ending: Close::Flush })
    }
}

impl Socket {
    fn wait(&self) {
        self.core.0.table.borrow_mut().wait(self.key, self.core.0.executor.current());
    }

    /// Ready once the connection is made or has failed.
    pub fn poll_connected(&self) -> Poll<io::Result<()>> {
        let mut table = self.core.0.table.borrow_mut();
        if table.entry(self.key).phase == Phase::Connecting {
            table.wait(self.key, self.core.0.executor.current());
            return Poll::Pending;
        }
        Poll::Ready(table.error(self.key).map_or(Ok(()), Err))
    }

    /// The next bytes, the end, or the failure; registers the running task if there is none of them yet.
    #[inline]
    pub fn poll_recv(&self) -> Poll<Received> {
        let mut table = self.core.0.table.borrow_mut();
        match table.take_received(self.key) {
            Some(received) => Poll::Ready(received),
            None => {
                table.wait(self.key, self.core.0.executor.current());
                Poll::Pending
            }
        }
    }

    pub async fn recv(&self) -> Received {
        poll_fn(|_| self.poll_recv()).await
    }

    /// Bytes that are there now.
    pub fn try_recv(&self) -> Option<Received> {
        self.core.0.table.borrow_mut().take_received(self.key)
    }

    /// Whether input, an end or a failure waits; registers the running task if not.
    pub fn poll_readable(&self) -> Poll<()> {
        let mut table = self.core.0.table.borrow_mut();
        if table.has_received(self.key) {
            return Poll::Ready(());
        }
        table.wait(self.key, self.core.0.executor.current());
        Poll::Pending
    }

    /// Whether the connection has shown an end, a failure or input: on an idle connection each of them means that it
    /// can't be used any more.
    pub fn has_input(&self) -> bool {
        self.core.0.table.borrow().has_received(self.key)
    }

    /// Puts bytes back to the front of the queue.
    pub fn unrecv(&self, slice: Slice) {
        self.core.0.table.borrow_mut().untake(self.key, slice);
    }

    /// Queues bytes; they are sent after the ready tasks have run. Never blocks; see `poll_drained` for backpressure.
    #[inline]
    pub fn send(&self, bytes: &[u8]) {
        self.core.0.table.borrow_mut().send_bytes(&self.core.0.pool, self.key, bytes);
    }

    /// Queues a slice without copying it (a small one is copied).
    #[inline]
    pub fn send_slice(&self, slice: Slice) {
        self.core.0.table.borrow_mut().send_slice(&self.core.0.pool, self.key, slice);
    }

    /// Bytes queued and not yet taken by the kernel.
    pub fn unsent_bytes(&self) -> usize {
        self.core.0.table.borrow().entry(self.key).send_bytes
    }

    /// Ready once at most `below` bytes are queued, or the connection has failed.
    #[inline]
    pub fn poll_drained(&self, below: usize) -> Poll<io::Result<()>> {
        let mut table = self.core.0.table.borrow_mut();
        if let Some(error) = table.error(self.key) {
            return Poll::Ready(Err(error));
        }
        if table.is_drained(self.key, below) {
            return Poll::Ready(Ok(()));
        }
        table.wait(self.key, self.core.0.executor.current());
        Poll::Pending
    }

    pub async fn drained(&self, below: usize) -> io::Result<()> {
        poll_fn(|_| self.poll_drained(below)).await
    }

    /// Registers another task for whatever happens next: the one that looks after idle connections.
    pub fn watch_by(&self, watcher: Watcher) {
        self.core.0.table.borrow_mut().wait(self.key, watcher.0);
    }

    /// Registers the running task for whatever happens next to the socket.
    pub fn watch(&self) {
        self.wait();
    }

    /// The failure of the connection, if it has failed.
    pub fn error(&self) -> Option<io::Error> {
        self.core.0.table.borrow().error(self.key)
    }

    /// Ends our direction after what is queued; what is queued later is dropped.
    pub fn shutdown_write(&self) {
        self.core.0.table.borrow_mut().shutdown_write(self.key);
    }

    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.core.0.host.peer_address(self.core.0.table.borrow().entry(self.key).fd)
    }

    pub fn local_address(&self) -> Option<SocketAddr> {
        self.core.0.host.local_address(self.core.0.table.borrow().entry(self.key).fd)
    }

    /// Sends what is queued, ends our direction, and waits up to a second for the peer's end, so that unread input
    /// doesn't turn into a reset that overtakes the last bytes.
    pub fn close_lingering(mut self) {
        self.close(Close::Linger);
    }

    /// Drops what is queued and resets the connection.
    pub fn reset(mut self) {
        self.close(Close::Reset);
    }

    /// Makes dropping the socket what `close_lingering` is: for owners that can't give it away.
    pub fn linger_when_dropped(&mut self) {
        self.ending = Close::Linger;
    }

    /// Makes dropping the socket what `reset` is.
    pub fn reset_when_dropped(&mut self) {
        self.ending = Close::Reset;
    }

    /// Queues bytes as `send` does, unless the core has closed the socket itself: for destructors.
    pub fn send_last(&self, bytes: &[u8]) {
        // At the very end of a core the table may be in use further up the stack.
        if let Ok(mut table) = self.core.0.table.try_borrow_mut()
            && table.find(self.key).is_some()
        {
            table.send_bytes(&self.core.0.pool, self.key, bytes);
        }
    }

    fn close(&mut self, how: Close) {
        if !self.closed {
            self.closed = true;
            // At the very end of a core the table may be in use further up the stack; it closes everything itself.
            if let Ok(mut table) = self.core.0.table.try_borrow_mut()
                && table.find(self.key).is_some()
            {
                table.close(self.key, how);
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close(self.ending);
    }
}

impl Listener {
    /// The bound address, with the real port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. An error means that descriptors or memory are short: accepting pauses and goes on by
    /// itself.
    pub async fn accept(&self) -> io::Result<Accepted> {
        poll_fn(|_| self.poll_accept()).await
    }

    pub fn poll_accept(&self) -> Poll<io::Result<Accepted>> {
        let mut table = self.core.0.table.borrow_mut();
        match table.take_accepted(self.key) {
            Some(result) => Poll::Ready(result.map(Accepted)),
            None => {
                table.wait(self.key, self.core.0.executor.current());
                Poll::Pending
            }
        }
    }

    /// Accepts no more until `resume`: the kernel's queue keeps what comes. What it has accepted already still arrives.
    pub fn pause(&self) {
        self.core.0.table.borrow_mut().pause_accepting(self.key);
    }

    pub fn resume(&self) {
        self.core.0.table.borrow_mut().resume_accepting(self.key);
    }

    /// Lets no further handshake begin. Those under way end and their connections are accepted as before: waiting a
    /// round trip or two between this and `finish` loses nobody. An inherited socket is left as it is: whoever passed it
    /// has it, too, and handshakes go on for the next process.
    pub fn refuse_handshakes(&self) {
        if self.inherited {
            return;
        }
        self.core.0.host.refuse_handshakes(self.core.0.table.borrow().entry(self.key).fd);
    }

    /// Stops listening: ends accepting, then hands out every connection whose handshake was done by then. (One that is
    /// done between the last look and the close is reset by the kernel; see `refuse_handshakes`.) What waits on an
    /// inherited socket stays there: other cores, or the next process, accept it.
    pub async fn finish(self) -> Vec<Accepted> {
        self.core.0.table.borrow_mut().pause_accepting(self.key);
        poll_fn(|_| {
            let mut table = self.core.0.table.borrow_mut();
            if !table.entry(self.key).has(flag::RECEIVING) {
                return Poll::Ready(());
            }
            table.wait(self.key, self.core.0.executor.current());
            Poll::Pending
        })
        .await;
        let mut table = self.core.0.table.borrow_mut();
        let mut rest: Vec<Accepted> =
            std::iter::from_fn(|| table.take_accepted(self.key)).filter_map(Result::ok).map(Accepted).collect();
        if !self.inherited {
            rest.extend(self.core.0.host.accept_waiting(table.entry(self.key).fd).into_iter().map(Accepted));
        }
        drop(table);
        rest
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Ok(mut table) = self.core.0.table.try_borrow_mut()
            && table.find(self.key).is_some()
        {
            table.close(self.key, Close::Flush);
        }
    }
}
