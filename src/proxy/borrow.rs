//! How a session comes by a server and lets it go: the queue, the chores in between, the return.

use std::task::{Context, Poll};

use super::chore;
use super::control::State;
use super::drive::{Drive, Pace, Turn};
use super::farewell::{self, Farewell};
use crate::error::ClientError;
use crate::net::send::send;
use crate::pool::lend::Lease;
use crate::pool::settings::PoolMode;
use crate::session::Rest;
use crate::wire::server::TxStatus;

impl Drive {
    pub(super) fn want_server(&mut self) -> Result<(), Farewell> {
        if self.draining {
            return Err(Farewell::Refused(farewell::shutting_down()));
        }
        self.wants_server = true;
        self.waits.wants_server(self.worker.clock.us());
        match self.pool.take(self.startup.as_ref(), &self.session.baggage) {
            Some(lease) => {
                self.pool.counters.queue_wait.observe_us(0);
                self.adopt(lease);
            }
            None => {
                self.control.enter(State::Waiting, self.worker.clock.ms());
                self.ticket = Some(self.pool.queue(self.startup.as_ref()));
            }
        }
        Ok(())
    }

    /// A server was lent: make it carry what the client expects, then go on with the client's input.
    pub(super) fn adopt(&mut self, mut lease: Lease) {
        let server = lease.server();
        self.control.server_pid.set(server.key.pid);
        self.control.enter(State::Active, self.worker.clock.ms());
        self.started_us = self.worker.clock.us();
        if self.session.mode == PoolMode::Session || server.memory.baggage == self.session.baggage {
            self.lease = Some(lease);
            return;
        }
        let wanted = self.session.baggage.clone();
        self.chore = Some(Box::pin(async move { Ok((chore::align(lease, wanted).await?, None)) }));
    }

    pub(super) fn poll_ticket(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(ticket) = &self.ticket else {
            return Ok(Pace::Moved);
        };
        let since = ticket.since_us();
        let lease = match ticket.poll(cx) {
            Poll::Ready(lease) => lease,
            Poll::Pending => return self.watch_waiting_client(cx),
        };
        self.ticket = None;
        let lease = lease.map_err(Farewell::Refused)?;
        self.pool.counters.queue_wait.observe_us(self.worker.clock.us() - since);
        self.adopt(lease);
        Ok(Pace::Moved)
    }

    /// A client that leaves the queue gives its place to the next. Its further input waits with it.
    pub(super) fn watch_waiting_client(&mut self, cx: &mut Context<'_>) -> Turn {
        match self.client.poll_fill(cx, &mut self.from_client.input, &self.worker.slab) {
            Poll::Pending => Ok(Pace::Still),
            Poll::Ready(Ok(0)) => Err(Farewell::ClientLeft),
            Poll::Ready(Ok(n)) => {
                self.pool.counters.bytes_in.add(n as u64);
                Ok(Pace::Moved)
            }
            Poll::Ready(Err(error)) => Err(Farewell::ClientLost(error.to_string())),
        }
    }

    pub(super) fn poll_chore(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(chore) = &mut self.chore else {
            return Ok(Pace::Moved);
        };
        let outcome = match chore.as_mut().poll(cx) {
            Poll::Pending => return Ok(Pace::Still),
            Poll::Ready(outcome) => outcome,
        };
        self.chore = None;
        let (mut lease, state) = outcome.map_err(Farewell::ChoreFailed)?;
        let mut news = std::mem::take(&mut lease.server().asides);
        if let Some(state) = state {
            let memory = &mut lease.server().memory;
            memory.baggage = self.session.learn_state(state);
            news.extend(self.session.returned_parameters(memory));
        }
        if !news.is_empty() {
            send(&mut self.client, cx, &news, &mut self.from_server.unsent)
                .map_err(|error| Farewell::ClientLost(error.to_string()))?;
        }
        self.lease = Some(lease);
        self.settle_after_chore()?;
        Ok(Pace::Moved)
    }

    pub(super) fn settle_after_chore(&mut self) -> Result<(), Farewell> {
        // After an alignment the client's input is next; after an inspection the server may go.
        if self.wants_server { Ok(()) } else { self.settle() }
    }

    /// Lets the server go when nothing keeps it.
    pub(super) fn settle(&mut self) -> Result<(), Farewell> {
        let tally = std::mem::take(&mut self.session.tally);
        self.count(tally);
        if !self.from_client.unsent.is_empty() || !self.from_server.input.is_empty() {
            return Ok(());
        }
        let rest = self.session.rest();
        if rest != Rest::Busy {
            self.from_client.bulk.end(&self.client);
            if let Some(lease) = &mut self.lease {
                self.from_server.bulk.end(&lease.server().stream);
            }
        }
        match rest {
            Rest::Busy => return Ok(()),
            _ => self.lead = None,
        }
        match rest {
            Rest::Busy => {}
            Rest::Keep
                if self.session.mode == PoolMode::Statement && self.session.status() != TxStatus::Idle =>
            {
                let message = "transaction blocks are not allowed in statement pooling mode";
                return Err(Farewell::Refused(
                    ClientError::fatal("0A000", message).hint("Use pool mode transaction for this database."),
                ));
            }
            Rest::Keep => self.stay(),
            // A cancel request on its way must not hit pgweir's own question.
            Rest::Ask if self.cancelling.get() > 0 => {
                self.control.enter(State::Idle, self.worker.clock.ms());
            }
            Rest::Ask => self.inspect(),
            Rest::Release => self.release(),
        }
        if self.session.take_schema_change() {
            self.pool.schema_changed();
            self.lines.schema_changes();
        }
        if self.draining && self.chore.is_none() && self.session.is_clean() {
            return Err(Farewell::Refused(farewell::shutting_down()));
        }
        Ok(())
    }

    pub(super) fn release(&mut self) {
        if self.cancelling.get() > 0 {
            return self.control.enter(State::Idle, self.worker.clock.ms());
        }
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        self.session.part();
        self.pin(None);
        self.control.server_pid.set(0);
        self.control.enter(State::Idle, self.worker.clock.ms());
    }

    pub(super) fn inspect(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let login = self.pool.config.borrow().login.user.clone();
        let custom = self.session.custom_settings();
        self.chore = Some(Box::pin(async move {
            let (lease, state) = chore::inspect(lease, login, custom).await?;
            Ok((lease, Some(state)))
        }));
    }
}
