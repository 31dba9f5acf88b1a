//! A session's look-up before it is sent anywhere: answered from what was fetched ahead, or fetched together with those
//! that will follow. What to do is decided in `coalesce`; this carries it out.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::ahead::look_at;
use super::fetch::{Answer, Fetched, Wanted, fetch};
use super::line::Line;
use super::plan::Plan;
use super::site::Kind as LineKind;
use super::survey;
use crate::coalesce::prefetch::buffer::Served;
use crate::coalesce::prefetch::keys::{Form, Value as KeyValue};
use crate::coalesce::prefetch::level::{Place, Taken};
use crate::coalesce::prefetch::plan::{self, Order, World};
use crate::net::send::send;
use crate::pool::server::{BackendKey, ServerError};
use crate::pool::settings::ServerAddress;
use crate::proxy::control::State;
use crate::proxy::drive::{Drive, Pace, Turn};
use crate::proxy::farewell::Farewell;
use crate::session::answer::{self, Rows};
use crate::session::lookup::{Lookup, Value, ValueKind};
use crate::sql::shape::HoleKind;
use crate::wire::server::TxStatus;

/// How long a look-up in a loop waits until it is known how to ask for those behind it. Happens once per shape
/// and survey: if that takes longer, as when the catalog is still being read, the loop goes on as it is.
const SURVEY_WAIT: Duration = Duration::from_millis(100);

/// Keys of one query; what is fetched ahead at once.
const KEYS_MAX: usize = 512;

/// What is under way for the look-up at the front of the input.
pub struct Fetching {
    future: Pin<Box<dyn Future<Output = Result<Fetched, ServerError>>>>,
    lookup: Lookup,
    plan: Rc<Plan>,
    line: Rc<Line>,
    taken: Vec<Taken>,
    /// Of each query the line, to be told what a comparison came to.
    lines: Vec<Rc<Line>>,
    since_us: u64,
    /// The session's own server does it.
    own: bool,
    /// That server, for a cancel request.
    whom: Option<(ServerAddress, BackendKey)>,
    /// The client asked to cancel meanwhile.
    cancelled: bool,
}

/// A look-up that waits until its line is open.
pub struct Surveying {
    line: Rc<Line>,
    deadline: Pin<Box<tokio::time::Sleep>>,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// The input goes its usual way.
    Past,
    /// The look-up was answered.
    Answered,
    /// It waits.
    Waits,
}

impl Drive {
    /// Looks whether the look-up at the front of the input can be answered, or is worth a fetch.
    pub(in crate::proxy) fn look_ahead(&mut self, cx: &mut Context<'_>) -> Result<Looked, Farewell> {
        if std::mem::take(&mut self.looked_past) {
            return Ok(Looked::Past);
        }
        let now = self.worker.clock.us();
        let status = self.session.status();
        let default = self.lines.default_isolation();
        let Some(place) = self.ahead.as_ref().and_then(|ahead| ahead.place(status, default, now)) else {
            return Ok(Looked::Past);
        };
        if !(self.lines.keeps() || place.is_fixed()) || !self.lines.is_on() || !self.watch.is_watching() {
            return Ok(Looked::Past);
        }
        Ok(self.look(&place, cx)?.unwrap_or(Looked::Past))
    }

    /// `None`: it is no look-up, or not one that can be replayed.
    fn look(&mut self, place: &Place, cx: &mut Context<'_>) -> Result<Option<Looked>, Farewell> {
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let (values, key) = &mut *scratch;
        let input = self.from_client.input.bytes();
        let lookup = {
            let mut interner = self.pool.interner.borrow_mut();
            self.session.lookup(input, &mut interner, self.pool.epoch(), values)
        };
        let Some(lookup) = lookup else {
            return Ok(None);
        };
        let site = self.lines.site(&lookup, input, values);
        site.note_values(input, values);
        site.key(input, values, key);
        let kind = LineKind { key, varying: site.varying(), values };
        let Some((line, new)) = site.line(&kind, &self.session.baggage) else {
            return Ok(None);
        };
        if new || line.reopens(self.lines.epoch(), worker.clock.us()) {
            survey::start(&self.lines, &line);
        }
        if !self.asked_ahead {
            self.note_ask(&lookup);
            self.asked_ahead = true;
        }
        let input = self.from_client.input.bytes();
        let keys: Vec<KeyValue<'_>> = values.each.iter().map(|value| key_value(value, input)).collect();
        let Some(plan) = line.plan() else {
            let follows = self.watch.provenance(lookup.shape.fingerprint).is_some()
                || self.lines.templates.borrow().of_child(lookup.shape.fingerprint).next().is_some();
            if follows && line.is_worth_waiting() {
                let deadline = Box::pin(tokio::time::sleep(SURVEY_WAIT));
                self.surveying = Some(Surveying { line, deadline });
                return Ok(Some(Looked::Waits));
            }
            if let Some(ahead) = &mut self.ahead {
                ahead.witnesses.call(&line, &lookup, input, values, place);
            }
            return Ok(None);
        };
        if self.inserting.writes.touches(&plan.child.tables) {
            // It has to see rows that are still kept here.
            return Ok(None);
        }
        let decision = {
            let Some(ahead) = &mut self.ahead else { return Ok(None) };
            let fence = self.lines.fence();
            let is_calm = |tables: &[u32]| {
                fence.as_ref().is_some_and(|fence| tables.iter().all(|&table| fence.is_calm(table)))
            };
            let ask = plan::Ask { child: &plan.child, values: &keys, place: *place, keys_max: KEYS_MAX };
            let mut templates = self.lines.templates.borrow_mut();
            let mut world = World { templates: &mut templates, watch: &self.watch, is_calm: &is_calm };
            plan::plan(&mut ahead.session, &ask, &mut world)
        };
        drop(scratch);
        match decision {
            plan::Plan::Forward { why, keep } => {
                self.keep_answer(keep, place);
                if why != plan::Why::Alone {
                    line.site.counts.fall_back(why.label());
                }
                Ok(None)
            }
            plan::Plan::Serve(served) => {
                line.site.counts.serve(served.age_us);
                self.serve(&lookup, (&line, &plan), &served, 0, cx)?;
                Ok(Some(Looked::Answered))
            }
            plan::Plan::Fetch(orders) => Ok(self.start_fetch(lookup, line, plan, orders, place)),
        }
    }

    fn start_fetch(
        &mut self,
        lookup: Lookup,
        line: Rc<Line>,
        plan: Rc<Plan>,
        orders: Vec<Order>,
        place: &Place,
    ) -> Option<Looked> {
        let fence = self.lines.fence();
        let (mut wanted, mut taken, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for (at, order) in orders.into_iter().enumerate() {
            let varying = order.varying.iter().fold(0, |bits, &value| bits | 1 << value);
            let found = self.lines.of_child(&order.child, varying);
            let fence = fence.as_ref().and_then(|fence| look_at(fence, &order.child.tables));
            match found.and_then(|line| line.plan().map(|plan| (line, plan))) {
                Some((line, plan)) => {
                    // Its parameters may be wider than those of the one that is asked.
                    let order = Order { child: plan.child.clone(), ..order };
                    taken.push(Taken { sent_us: place.now_us, fence, transaction: place.serial() });
                    let other =
                        line.other_form(self.lines.epoch(), place.now_us).filter(|_| plan.has_twice());
                    let witness = match self.witness(&line, place, &order) {
                        Ok(witness) => witness,
                        // The look-up itself is the witness of the next.
                        Err(()) if at == 0 => {
                            self.call_witness(&lookup, &line, place);
                            return None;
                        }
                        Err(()) => {
                            taken.pop();
                            continue;
                        }
                    };
                    lines.push(line.clone());
                    wanted.push(Wanted { order, line, plan, other, witness });
                }
                // It is not known how to ask: the look-up itself goes its usual way.
                None if at == 0 => return None,
                None => {}
            }
        }
        let own = place.transaction.is_some();
        let mut lease = if own { Some(self.lease.take()?) } else { None };
        let whom = lease.as_mut().map(|lease| (lease.server().address.clone(), lease.server().key.clone()));
        self.control.enter(State::Active, self.worker.clock.ms());
        self.started_us = self.worker.clock.us();
        let future = Box::pin(fetch(lease, wanted, self.worker.clone(), self.pool.clone()));
        let since_us = self.worker.clock.us();
        let fetching =
            Fetching { future, lookup, plan, line, taken, lines, since_us, own, whom, cancelled: false };
        self.fetching = Some(Box::new(fetching));
        Some(Looked::Waits)
    }

    /// Looks whether what was fetched has come.
    pub(in crate::proxy) fn poll_fetch(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(fetching) = &mut self.fetching else {
            return Ok(Pace::Moved);
        };
        let Poll::Ready(fetched) = fetching.future.as_mut().poll(cx) else {
            return Ok(Pace::Still);
        };
        let Some(fetching) = self.fetching.take() else {
            return Ok(Pace::Moved);
        };
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                let said_so = matches!(error, ServerError::Ended(_));
                if let ServerError::Ended(frame) = &error {
                    // What the client would have been told, had its look-up been alone on the way.
                    send(&mut self.client, cx, frame, &mut self.from_server.unsent)
                        .map_err(|error| Farewell::ClientLost(error.to_string()))?;
                }
                return Err(Farewell::ServerLost { why: error.to_string(), said_so });
            }
        };
        if fetching.own {
            self.lease = fetched.lease;
        }
        let now = self.worker.clock.us();
        let mut own = None;
        if let Some(ahead) = &mut self.ahead {
            for ((brought, taken), line) in
                fetched.brought.into_iter().zip(fetching.taken).zip(fetching.lines)
            {
                if let Some(equal) = brought.equal {
                    self.lines.note_comparison(&line, equal, brought.order.episode.template, now);
                }
                let (asked, counts) =
                    (u64::from(own.is_none()), self.lines.counts_of(brought.order.child.shape));
                let count = |look_ups: usize| {
                    counts.iter().for_each(|counts| {
                        counts.batch(asked);
                        counts.prefetch((look_ups as u64).saturating_sub(asked));
                    });
                };
                match brought.answer {
                    Some(Answer::Keys(frames, answers, other)) => {
                        count(answers.len());
                        let found = (frames, answers.as_slice());
                        own = own.or(ahead.session.file_both(brought.order, taken, found, other, now));
                    }
                    Some(Answer::Table(whole)) => {
                        count(whole.keys.len());
                        own = own.or(ahead.session.file_table(brought.order, taken, whole, now));
                    }
                    None => {
                        let mut templates = self.lines.templates.borrow_mut();
                        ahead.session.failed(&brought.order, &mut templates, now);
                    }
                }
            }
        }
        match own {
            Some(served) => {
                let took = now.saturating_sub(fetching.since_us);
                self.serve(&fetching.lookup, (&fetching.line, &fetching.plan), &served, took, cx)?;
            }
            None => {
                (self.looked_past, self.cancel_next) = (true, fetching.cancelled);
                self.look_again(true);
            }
        }
        Ok(Pace::Moved)
    }

    /// Waits for the line to open, but not long.
    pub(in crate::proxy) fn poll_survey(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(surveying) = &mut self.surveying else {
            return Ok(Pace::Moved);
        };
        let late = surveying.deadline.as_mut().poll(cx).is_ready();
        if surveying.line.is_surveyed() && !late {
            surveying.line.wake_when_surveyed(cx.waker());
            return Ok(Pace::Still);
        }
        if late {
            surveying.line.note_slow_survey();
        }
        self.surveying = None;
        self.looked_past = late;
        self.look_again(true);
        Ok(Pace::Moved)
    }

    /// Answers the look-up at the front of the input.
    fn serve(
        &mut self,
        lookup: &Lookup,
        (line, plan): (&Line, &Plan),
        served: &Served,
        took_us: u64,
        cx: &mut Context<'_>,
    ) -> Result<(), Farewell> {
        let status = self.session.status();
        let rows = Rows { frames: &served.frames[served.at.clone()], count: served.rows, status };
        let mut bytes = Vec::with_capacity(rows.frames.len() + 96);
        answer::write(lookup.form, &plan.described, &line.formats, rows, &mut bytes);
        send(&mut self.client, cx, &bytes, &mut self.from_server.unsent)
            .map_err(|error| Farewell::ClientLost(error.to_string()))?;
        self.note_unsent();
        self.asked_ahead = false;
        self.lookup_answered(lookup, &bytes, served.rows, (0, took_us));
        if self.lease.is_some() {
            self.stay();
        } else {
            self.control.enter(State::Idle, self.worker.clock.ms());
        }
        self.look_again(!self.from_client.input.is_empty());
        Ok(())
    }

    /// A cancel request, or the query timeout, while something is fetched. True: the client gives up at once.
    pub(in crate::proxy) fn cancel_fetch(&mut self) -> bool {
        self.surveying = None;
        let Some(fetching) = self.fetching.as_mut().filter(|fetching| fetching.own) else {
            self.fetching = None;
            return self.session.status() == TxStatus::Idle;
        };
        // Its transaction has to fail as PostgreSQL fails it: the look-up itself is sent, and cancelled there.
        fetching.cancelled = true;
        if let Some((address, key)) = fetching.whom.clone() {
            let tls = self.pool.config.borrow().tls.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = crate::pool::cancel::send(address, key, tls).await {
                    tracing::warn!("a cancel request did not get through: {error}");
                }
            });
        }
        false
    }

    /// The look-up at the front of the input waits for what is fetched, or for what is found out about it.
    pub(in crate::proxy) fn is_looking(&self) -> bool {
        self.fetching.is_some() || self.surveying.is_some()
    }
}

fn key_value<'a>(value: &Value, input: &'a [u8]) -> KeyValue<'a> {
    let form = match value.kind {
        ValueKind::Null | ValueKind::Text => Form::Text,
        ValueKind::Binary => Form::Binary,
        ValueKind::Integer => Form::Literal(HoleKind::Integer),
        ValueKind::String => Form::Literal(HoleKind::String),
    };
    let bytes = match value.kind {
        ValueKind::Null => None,
        // A token has its quotes.
        ValueKind::String => Some(&input[value.start as usize - 1..value.end as usize + 1]),
        _ => Some(&input[value.start as usize..value.end as usize]),
    };
    KeyValue { form, bytes }
}
