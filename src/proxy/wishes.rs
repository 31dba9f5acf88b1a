//! What others ask of a running session: cancel requests, deadlines, the end of pgweir.

use std::task::Context;

use super::control::{State, Wish};
use super::drive::Drive;
use super::farewell::{self, Farewell};
use crate::error::ClientError;
use crate::net::send::send;
use crate::pool::settings::PoolMode;
use crate::session::Rest;

impl Drive {
    pub(super) fn heed(&mut self, wish: Wish, cx: &mut Context<'_>) -> Result<(), Farewell> {
        match wish {
            Wish::End(error) => Err(Farewell::Refused(error)),
            Wish::Cancel => {
                if self.ticket.is_some() || !self.places.is_empty() {
                    self.control.cancelled();
                    let message = "canceling statement due to user request";
                    return self.give_up_waiting(&ClientError::error("57014", message), cx);
                }
                if self.cancelling.get() > 0 {
                    self.control.cancel_again();
                } else {
                    self.cancel();
                }
                Ok(())
            }
            Wish::Interrupt if !self.places.is_empty() => {
                let message = "canceling statement due to pgweir's query timeout";
                self.give_up_waiting(&ClientError::error("57014", message), cx)
            }
            Wish::Interrupt => {
                if self.cancelling.get() == 0 {
                    self.cancel();
                }
                Ok(())
            }
            Wish::Settle => self.settle_if_released(),
            Wish::EndUnit => {
                self.end_unit();
                Ok(())
            }
            Wish::GiveUpWaiting(error) if self.ticket.is_some() => self.give_up_waiting(&error, cx),
            Wish::GiveUpWaiting(_) => Ok(()),
            Wish::Drain => {
                self.draining = true;
                let waits = self.ticket.is_some() || !self.places.is_empty();
                if self.chore.is_none() && !waits && self.session.is_clean() {
                    return Err(Farewell::Refused(farewell::shutting_down()));
                }
                Ok(())
            }
        }
    }

    /// A cancel request went through while its server was held back.
    pub(super) fn settle_if_released(&mut self) -> Result<(), Farewell> {
        let held = self.lease.is_some() && self.session.mode != PoolMode::Session;
        let done = held && matches!(self.session.rest(), Rest::Release | Rest::Ask);
        if done && self.from_client.input.is_empty() {
            return self.settle();
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self) {
        let in_flight = self.session.in_flight();
        let Some(lease) = self.lease.as_mut().filter(|_| in_flight) else {
            return self.control.cancelled();
        };
        self.pool.counters.cancels.add(1);
        self.inserting.cancel();
        let (address, key) = (lease.server().address.clone(), lease.server().key.clone());
        let tls = self.pool.config.borrow().tls.clone();
        let (under_way, control) = (self.cancelling.clone(), self.control.clone());
        under_way.set(under_way.get() + 1);
        tokio::task::spawn_local(async move {
            if let Err(error) = crate::pool::cancel::send(address, key, tls).await {
                tracing::warn!("a cancel request did not get through: {error}");
            }
            under_way.set(under_way.get() - 1);
            control.cancelled();
        });
    }

    pub(super) fn give_up_waiting(
        &mut self,
        error: &ClientError,
        cx: &mut Context<'_>,
    ) -> Result<(), Farewell> {
        self.ticket = None;
        self.places.clear();
        self.wants_server = false;
        let input = self.from_client.input.bytes();
        let mut answer = Vec::new();
        let consumed = self.session.refuse(input, error, &mut answer);
        self.from_client.input.consume(consumed);
        self.control.enter(State::Idle, self.worker.clock.ms());
        send(&mut self.client, cx, &answer, &mut self.from_server.unsent)
            .map_err(|error| Farewell::ClientLost(error.to_string()))?;
        self.wants_server = !self.from_client.input.is_empty();
        Ok(())
    }

    /// Sends a last message, as far as the client takes it.
    pub fn last_words(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        // What was cut off in the middle of a frame cannot be followed by anything.
        if self.session.is_half_sent() && !self.session.is_clean() && !self.from_server.unsent.is_empty() {
            return;
        }
        let _ = send(&mut self.client, cx, bytes, &mut self.from_server.unsent);
    }
}
