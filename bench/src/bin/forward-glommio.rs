//! The forwarder as one would write it on glommio: a task a connection, one copy loop a direction.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::process::ExitCode;

use bench::Options;
use clap::Parser;
use futures_lite::future::{self, try_zip};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, io::split};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

fn main() -> ExitCode {
    let options = Options::parse();
    let result = LocalExecutorBuilder::new(Placement::Unbound)
        .make()
        .map_err(io::Error::from)
        .and_then(|executor| executor.run(serve(&options)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward-glommio: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> io::Result<()> {
    // SAFETY: the descriptor is a listening socket that nobody else owns any more.
    let listener = unsafe { TcpListener::from_raw_fd(bench::listen(options.listen)?.into_raw_fd()) };
    loop {
        match listener.accept().await {
            Ok(client) => {
                glommio::spawn_local(forward(client, options.upstream, options.buffer_bytes as usize)).detach();
            }
            Err(error) => {
                eprintln!("forward-glommio: can't accept: {error}");
                future::yield_now().await;
            }
        }
    }
}

async fn forward(client: TcpStream, upstream: SocketAddr, buffer_bytes: usize) {
    let upstream = match TcpStream::connect(upstream).await {
        Ok(upstream) => upstream,
        Err(error) => {
            eprintln!("forward-glommio: can't connect to the upstream: {error}");
            return;
        }
    };
    let _ = client.set_nodelay(true);
    let _ = upstream.set_nodelay(true);
    let (client_reader, client_writer) = split(client);
    let (upstream_reader, upstream_writer) = split(upstream);
    // An error in either direction ends both; the end of a stream is passed on, and the other direction lives on.
    let up = copy(client_reader, upstream_writer, buffer_bytes);
    let down = copy(upstream_reader, client_writer, buffer_bytes);
    let _ = try_zip(up, down).await;
}

async fn copy<R, W>(mut reader: R, mut writer: W, buffer_bytes: usize) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; buffer_bytes];
    loop {
        let received = reader.read(&mut buffer).await?;
        if received == 0 {
            return writer.close().await;
        }
        writer.write_all(&buffer[..received]).await?;
    }
}
