//! The null forwarder on Corelane's own runtime: a task a connection, no parsing.

use std::net::SocketAddr;
use std::task::Poll;

use clap::Parser;
use runtime::{Bell, Core, DriverChoice, Options, Received, Socket, run};

/// Bytes queued at which a direction stops taking more.
const QUEUED_BYTES_MAX: usize = 256 * 1024;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    /// uring, epoll or auto
    #[arg(long, default_value = "auto")]
    driver: String,
    /// Most receive buffers of 64 KiB.
    #[arg(long, default_value_t = 8192)]
    buffers: usize,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let driver = match arguments.driver.as_str() {
        "uring" => DriverChoice::Uring,
        "epoll" => DriverChoice::Epoll,
        _ => DriverChoice::Auto,
    };
    let options = Options { driver, receive_buffers_max: arguments.buffers, ..Options::default() };
    run(&options, &Bell::new()?, |core| async move {
        let Ok(listener) = core.listen(arguments.listen, 4096) else { return core.stop() };
        eprintln!("listening on {}", listener.address());
        loop {
            if let Ok(accepted) = listener.accept().await {
                core.spawn(serve(core.clone(), core.adopt(accepted), arguments.upstream));
            }
        }
    })
}

async fn serve(core: Core, client: Socket, upstream: SocketAddr) {
    let Ok(upstream) = core.connect(upstream).await else { return };
    let mut open = [true, true];
    std::future::poll_fn(|_| {
        for (direction, (from, to)) in [(&client, &upstream), (&upstream, &client)].into_iter().enumerate() {
            while open[direction] {
                match to.poll_drained(QUEUED_BYTES_MAX) {
                    Poll::Pending => break,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) => {}
                }
                match from.poll_recv() {
                    Poll::Pending => break,
                    Poll::Ready(Received::Data(slice)) => to.send_slice(slice),
                    Poll::Ready(Received::End) => {
                        to.shutdown_write();
                        open[direction] = false;
                    }
                    Poll::Ready(Received::Failed(_)) => return Poll::Ready(()),
                }
            }
        }
        if open == [false, false] { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
