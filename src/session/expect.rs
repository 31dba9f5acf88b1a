//! What a statement's text lets one expect of the session that runs it. Pure.

use super::Session;
use super::settings::CUSTOM_MAX;
use crate::observe::counters::PinReason;
use crate::sql::{self, Traits};

impl Session {
    pub(super) fn expect(&mut self, traits: Traits, text: &[u8]) {
        // What is dropped or closed may have been what holds the server.
        let unpins = self.pins.iter().any(|pin| match pin {
            PinReason::TemporaryTable => traits.has(Traits::DDL),
            PinReason::HoldCursor => sql::has_statement(text, "close"),
            _ => false,
        });
        self.doubt.state |= unpins;
        if traits == Traits::NONE {
            return;
        }
        if traits.has(Traits::STATE) || (traits.has(Traits::EXECUTES) && self.executes_state()) {
            self.doubt.state = true;
            self.doubt.resets |= traits.has(Traits::RESETS);
            for name in sql::dotted(text) {
                self.note_custom(&name);
            }
        }
        self.exchange.begun |= traits.has(Traits::BEGINS);
        self.doubt.local |= traits.has(Traits::LOCAL);
        self.doubt.schema |= traits.has(Traits::DDL);
    }

    /// Whether a statement that SQL prepared may change the session's state.
    pub(super) fn executes_state(&self) -> bool {
        self.baggage.prepared().values().any(|text| sql::words(text).has(Traits::STATE))
    }

    pub(super) fn note_custom(&mut self, name: &[u8]) {
        let short = name.len() < 128 && self.custom.len() < CUSTOM_MAX;
        if short && !self.custom.iter().any(|known| known == name) {
            let names = sql::dotted(name);
            if let [only] = names.as_slice()
                && only == name
            {
                self.custom.extend(names);
            }
        }
    }
}
