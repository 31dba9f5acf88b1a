//! The way from the server to the client: what came is matched with what was asked, booked and passed on.

use std::task::{Context, Poll};

use super::drive::Drive;
use super::farewell::Farewell;
use crate::net::send::send;
use crate::session::{Desk, Need};

impl Drive {
    /// Reads what the server sent and passes it on.
    pub(super) fn pull_server(&mut self, cx: &mut Context<'_>) -> Result<bool, Farewell> {
        if !self.from_server.unsent.is_empty() {
            return Ok(false);
        }
        let Some(lease) = &mut self.lease else {
            return Ok(false);
        };
        match lease.server().stream.poll_fill(cx, &mut self.from_server.input, &self.worker.slab) {
            Poll::Pending => {
                self.from_server.bulk.poll(&lease.server().stream, cx);
                return Ok(false);
            }
            Poll::Ready(Ok(0)) => return Err(self.lost_server("the server closed the connection")),
            Poll::Ready(Ok(n)) => self.from_server.bulk.moved(n, &lease.server().stream),
            Poll::Ready(Err(error)) => return Err(self.lost_server(&error.to_string())),
        }
        self.on_server(cx)?;
        Ok(true)
    }

    fn on_server(&mut self, cx: &mut Context<'_>) -> Result<(), Farewell> {
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        let (worker, was) = (self.worker.clone(), self.session.status());
        let mut outs = worker.outs.borrow_mut();
        let mut notes = worker.notes.borrow_mut();
        let (to_server, to_client) = &mut *outs;
        let input = self.from_server.input.bytes();
        let step = {
            let mut interner = self.pool.interner.borrow_mut();
            let mut desk = Desk {
                memory: Some(&mut lease.server().memory),
                interner: &mut interner,
                epoch: self.pool.epoch(),
                to_server,
                to_client,
                now_us: self.worker.clock.us(),
                notes: &mut notes,
            };
            self.session.on_server(input, &mut desk)
        };
        if self.session.tally.readies > 0 {
            self.acknowledge_writes();
            self.note_ready(self.session.tally.error.is_some());
        }
        let input = self.from_server.input.bytes();
        let bytes = to_client.bytes(input);
        self.pool.counters.bytes_out.add(bytes.len() as u64);
        let sent = send(&mut self.client, cx, bytes, &mut self.from_server.unsent);
        to_client.clear();
        // A group of messages that is sent once more.
        let again = to_server.bytes(&[]);
        let mut server_sent = Ok(());
        if !again.is_empty() {
            if let Some(lease) = &mut self.lease {
                let stream = &mut lease.server().stream;
                server_sent = send(stream, cx, again, &mut self.from_client.unsent);
            }
            to_server.clear();
        }
        drop(outs);
        self.note_unsent();
        self.book(&mut notes);
        self.watch_step(&notes, was);
        notes.partial = 0..0;
        drop(notes);
        self.from_server.input.consume(step.consumed);
        self.from_server.input.release(&self.worker.slab);
        sent.map_err(|error| Farewell::ClientLost(error.to_string()))?;
        server_sent.map_err(|error| self.lost_server(&error.to_string()))?;
        self.answers_came();
        self.create_missing();
        if let Need::Broken(what) = step.need {
            return Err(Farewell::ServerBroken(what));
        }
        self.settle()
    }
}
