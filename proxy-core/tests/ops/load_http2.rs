//! Load over HTTP/2 that takes every failed request seriously.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;

use super::wait_until;

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    connections: AtomicU64,
}

/// Clients on connections with many streams each; a connection that says GOAWAY is replaced.
pub struct Http2Load {
    shared: Arc<Shared>,
    thread: JoinHandle<Vec<String>>,
}

impl Http2Load {
    pub fn start(address: SocketAddr, connections: usize, streams: usize, path: &'static str) -> Http2Load {
        let shared = Arc::new(Shared::default());
        let sharing = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let all: Vec<_> = (0..connections)
                    .map(|_| tokio::spawn(connection(Arc::clone(&sharing), address, streams, path)))
                    .collect();
                let mut failures = Vec::new();
                for one in all {
                    failures.extend(one.await.expect("a client"));
                }
                failures
            })
        });
        Http2Load { shared, thread }
    }

    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Connections that were made.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub fn wait_for(&self, requests: u64) {
        let until = self.done() + requests;
        wait_until("requests to be answered", || self.done() >= until);
    }

    /// Failed requests: those that the server may have seen and that got no whole, right response.
    pub fn stop(self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a thread")
    }
}

/// Connection after connection, with `streams` requests at once on each.
async fn connection(shared: Arc<Shared>, address: SocketAddr, streams: usize, path: &'static str) -> Vec<String> {
    let mut failures = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok(socket) = tokio::net::TcpStream::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        // A listener that closes may drop a connection that nobody has accepted: nothing was asked then.
        let Ok((send, driver)) = h2::client::handshake(socket).await else { continue };
        tokio::spawn(driver);
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let all: Vec<_> =
            (0..streams).map(|_| tokio::spawn(requests(Arc::clone(&shared), send.clone(), path))).collect();
        for one in all {
            failures.extend(one.await.expect("a client"));
        }
    }
    failures
}

/// Request after request, until the connection takes no more.
async fn requests(shared: Arc<Shared>, send: SendRequest<Bytes>, path: &'static str) -> Option<String> {
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok(mut send) = send.clone().ready().await else { return None };
        let request = http::Request::get(format!("http://app.test{path}")).body(()).expect("a request");
        let Ok((response, _)) = send.send_request(request, true) else { return None };
        match answer(response).await {
            Ok(200) => shared.done.fetch_add(1, Ordering::Relaxed),
            Ok(status) => return Some(format!("status {status}")),
            // Not processed, says the server: it may be asked elsewhere.
            Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => return None,
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => return None,
            Err(error) => return Some(format!("{error:?}")),
        };
    }
    None
}

async fn answer(response: h2::client::ResponseFuture) -> Result<u16, h2::Error> {
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        let len = piece?.len();
        body.flow_control().release_capacity(len)?;
    }
    Ok(status)
}

/// An endpoint on HTTP/2 that answers everything with 200 after a moment. It lives as long as the test process.
pub fn http2_origin() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    listener.set_nonblocking(true).expect("non-blocking");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(3)).await;
                            let Ok(mut body) = respond.send_response(http::Response::new(()), false) else { return };
                            let _ = body.send_data(Bytes::from_static(b"origin"), true);
                        });
                    }
                });
            }
        });
    });
    address
}
