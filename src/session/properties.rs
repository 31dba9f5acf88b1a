//! What must hold whatever a client and a server send: no panic, no standstill, whole frames to either side,
//! and no server let go while anything is owed. The fuzz target runs `converse` with coverage to guide it,
//! and the tests below run it a bounded number of times. Pure.

use std::rc::Rc;

use super::account::Notes;
use super::out::Out;
use super::settings::State;
use super::{Desk, HOLD_MAX, Need, Rest, Session, Step};
use crate::pool::memory::Memory;
use crate::pool::settings::PoolMode;
use crate::pool::statement::Interner;
use crate::wire::{self, HEADER};

/// A client, its session and the server it borrows, in place of the shell.
pub struct Table {
    pub session: Session,
    pub lease: Option<Memory>,
    statements_max: usize,
    interner: Interner,
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    pub to_server: Cable,
    pub to_client: Cable,
    pub over: bool,
}

/// What arrived at one end, and how far it was checked.
#[derive(Default)]
pub struct Cable {
    pub bytes: Vec<u8>,
    /// Bytes of the frame that the checked part ends in.
    open: usize,
    checked: usize,
}

impl Cable {
    /// Everything sent so far is whole frames, but for `open` bytes that are still to come.
    fn check(&mut self, open: usize) {
        while self.checked < self.bytes.len() {
            let rest = &self.bytes[self.checked..];
            if self.open == 0 {
                let head = wire::head(rest).ok().flatten();
                self.open = head.expect("what is sent starts with a whole, sane header").size;
            }
            let here = self.open.min(rest.len());
            self.open -= here;
            self.checked += here;
        }
        assert_eq!(self.open, open, "the session and the cable disagree on what is half-sent");
    }
}

impl Table {
    pub fn new(mode: PoolMode, statements_max: usize) -> Self {
        Table {
            session: Session::new(mode, Rc::default()),
            // In session mode a server belongs to the client from its login on.
            lease: (mode == PoolMode::Session).then(|| Memory::new(statements_max)),
            statements_max,
            interner: Interner::new(Rc::default()),
            from_client: Vec::new(),
            from_server: Vec::new(),
            to_server: Cable::default(),
            to_client: Cable::default(),
            over: false,
        }
    }

    /// The client sends; a server is borrowed when one is needed.
    pub fn client_sends(&mut self, bytes: &[u8]) {
        self.from_client.extend_from_slice(bytes);
        let mut step = self.step(true);
        if step.need == Need::Server {
            assert!(self.lease.is_none(), "asked for a second server");
            self.lease = Some(Memory::new(self.statements_max));
            step = self.step(true);
            assert!(step.need != Need::Server, "asked for a server and did not use it");
        }
        self.heed(step, self.from_client.len());
    }

    pub fn server_sends(&mut self, bytes: &[u8]) {
        if self.lease.is_none() {
            return;
        }
        self.from_server.extend_from_slice(bytes);
        let step = self.step(false);
        self.heed(step, self.from_server.len());
    }

    fn step(&mut self, client: bool) -> Step {
        let (mut to_server, mut to_client) = (Out::default(), Out::default());
        let side = if client { &mut self.from_client } else { &mut self.from_server };
        let mut desk = Desk {
            memory: self.lease.as_mut(),
            interner: &mut self.interner,
            epoch: 0,
            to_server: &mut to_server,
            to_client: &mut to_client,
            now_us: 0,
            notes: &mut Notes::default(),
        };
        let step = if client {
            self.session.on_client(side, &mut desk)
        } else {
            self.session.on_server(side, &mut desk)
        };
        assert!(step.consumed <= side.len());
        assert!(self.lease.is_some() || to_server.is_empty(), "sent to no server");
        self.to_server.bytes.extend_from_slice(to_server.bytes(side));
        self.to_client.bytes.extend_from_slice(to_client.bytes(side));
        side.drain(..step.consumed);
        step
    }

    fn heed(&mut self, step: Step, left: usize) {
        self.over |= !matches!(step.need, Need::Bytes(_) | Need::Server);
        if self.over {
            return;
        }
        self.to_server.check(self.session.client_pass);
        self.to_client.check(self.session.server_pass);
        if let Need::Bytes(wanted) = step.need {
            assert!(wanted > left, "waits for bytes that are there");
            assert!(wanted <= HOLD_MAX + HEADER, "wants to hold {wanted} bytes");
        }
    }

    /// Lets the server go when the session says so; asks it first when the session wants that.
    pub fn settle(&mut self) {
        if self.lease.is_none() || !self.from_client.is_empty() || !self.from_server.is_empty() {
            return;
        }
        if self.session.rest() == Rest::Ask {
            self.session.learn_state(Some(State::default()));
        }
        if self.session.rest() == Rest::Release {
            assert!(self.session.is_clean(), "a server is let go while something is owed");
            self.session.part();
            self.lease = None;
        }
    }
}

/// Plays a script: a byte of choices, then events of a byte that says who sends, a length and the bytes.
pub fn converse(script: &[u8]) {
    let Some((&choices, mut rest)) = script.split_first() else {
        return;
    };
    let mode = match choices & 3 {
        0 => PoolMode::Session,
        1 => PoolMode::Statement,
        _ => PoolMode::Transaction,
    };
    let mut table = Table::new(mode, 1 + usize::from(choices >> 6));
    table.session.reuse_unnamed = choices & 4 == 0;
    let mut told = 0;
    while let [who, length, tail @ ..] = rest
        && !table.over
    {
        let (bytes, tail) = tail.split_at(tail.len().min((*length).into()));
        rest = tail;
        if who & 1 == 0 {
            table.client_sends(bytes);
        } else {
            told += if table.lease.is_some() { bytes.len() } else { 0 };
            table.server_sends(bytes);
        }
        if mode == PoolMode::Session && !table.over {
            let shown = table.to_client.bytes.len() + table.from_server.len();
            assert_eq!(shown, told, "in session mode a client sees all that its server says");
        }
        table.settle();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::wire::reply;

    fn body() -> impl Strategy<Value = Vec<u8>> {
        let pieces: [&[u8]; 16] = [
            b"",
            b"\0",
            b"a\0",
            b"b\0",
            b"S",
            b"P",
            b"Sa\0",
            b"\0\0",
            b"select 1\0",
            b"set a.b = 1\0",
            b"deallocate a\0",
            b"I",
            b"T",
            b"E",
            b"DISCARD ALL\0",
            b"C42601\0\0",
        ];
        vec(select(pieces.to_vec()), 0..5).prop_map(|pieces| pieces.concat())
    }

    /// Frames that a side may send, now and then cut short, of a huge length, or noise.
    fn sent(tags: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
        let frame = |(tag, body): (u8, Vec<u8>)| {
            let mut out = Vec::new();
            reply::frame(&mut out, tag, |out| out.extend_from_slice(&body));
            out
        };
        let huge =
            |(tag, length, body): (u8, u32, Vec<u8>)| [&[tag][..], &length.to_be_bytes(), &body].concat();
        let frames = vec((select(tags), body()).prop_map(frame), 1..4);
        prop_oneof![
            8 => frames.prop_map(|frames| frames.concat()),
            1 => (select(tags), 4u32..600_000, body()).prop_map(huge),
            1 => vec(any::<u8>(), 0..30),
        ]
    }

    fn script() -> impl Strategy<Value = Vec<u8>> {
        let client = (Just(0), sent(b"BCdcfDEHFPQSX"));
        let server = (Just(1), sent(b"RK23CWdcGHDIEVvnNAtS1sZT"));
        let event = |(who, mut bytes): (u8, Vec<u8>)| {
            bytes.truncate(255);
            bytes.splice(0..0, [who, bytes.len() as u8]);
            bytes
        };
        let events = vec(prop_oneof![3 => client, 2 => server].prop_map(event), 0..12);
        (any::<u8>(), events).prop_map(|(choices, events)| [vec![choices], events.concat()].concat())
    }

    /// Closing a statement costs no message to the server, but its answer has a place among the others. Rows
    /// of a portal that was suspended come without any answer before them.
    #[test]
    fn what_pgweir_answers_itself_keeps_its_place_before_rows() {
        let mut table = Table::new(PoolMode::Transaction, 2);
        table.client_sends(b"Q\0\0\0\x0abegin\0");
        table.server_sends(b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T");
        table.to_client.bytes.clear();
        table.client_sends(b"C\0\0\0\x07Sx\0E\0\0\0\x0ap\0\0\0\0\x01S\0\0\0\x04");
        table.server_sends(b"D\0\0\0\x06\0\0s\0\0\0\x04Z\0\0\0\x05T");
        let seen = table.to_client.bytes;
        assert_eq!(seen, b"3\0\0\0\x04D\0\0\0\x06\0\0s\0\0\0\x04Z\0\0\0\x05T");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn nothing_that_is_sent_breaks_a_session(script in script()) {
            converse(&script);
        }

        #[test]
        fn noise_does_not_either(script in vec(any::<u8>(), 0..200)) {
            converse(&script);
        }

        /// Where the network cuts a stream decides nothing.
        #[test]
        fn pieces_mean_the_same_as_the_whole(
            sent in vec(sent(b"BCdcfDEHFPQS"), 1..5), cuts in vec(1usize..40, 1..20), pooled: bool,
        ) {
            let mode = if pooled { PoolMode::Transaction } else { PoolMode::Session };
            let (mut whole, mut pieces) = (Table::new(mode, 2), Table::new(mode, 2));
            let sent = sent.concat();
            whole.client_sends(&sent);
            let mut rest = &sent[..];
            for cut in cuts.iter().cycle() {
                let (piece, tail) = rest.split_at(rest.len().min(*cut));
                pieces.client_sends(piece);
                rest = tail;
                if rest.is_empty() || pieces.over {
                    break;
                }
            }
            prop_assert_eq!(whole.over, pieces.over);
            prop_assert_eq!(whole.to_server.bytes, pieces.to_server.bytes);
            prop_assert_eq!(whole.to_client.bytes, pieces.to_client.bytes);
        }
    }
}
