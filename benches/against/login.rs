//! Start-up and login as a state machine: frames in, bytes to send out. Serves both the blocking
//! login before a run and the non-blocking one of connect-per-query. Must not know sockets.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::frames::{be_u32, error_text, put, put_text};
use crate::scram::{Keys, Scram};
use crate::{Fail, fail};

/// The one user and database of the benchmark.
pub const USER: &str = "bench";
pub const PASSWORD: &str = "weir-bench";
pub const DATABASE: &str = "bench";

/// One login under way.
pub struct Login {
    scram: Scram,
}

impl Login {
    /// Writes the start-up packet.
    pub fn start(out: &mut Vec<u8>) -> Login {
        static LOGINS: AtomicU64 = AtomicU64::new(0);
        let mut body = Vec::with_capacity(96);
        body.extend_from_slice(&0x0003_0000u32.to_be_bytes());
        for text in ["user", USER, "database", DATABASE, "application_name", "against", ""] {
            put_text(&mut body, text);
        }
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(&body);
        Login { scram: Scram::new(LOGINS.fetch_add(1, Ordering::Relaxed)) }
    }

    /// Takes one frame, appends what has to be answered; true means ready for queries.
    pub fn frame(&mut self, tag: u8, body: &[u8], keys: &mut Keys, out: &mut Vec<u8>) -> Result<bool, Fail> {
        match tag {
            b'R' => self.authenticate(body, keys, out)?,
            b'S' | b'K' | b'N' => {}
            b'Z' => return Ok(true),
            b'E' => return fail(format!("login refused: {}", error_text(body))),
            other => return fail(format!("login: unexpected frame {:?}", other as char)),
        }
        Ok(false)
    }

    fn authenticate(&mut self, body: &[u8], keys: &mut Keys, out: &mut Vec<u8>) -> Result<(), Fail> {
        let rest = body.get(4..).unwrap_or_default();
        match be_u32(body) {
            0 => {}
            10 => {
                let first = self.scram.first();
                put(out, b'p', |b| {
                    put_text(b, "SCRAM-SHA-256");
                    b.extend_from_slice(&(first.len() as u32).to_be_bytes());
                    b.extend_from_slice(first.as_bytes());
                });
            }
            11 => {
                let answer = self.scram.answer(std::str::from_utf8(rest)?, PASSWORD, keys)?;
                put(out, b'p', |b| b.extend_from_slice(answer.as_bytes()));
            }
            12 => self.scram.verify(std::str::from_utf8(rest)?)?,
            other => {
                return fail(format!("login: authentication method {other} is not SCRAM-SHA-256"));
            }
        }
        Ok(())
    }
}
