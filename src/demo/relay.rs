//! A wire with a delay: what comes in at one end goes out at the other a fixed while later, in order. It makes two
//! programs on one machine as far apart as two machines are. Knows no protocol.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// Pieces under way in one direction; a sender that is ahead of them waits, as it would for a full window.
const PIECES_MAX: usize = 256;

/// Gone when dropped, with all connections.
pub struct Relay {
    pub address: SocketAddr,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Relay {
    /// Takes connections on a free port of the loopback and connects each to `to`, a host and a port. Each direction
    /// takes `delay` longer than without it. It works on a thread of its own, whatever its caller waits for.
    ///
    /// # Errors
    /// When there is no thread or port to be had.
    pub fn start(to: (String, u16), delay: Duration) -> io::Result<Relay> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (_end, end) = oneshot::channel();
        std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = accept(listener, to, delay) => {}
                    // An error says that the sender is gone, which is what is waited for.
                    _ = end => {}
                }
            });
        })?;
        Ok(Relay { address, _end })
    }
}

async fn accept(listener: std::net::TcpListener, to: (String, u16), delay: Duration) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (near, _) = listener.accept().await?;
        let to = to.clone();
        tokio::spawn(async move {
            // Who cannot be reached is a connection that ends at once.
            if let Ok(far) = TcpStream::connect(to).await {
                join(near, far, delay);
            }
        });
    }
}

fn join(near: TcpStream, far: TcpStream, delay: Duration) {
    // A wire that waits for more to send would add a delay of its own; without the option it is only slower.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    for (from, to) in [(near_in, far_out), (far_in, near_out)] {
        let (pieces, due) = mpsc::channel(PIECES_MAX);
        tokio::spawn(take_in(from, pieces, delay));
        tokio::spawn(give_out(due, to));
    }
}

type Piece = (Instant, Vec<u8>);

async fn take_in(mut from: OwnedReadHalf, pieces: mpsc::Sender<Piece>, delay: Duration) {
    let mut piece = vec![0; PIECE];
    while let Ok(size @ 1..) = from.read(&mut piece).await {
        if pieces.send((Instant::now() + delay, piece[..size].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Ends, and with it the direction, when the other end has.
async fn give_out(mut due: mpsc::Receiver<Piece>, mut to: OwnedWriteHalf) {
    while let Some((when, piece)) = due.recv().await {
        sleep_until(when).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_goes_in_comes_out_later_and_in_order() {
        let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = echo.local_addr().unwrap();
        let echoing = std::thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 1000];
            while let Ok(size @ 1..) = stream.read(&mut buffer) {
                seen.extend_from_slice(&buffer[..size]);
                stream.write_all(&buffer[..size]).unwrap();
            }
            seen
        });
        let relay = Relay::start(("127.0.0.1".to_owned(), to.port()), Duration::from_millis(20)).unwrap();
        let mut client = std::net::TcpStream::connect(relay.address).unwrap();
        let begun = std::time::Instant::now();
        let text: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        client.write_all(&text).unwrap();
        let mut back = vec![0; text.len()];
        client.read_exact(&mut back).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(40));
        assert!(back == text);
        drop(client);
        assert!(echoing.join().unwrap() == text);
    }
}
