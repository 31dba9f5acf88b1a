//! Other clients of the same pool, who take its servers away and leave their settings on them, so that the
//! client under test changes servers and finds each one in another state.

use super::{PoolMode, Raw, Startup};

pub struct Disturb {
    /// Transactions are refused.
    statements: bool,
    holder: Raw,
    dirty: Raw,
    turn: usize,
}

impl Disturb {
    pub fn new(port: u16, database: &str, mode: PoolMode) -> Disturb {
        let mut dirty = Raw::open(port, &Startup::new(database));
        dirty.ask("PREPARE disturbing AS SELECT 'disturbed'");
        Disturb {
            holder: Raw::open(port, &Startup::new(database)),
            statements: mode == PoolMode::Statement,
            dirty,
            turn: 0,
        }
    }

    /// One server is held or let go, and another is left with settings that others must not see.
    pub fn disturb(&mut self) {
        self.turn += 1;
        if self.turn % 3 == 1 {
            self.holder.ask("SELECT 1");
        }
        self.dirty.ask(match self.turn % 3 {
            0 => "SET search_path = other; SET timezone = 'Asia/Tokyo'",
            1 => "SET search_path = pg_catalog; SET work_mem = '3MB'; SET datestyle = 'German'",
            _ => "RESET ALL; SET my.tenant = 'not yours'; SET standard_conforming_strings = off",
        });
        let hold = match self.turn % 4 {
            1 => "BEGIN",
            3 => "COMMIT",
            _ => return,
        };
        if !self.statements {
            self.holder.ask(hold);
        }
    }
}
