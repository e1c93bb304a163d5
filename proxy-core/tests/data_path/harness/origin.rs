//! Origins that do what a test says, a thread a connection.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Broken, Message, Wire};

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    open: AtomicUsize,
    stopped: AtomicBool,
    requests: Mutex<Vec<Message>>,
}

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

/// The proxy as an origin sees it: one connection.
pub(crate) struct Peer {
    pub(crate) wire: Wire,
    seen: Arc<Seen>,
}

impl Origin {
    /// `serve` has the connection to itself; it is closed when `serve` returns.
    pub(crate) fn new(serve: impl Fn(Peer) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let (shared, serve) = (seen.clone(), Arc::new(serve));
        spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let (serve, seen) = (serve.clone(), shared.clone());
                spawn(move || {
                    let open = Open(seen.clone());
                    serve(Peer { wire: Wire::new(stream), seen });
                    drop(open);
                });
            }
        });
        Origin { address, seen }
    }

    /// Answers every request of every connection with what `answer` says.
    pub(crate) fn answering(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        Origin::new(move |mut peer| {
            while let Ok(request) = peer.request() {
                if !peer.wire.send(answer(&request)) {
                    return;
                }
            }
        })
    }

    /// Answers 200 with this body.
    pub(crate) fn saying(body: &str) -> Origin {
        let response = ok(body);
        Origin::answering(move |_| response.clone())
    }

    /// Answers with these bytes, whatever they are.
    pub(crate) fn sending(response: &str) -> Origin {
        let response = response.as_bytes().to_vec();
        Origin::answering(move |_| response.clone())
    }

    /// Connections that were ever made.
    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open: the proxy hasn't closed them, or the origin hasn't seen it.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Requests that came whole, in the order of their ends.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.seen.requests.lock().expect("requests").clone()
    }

    /// The only request that came.
    #[track_caller]
    pub(crate) fn request(&self) -> Message {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Peer {
    /// The next request, remembered for the test.
    pub(crate) fn request(&mut self) -> Result<Message, Broken> {
        let request = self.wire.request()?;
        self.remember(request.clone());
        Ok(request)
    }

    pub(crate) fn remember(&self, request: Message) {
        self.seen.requests.lock().expect("requests").push(request);
    }
}

/// A small stack: there may be thousands.
fn spawn(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).expect("a thread");
}

/// A response with a length.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}
