//! A connection's bytes, whatever carries them: TCP, a Unix socket, or TLS over TCP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::buffer::{Slab, Window};
use super::plain::Plain;

pub enum Stream {
    Tcp(Plain<TcpStream>),
    Unix(Plain<UnixStream>),
    /// TLS with pgweir as the server. Boxed: most connections have none and should not pay its size.
    TlsServer(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    TlsClient(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    /// Nothing is left to read or write.
    Closed,
}

impl Stream {
    pub fn tcp(socket: TcpStream) -> Self {
        Stream::Tcp(Plain::new(socket))
    }

    pub fn unix(socket: UnixStream) -> Self {
        Stream::Unix(Plain::new(socket))
    }

    /// Reads once into the window's room. `Ready(Ok(0))` is the end of the stream; a full window reads
    /// nothing and is `Pending` until it is consumed. A plain socket that has nothing to say borrows no
    /// buffer.
    #[inline]
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        window: &mut Window,
        slab: &Slab,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(plain) => return plain.poll_fill(cx, window, slab),
            Stream::Unix(plain) => return plain.poll_fill(cx, window, slab),
            Stream::TlsServer(_) | Stream::TlsClient(_) | Stream::Closed => {}
        }
        let room = window.room(slab);
        if room.is_empty() {
            return Poll::Pending;
        }
        let mut into = ReadBuf::new(room);
        let result = Pin::new(self).poll_read(cx, &mut into);
        let n = into.filled().len();
        window.filled(n);
        if result.is_pending() {
            window.release(slab);
        }
        result.map_ok(|()| n)
    }

    /// Writes what the socket takes at once; `Pending` wakes `cx` when it takes more.
    #[inline]
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(plain) => plain.poll_send(cx, bytes),
            Stream::Unix(plain) => plain.poll_send(cx, bytes),
            _ => Pin::new(self).poll_write(cx, bytes),
        }
    }

    /// Whether an idle connection has anything to read, its end included. Costs no system call when not.
    pub fn has_news(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self {
            Stream::Tcp(plain) => plain.has_news(),
            Stream::Unix(plain) => plain.has_news(),
            Stream::TlsServer(stream) => stream.get_ref().0.poll_read_ready(&mut cx).is_ready(),
            Stream::TlsClient(stream) => stream.get_ref().0.poll_read_ready(&mut cx).is_ready(),
            Stream::Closed => true,
        }
    }

    /// Asks the kernel to report this stream as readable only with so many bytes, or at its end. Lowering it
    /// reports what is there at once. False where that cannot be done.
    pub fn wake_at(&self, bytes: usize) -> bool {
        use std::os::fd::AsRawFd;
        let Stream::Tcp(plain) = self else {
            return false;
        };
        let value = bytes as libc::c_int;
        // SAFETY: the descriptor is open as long as `plain` is borrowed, and the option value is a C int
        // that lives over the call, with its own size given.
        let result = unsafe {
            libc::setsockopt(
                plain.socket().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        result == 0
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::TlsServer(_) | Stream::TlsClient(_))
    }

    /// Where the other end is, for logs.
    pub fn peer(&self) -> String {
        let tcp = |stream: &TcpStream| {
            stream.peer_addr().map_or_else(|_| "gone".to_owned(), |address| address.to_string())
        };
        match self {
            Stream::Tcp(plain) => tcp(plain.socket()),
            Stream::Unix(_) => "unix".to_owned(),
            Stream::TlsServer(stream) => tcp(stream.get_ref().0),
            Stream::TlsClient(stream) => tcp(stream.get_ref().0),
            Stream::Closed => "gone".to_owned(),
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(plain) => Pin::new(plain.stream()).poll_read(cx, buf),
            Stream::Unix(plain) => Pin::new(plain.stream()).poll_read(cx, buf),
            Stream::TlsServer(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::TlsClient(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(plain) => Pin::new(plain.stream()).poll_write(cx, buf),
            Stream::Unix(plain) => Pin::new(plain.stream()).poll_write(cx, buf),
            Stream::TlsServer(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::TlsClient(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(_) | Stream::Unix(_) | Stream::Closed => Poll::Ready(Ok(())),
            Stream::TlsServer(stream) => Pin::new(stream).poll_flush(cx),
            Stream::TlsClient(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(plain) => Pin::new(plain.stream()).poll_shutdown(cx),
            Stream::Unix(plain) => Pin::new(plain.stream()).poll_shutdown(cx),
            Stream::TlsServer(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::TlsClient(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Closed => Poll::Ready(Ok(())),
        }
    }
}
