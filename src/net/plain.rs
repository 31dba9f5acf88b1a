//! A plain socket, read and written with one system call each and as little as possible around it: these
//! two calls are what a query costs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::buffer::{Slab, Window};

/// What TCP and Unix sockets have in common.
pub trait Socket: AsFd {
    /// Runs `operation` if the socket was reported ready; `WouldBlock` makes it wait for the next report.
    fn when_ready<R>(&self, interest: Interest, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R>;
    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

macro_rules! socket {
    ($kind:ty) => {
        impl Socket for $kind {
            #[inline]
            fn when_ready<R>(
                &self,
                interest: Interest,
                operation: impl FnOnce() -> io::Result<R>,
            ) -> io::Result<R> {
                self.try_io(interest, operation)
            }

            #[inline]
            fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                if interest.is_readable() { self.poll_read_ready(cx) } else { self.poll_write_ready(cx) }
            }
        }
    };
}
socket!(TcpStream);
socket!(UnixStream);

pub struct Plain<S> {
    socket: S,
    /// The task that the next readiness wakes, by its waker's address; 0: nobody, or it is not known. The
    /// socket holds that waker, so the address cannot become another task's meanwhile.
    armed: usize,
}

impl<S: Socket> Plain<S> {
    pub fn new(socket: S) -> Self {
        Plain { socket, armed: 0 }
    }

    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket for reading it in another way, which may give it another waker.
    pub fn stream(&mut self) -> &mut S {
        self.armed = 0;
        &mut self.socket
    }

    pub fn into_socket(self) -> S {
        self.socket
    }

    /// See `Stream::poll_fill`.
    #[inline]
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        window: &mut Window,
        slab: &Slab,
    ) -> Poll<io::Result<usize>> {
        if window.is_full() {
            return Poll::Pending;
        }
        loop {
            match self.try_fill(window, slab) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            let task = cx.waker().data().addr();
            if self.armed == task {
                return Poll::Pending;
            }
            match self.socket.poll_ready(Interest::READABLE, cx) {
                Poll::Pending => {
                    self.armed = task;
                    return Poll::Pending;
                }
                Poll::Ready(ready) => ready?,
            }
        }
    }

    /// One read if the socket was reported readable.
    #[inline]
    fn try_fill(&mut self, window: &mut Window, slab: &Slab) -> io::Result<usize> {
        let (fd, armed) = (self.socket.as_fd(), &mut self.armed);
        let mut drained = 0;
        let outcome = self.socket.when_ready(Interest::READABLE, || {
            *armed = 0;
            let room = window.room(slab);
            match receive(fd, room)? {
                // A short read emptied the socket: the next report is worth waiting for.
                n if n > 0 && n < room.len() => {
                    drained = n;
                    Err(io::ErrorKind::WouldBlock.into())
                }
                n => Ok(n),
            }
        });
        let n = if drained > 0 { Ok(drained) } else { outcome };
        match n {
            Ok(n) => window.filled(n),
            Err(_) => window.release(slab),
        }
        n
    }

    /// See `Stream::poll_send`.
    #[inline]
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let fd = self.socket.as_fd();
            match self.socket.when_ready(Interest::WRITABLE, || transmit(fd, bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            std::task::ready!(self.socket.poll_ready(Interest::WRITABLE, cx))?;
        }
    }

    /// Whether the socket was reported readable or ended.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.socket.when_ready(Interest::READABLE, || Ok(())).is_ok()
    }
}

#[inline]
fn receive(fd: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(fd, &mut *room, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(|(n, _)| n)?),
        }
    }
}

#[inline]
fn transmit(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(fd, bytes, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
