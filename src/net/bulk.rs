//! Fewer wake-ups for long streams. PostgreSQL sends 8 KiB at a time, and each send wakes its reader; once
//! a stream has proved long, the kernel is told to wake us for larger helpings (`SO_RCVLOWAT`), and a timer
//! fetches the last, smaller one. Costs nothing for streams that stay short.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::stream::Stream;

/// Bytes of one answer after which it counts as long: the extra milliseconds at its end are then few
/// beside the time it took.
const LONG: usize = 1024 * 1024;

/// Bytes to wait for. Less than a read buffer, so that one read empties the socket.
const HELPING: usize = 48 * 1024;

/// How long to wait for a whole helping: what a server takes for it that sends 12 MB/s.
const PATIENCE: Duration = Duration::from_millis(4);

/// One direction of a connection.
#[derive(Default)]
pub struct Bulk {
    moved: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Bulk {
    /// `n` more bytes of the same answer were read.
    #[inline]
    pub fn moved(&mut self, n: usize, stream: &Stream) {
        self.moved += n;
        if self.moved < LONG {
            return;
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + PATIENCE),
            None if stream.wake_at(HELPING) => {
                self.timer = Some(Box::pin(tokio::time::sleep(PATIENCE)));
            }
            None => self.moved = 0,
        }
    }

    /// Call at each wake-up while the stream has nothing ready: a helping that does not fill up is fetched.
    #[inline]
    pub fn poll(&mut self, stream: &Stream, cx: &mut Context<'_>) {
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            self.end(stream);
        }
    }

    /// The answer is complete, or the stream is slow.
    #[inline]
    pub fn end(&mut self, stream: &Stream) {
        self.moved = 0;
        if self.timer.take().is_some() {
            stream.wake_at(1);
        }
    }
}
