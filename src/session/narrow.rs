//! Bounds for statements on partitioned tables, on their way to the server: the text of a Query gets them as
//! literals, a Bind as values of a statement that has room for them. Decides when a session is in too much doubt
//! for it; the bounds themselves are found in `route`. Pure.

use std::rc::Rc;

use super::{Desk, Session};
use crate::observe::counters::PinReason;
use crate::pool::routing::Routing;
use crate::pool::settings::PoolMode;
use crate::pool::shape::{Known, Shapes};
use crate::pool::statement::Statement;
use crate::route::Moment;
use crate::route::literal::Value;
use crate::route::prepared::Bound;
use crate::sql::Traits;
use crate::sql::edit::{self, Splice};
use crate::wire::client::Bind;
use crate::wire::reply;
use crate::wire::server::{TxStatus, tag};
use crate::wire::{int16, int32};

/// A Query that was narrowed, for the positions in its errors.
#[derive(Debug)]
pub struct Spliced {
    pub original: Box<str>,
    pub splices: Vec<Splice>,
}

impl Session {
    /// A frame of the client is looked at: a transaction that is not open yet begins no earlier.
    #[inline]
    pub(super) fn note_beginning(&mut self, desk: &Desk<'_>) {
        if self.exchange.queue.is_empty() && self.exchange.status == TxStatus::Idle {
            self.began_us = desk.now_us;
        }
    }

    /// What the meaning of a statement depends on; `None` when that is in doubt. Settings and temporary tables that
    /// a statement under way may have made are, and those of session mode always.
    fn routing_moment<'a>(&self, routing: &'a Routing, desk: &Desk<'_>) -> Option<Moment<'a>> {
        let doubtful = self.mode == PoolMode::Session
            || self.doubt.state
            || self.doubt.schema
            || (self.doubt.local && !self.exchange.queue.is_empty())
            || self.pins.contains(&PinReason::TemporaryTable)
            || routing.epoch.get() != desk.epoch;
        let memory = desk.memory.as_ref().filter(|_| !doubtful)?;
        let zone = memory.parameters.iter().find(|(name, _)| name == "TimeZone")?;
        let zone = routing.router.zone(&zone.1)?;
        // An open transaction has begun by now.
        let latest = (self.exchange.status != TxStatus::Idle).then_some(desk.now_us);
        Some(routing.moment(zone, self.began_us, latest, memory.standard_strings))
    }

    /// The text to send in place of that of a Query, and what was put into it.
    #[inline]
    pub(super) fn narrow_query(
        &mut self,
        text: &[u8],
        known: &Known,
        desk: &mut Desk<'_>,
    ) -> Option<(String, Rc<Spliced>)> {
        let routing = desk.interner.routing.clone()?;
        let Shapes::One(shape) = &known.shapes else {
            return None;
        };
        (known.traits == Traits::NONE && routing.concerns(shape)).then_some(())?;
        let original = str::from_utf8(text).ok()?;
        let may_reach = self.may_reach(shape);
        let moment = self.routing_moment(&routing, desk)?;
        let reach = if may_reach { routing.reach(shape) } else { 0 };
        let moment = Moment { reach, plain_only: self.exchange.status != TxStatus::Idle, ..moment };
        let narrowed = routing.router.narrow(original, &moment, &mut desk.interner.work);
        // A page that is sent as it is says nothing of the next one.
        if reach > 0 || narrowed.is_some() {
            routing.note(shape, narrowed.is_some());
        }
        let splices = narrowed?;
        let new = edit::apply(original, &splices)?;
        if let Some(rows) = desk.interner.work.page_rows {
            self.reach_query(rows, shape, text, desk);
        }
        self.tally.narrowed += 1;
        Some((new, Rc::new(Spliced { original: original.into(), splices })))
    }

    /// The statement to bind in place of this one, and what follows the names in its Bind. `None`: it is bound as
    /// the client says; so is what has not arrived whole or has not as many values as the statement has parameters.
    #[inline]
    pub(super) fn narrow_bind(
        &mut self,
        statement: &Statement,
        bind: Bind<'_>,
        (input, whole): (&[u8], bool),
        desk: &Desk<'_>,
    ) -> Option<(Rc<Statement>, Vec<u8>)> {
        let twin = statement.twin.as_ref().filter(|_| whole)?;
        let group = if twin.prepared.page { self.group_to_reach(&statement.known, input) } else { None };
        let moment = self.routing_moment(&twin.routing, desk)?;
        let reach = group.map_or(0, |(shape, _)| twin.routing.reach(shape));
        let moment = Moment { reach, plain_only: self.exchange.status != TxStatus::Idle, ..moment };
        let mut values = Vec::with_capacity(twin.prepared.own);
        let mut readable = true;
        bind.each_value(|value, binary| {
            values.push(match value {
                None => Value::Null,
                Some(value) if binary => Value::Binary(value),
                Some(value) => match str::from_utf8(value) {
                    Ok(text) => Value::Text(text),
                    Err(_) => {
                        readable = false;
                        Value::Null
                    }
                },
            });
        })?;
        (readable && values.len() == twin.prepared.own).then_some(())?;
        let (bounds, rows) = twin.prepared.bounds_and_rows(&twin.routing.router, &values, &moment);
        if twin.prepared.page && bounds.iter().all(Bound::is_open) {
            return None;
        }
        if let (Some(rows), Some((shape, size))) = (rows, group) {
            self.reach_bind(rows, shape, &input[..size], desk);
        }
        let rest = with_values(bind.rest, &bounds)?;
        self.tally.narrowed += 1;
        Some((twin.statement.clone(), rest))
    }

    /// Shows an error in the client's own terms. False: it is to be shown as it is.
    pub(super) fn show_as_own(&mut self, body: &[u8], input: &[u8], desk: &mut Desk<'_>) -> bool {
        self.show_renamed(body, input, desk) || self.show_moved(body, input, desk)
    }

    /// Shows an error of a narrowed Query with the position that it has in the client's own text. False: it is to
    /// be shown as it is.
    fn show_moved(&mut self, body: &[u8], input: &[u8], desk: &mut Desk<'_>) -> bool {
        let front = self.exchange.queue.front();
        let Some(spliced) = front.and_then(|item| item.spliced.clone()) else {
            return false;
        };
        let Some(moved) = moved(body, &spliced) else {
            return false;
        };
        reply::frame(desk.to_client.own(input), tag::ERROR, |out| out.extend_from_slice(&moved));
        true
    }
}

/// The part of a Bind behind its names, with more values. They have the form that the client has chosen for all, or
/// text. `None`: the message is malformed.
fn with_values(rest: &[u8], bounds: &[Bound]) -> Option<Vec<u8>> {
    let (count, behind) = int16(rest)?;
    let formats_count = usize::try_from(count).ok()?;
    let (formats, behind) = behind.split_at_checked(2 * formats_count)?;
    let (count, values) = int16(behind)?;
    let values_count = usize::try_from(count).ok()?;
    let mut tail = values;
    for _ in 0..values_count {
        let (length, behind) = int32(tail)?;
        tail = behind.get(usize::try_from(length).unwrap_or(0)..)?;
    }
    let values = &values[..values.len() - tail.len()];
    let (one_for_all, each) = (formats_count == 1, formats_count > 1);
    let binary = one_for_all && formats == [0, 1];
    let added = if each { bounds.len() } else { 0 };
    let mut out = Vec::with_capacity(rest.len() + 48 * bounds.len());
    out.extend_from_slice(&u16::try_from(formats_count + added).ok()?.to_be_bytes());
    out.extend_from_slice(formats);
    out.resize(out.len() + 2 * added, 0);
    out.extend_from_slice(&u16::try_from(values_count + bounds.len()).ok()?.to_be_bytes());
    out.extend_from_slice(values);
    for bound in bounds {
        let value = if binary { bound.binary() } else { bound.text().into_bytes() };
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(&value);
    }
    out.extend_from_slice(tail);
    Some(out)
}

/// The body of an error with its position moved. `None`: it has none, or the same.
fn moved(body: &[u8], spliced: &Spliced) -> Option<Vec<u8>> {
    let mut at = 0;
    while let Some(&field) = body.get(at).filter(|field| **field != 0) {
        let start = at + 1;
        let end = start + body[start..].iter().position(|&byte| byte == 0)?;
        if field == b'P' {
            let position: usize = str::from_utf8(&body[start..end]).ok()?.parse().ok()?;
            let own = edit::original_position(&spliced.original, &spliced.splices, position);
            let new = [&body[..start], own.to_string().as_bytes(), &body[end..]].concat();
            return (own != position).then_some(new);
        }
        at = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(formats: &[u16], values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = (formats.len() as u16).to_be_bytes().to_vec();
        formats.iter().for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
        out.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            out.extend_from_slice(&value.map_or(-1, |value| value.len() as i32).to_be_bytes());
            out.extend_from_slice(value.unwrap_or_default());
        }
        // One format for all results.
        out.extend_from_slice(&[0, 1, 0, 1]);
        out
    }

    #[test]
    fn values_are_added_in_the_form_that_the_others_have() {
        let bound = Bound::default();
        let (text, binary) = (bound.text().into_bytes(), bound.binary());
        for (formats, expected, added) in [
            (vec![], vec![], &text),
            (vec![0], vec![0], &text),
            (vec![1], vec![1], &binary),
            (vec![1, 0], vec![1, 0, 0], &text),
        ] {
            let with = with_values(&rest(&formats, &[None, Some(b"xy")]), &[bound]);
            assert_eq!(with, Some(rest(&expected, &[None, Some(b"xy"), Some(added)])), "{formats:?}");
        }
        assert_eq!(with_values(&rest(&[], &[]), &[bound]), Some(rest(&[], &[Some(&text)])));
        for cut in 0..12 {
            assert_eq!(with_values(&rest(&[1], &[Some(b"abcdef")])[..cut], &[bound]), None, "{cut}");
        }
    }

    #[test]
    fn positions_are_those_of_the_client() {
        let spliced =
            Spliced { original: "select 1 order by x".into(), splices: vec![Splice::new(8, " where y")] };
        let error = |position: &str| [b"SERROR\0P", position.as_bytes(), b"\0Rx\0\0"].concat();
        assert_eq!(moved(&error("27"), &spliced), Some(error("19")));
        assert_eq!(moved(&error("3"), &spliced), None);
        assert_eq!(moved(b"SERROR\0\0", &spliced), None);
    }
}
