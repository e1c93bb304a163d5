//! The forwarder as one would write it on monoio: a task a connection, one copy loop a direction, owned buffers.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use bench::Options;
use clap::Parser;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

/// Entries of the submission queue.
const SUBMISSION_ENTRIES: u32 = 1024;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(SUBMISSION_ENTRIES)
        .build()
        .and_then(|mut runtime| runtime.block_on(serve(&options)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward-monoio: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> io::Result<()> {
    let listener = TcpListener::from_std(bench::listen(options.listen)?)?;
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                monoio::spawn(forward(client, options.upstream, options.buffer_bytes as usize));
            }
            Err(error) => eprintln!("forward-monoio: can't accept: {error}"),
        }
    }
}

async fn forward(client: TcpStream, upstream: SocketAddr, buffer_bytes: usize) {
    let upstream = match TcpStream::connect_addr(upstream).await {
        Ok(upstream) => upstream,
        Err(error) => {
            eprintln!("forward-monoio: can't connect to the upstream: {error}");
            return;
        }
    };
    let _ = upstream.set_nodelay(true);
    let (mut client_reader, mut client_writer) = client.into_split();
    let (mut upstream_reader, mut upstream_writer) = upstream.into_split();
    let mut up = std::pin::pin!(copy(&mut client_reader, &mut upstream_writer, buffer_bytes));
    let mut down = std::pin::pin!(copy(&mut upstream_reader, &mut client_writer, buffer_bytes));
    // An error in either direction ends both; the end of a stream is passed on, and the other direction lives on.
    monoio::select! {
        result = &mut up => if result.is_ok() { let _ = down.await; },
        result = &mut down => if result.is_ok() { let _ = up.await; },
    }
}

async fn copy<R: AsyncReadRent, W: AsyncWriteRent>(
    reader: &mut R,
    writer: &mut W,
    buffer_bytes: usize,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(buffer_bytes);
    loop {
        let (received, filled) = reader.read(buffer).await;
        if received? == 0 {
            return writer.shutdown().await;
        }
        let (sent, emptied) = writer.write_all(filled).await;
        sent?;
        buffer = emptied;
        buffer.clear();
    }
}
