//! Both answers of one batch, and what differs between them.

use pgweir::coalesce::replay::{Member, Replay};
use pgweir::coalesce::split::{self, Split};
use pgweir::wire::client::Bind;
use pgweir::wire::reply;

use super::Fuzz;
use super::case::{Asked, Prepared};
use super::wire::{Frame, execute};

/// Bytes that may be on their way before answers are read: less than a socket holds.
const FLIGHT: usize = 32 * 1024;

/// What came back: the bytes of RowDescription, rows, CommandComplete, or an error.
type Answer = Result<(Vec<u8>, Vec<Vec<u8>>, Vec<u8>), String>;

impl Fuzz {
    pub fn compare(&mut self, prepared: &Prepared, asked: &[Asked]) {
        let replay = &prepared.replay;
        self.batch.clear(replay);
        let mut members = Vec::new();
        for one in asked {
            let bind = one.bind.as_deref().and_then(Bind::read);
            let member = Member { text: one.text.as_bytes(), slots: &one.slots, bind };
            match self.batch.add(replay, &member) {
                Ok(()) => members.push(one),
                Err(_) => self.figures.unfit += 1,
            }
        }
        if members.is_empty() {
            return;
        }
        let singles = self.singles(&members);
        let whole = self.whole(replay, members.len(), &singles);
        self.figures.batches += 1;
        let fails = singles.iter().any(Result::is_err);
        let mut together = match whole {
            Ok(together) => together,
            Err(_) if fails => return self.figures.errors += 1,
            Err(error) => return *self.figures.failed_alone.entry(error).or_default() += 1,
        };
        together.rotate_left(usize::from(self.sabotage));
        for ((one, alone), rows) in members.iter().zip(singles).zip(together) {
            self.figures.comparisons += 1;
            let alone = alone.map(|(_, rows, _)| rows);
            if alone.as_ref() == Ok(&rows) {
                continue;
            }
            if self.planned_without_values(prepared, one).is_ok_and(|(_, generic, _)| generic == rows) {
                self.figures.by_plan += 1;
                let shown = one.text.chars().take(200).collect();
                *self.figures.plans.entry(shown).or_default() += 1;
                continue;
            }
            let bind = one.bind.as_deref().map(String::from_utf8_lossy);
            let show = |rows: &[Vec<u8>]| String::from_utf8_lossy(&rows.concat()).into_owned();
            let alone = alone.map(|alone| show(&alone));
            self.figures.difference(format!(
                "{} {bind:?}\n  alone {alone:?}\n  batch {:?}",
                one.text,
                show(&rows)
            ));
        }
    }

    /// The statement by itself, by a plan that is made without its values, as PostgreSQL makes one when a statement
    /// comes often. Which of equal values DISTINCT returns, in which order rows come that nobody sorted, and whether a cast
    /// fails that no row needs, differs between such plans; both answers are PostgreSQL's own.
    fn planned_without_values(&mut self, prepared: &Prepared, one: &Asked) -> Answer {
        let mode = self.plan_mode;
        self.wire.must("set plan_cache_mode = force_generic_plan");
        let mut out = Vec::new();
        match &one.bind {
            Some(bind) => reply::frame(&mut out, b'B', |out| out.extend_from_slice(bind)),
            None => {
                let lifted = one.slots.iter().zip(&prepared.lifted).filter(|(_, lifted)| **lifted);
                let values = lifted.map(|(slot, _)| &one.text[slot.start as usize..slot.end as usize]);
                let values: Vec<String> = values.map(unquoted).collect();
                reply::frame(&mut out, b'B', |out| {
                    out.extend_from_slice(b"\0p\0\0\0");
                    out.extend_from_slice(&(values.len() as u16).to_be_bytes());
                    for value in &values {
                        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                        out.extend_from_slice(value.as_bytes());
                    }
                    out.extend_from_slice(&[0, 0]);
                });
            }
        }
        execute(&mut out, true);
        let mut found = Err("no answer".to_owned());
        self.wire.ask(&out, 1, |_, frames| found = answer(frames));
        self.wire.must(&format!("set plan_cache_mode = {mode}"));
        found
    }

    /// Each statement by itself.
    fn singles(&mut self, members: &[&Asked]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(members.len());
        let (mut out, mut count) = (Vec::new(), 0);
        for (at, one) in members.iter().enumerate() {
            match &one.bind {
                Some(bind) => {
                    reply::frame(&mut out, b'B', |out| out.extend_from_slice(bind));
                    execute(&mut out, true);
                }
                None => reply::query(&mut out, &one.text),
            }
            count += 1;
            if out.len() > FLIGHT || at + 1 == members.len() {
                self.wire.ask(&out, count, |_, frames| answers.push(answer(frames)));
                (out, count) = (Vec::new(), 0);
            }
        }
        answers
    }

    /// All in one: the rows of each. RowDescription and CommandComplete are compared with those of the singles here.
    fn whole(
        &mut self,
        replay: &Replay,
        members: usize,
        singles: &[Answer],
    ) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let mut out = Vec::new();
        self.batch.write_bind(replay, b"", b"b", &mut out);
        execute(&mut out, true);
        let mut together = vec![Vec::new(); members];
        let mut outcome = Ok(());
        let figures = &mut self.figures;
        self.wire.ask(&out, 1, |_, frames| {
            let mut split = Split::new(members);
            for frame in frames {
                match frame.tag {
                    b'E' => outcome = Err(frame.message()),
                    b'T' => {
                        for (alone, _, _) in singles.iter().flatten() {
                            let own = &alone[5..];
                            if split::is_described(frame.body(), own) {
                                continue;
                            }
                            // With a value in its place, coalesce(k, NULL) is k, whose modifier is its own. Later,
                            // when PostgreSQL plans without values, it is not.
                            if without_modifiers(frame.body(), 1) == without_modifiers(own, 0) {
                                figures.other_modifier += 1;
                                continue;
                            }
                            let text = String::from_utf8_lossy(replay.text());
                            figures.difference(format!("{text}: another RowDescription"));
                        }
                    }
                    b'D' => match split.row(frame.body()) {
                        Ok((member, row)) => {
                            let mut whole = Vec::new();
                            row.write(&mut whole);
                            together[member].push(whole);
                        }
                        Err(_) => outcome = Err("its rows are not in order".to_owned()),
                    },
                    _ => {}
                }
            }
        });
        outcome?;
        for (rows, alone) in together.iter().zip(singles) {
            let mut complete = Vec::new();
            split::write_complete(rows.len() as u64, &mut complete);
            // A statement with other rows is looked at by itself.
            if alone.as_ref().is_ok_and(|(_, own, tag)| own.len() == rows.len() && *tag != complete) {
                self.figures.difference("another CommandComplete".to_owned());
            }
        }
        Ok(together)
    }
}

/// The value of a literal.
fn unquoted(literal: &str) -> String {
    let inner = literal.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\''));
    inner.map_or_else(|| literal.to_owned(), |inner| inner.replace("\'\'", "'"))
}

/// A RowDescription's fields from the one given on, each without its type's modifier.
fn without_modifiers(body: &[u8], from: usize) -> Vec<Vec<u8>> {
    let (mut fields, mut rest) = (Vec::new(), &body[2..]);
    while let Some(end) = rest.iter().position(|&byte| byte == 0) {
        let (field, after) = rest.split_at(end + 1 + 18);
        let (before, behind) = (&field[..field.len() - 6], &field[field.len() - 2..]);
        fields.push([before, behind].concat());
        rest = after;
    }
    fields.split_off(from)
}

fn answer(frames: &[Frame<'_>]) -> Answer {
    if let Some(error) = frames.iter().find(|frame| frame.tag == b'E') {
        return Err(error.message());
    }
    let of = |tag| frames.iter().filter(move |frame| frame.tag == tag).map(|frame| frame.whole.to_vec());
    let one = |tag| of(tag).next().unwrap_or_default();
    Ok((one(b'T'), of(b'D').collect(), one(b'C')))
}
