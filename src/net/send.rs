//! Writing without waiting: what a socket does not take is kept by the caller and goes first next time.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::stream::Stream;

/// Writes what the socket takes; the rest is kept. What is kept already goes first.
pub fn send(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    bytes: &[u8],
    unsent: &mut Vec<u8>,
) -> std::io::Result<()> {
    if !unsent.is_empty() {
        unsent.extend_from_slice(bytes);
        return flush(stream, cx, unsent);
    }
    let written = write(stream, cx, bytes)?;
    unsent.extend_from_slice(&bytes[written..]);
    Ok(())
}

pub fn flush(stream: &mut Stream, cx: &mut Context<'_>, unsent: &mut Vec<u8>) -> std::io::Result<()> {
    if unsent.is_empty() {
        return Ok(());
    }
    let written = write(stream, cx, unsent)?;
    unsent.drain(..written);
    if unsent.is_empty() {
        *unsent = Vec::new();
    }
    Ok(())
}

fn write(stream: &mut Stream, cx: &mut Context<'_>, bytes: &[u8]) -> std::io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.poll_send(cx, &bytes[written..]) {
            Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => written += n,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    if stream.is_tls()
        && let Poll::Ready(Err(error)) = tokio::io::AsyncWrite::poll_flush(Pin::new(stream), cx)
    {
        return Err(error);
    }
    Ok(written)
}
