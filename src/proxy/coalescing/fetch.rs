//! Fetches what look-ups will ask for: on the session's own server behind a savepoint while its transaction is open, so
//! that its own writes are seen and no failure touches it; otherwise on a server of the pool, in one snapshot.

use std::ops::Range;
use std::rc::Rc;

use super::compose;
use super::harvest::{Harvest, Talk};
use super::line::Line;
use super::plan::{Plan, Which};
use super::witness::Witness;
use crate::coalesce::prefetch::buffer::OtherForm;
use crate::coalesce::prefetch::plan::{Order, What};
use crate::coalesce::prefetch::small::{Answers, Whole};
use crate::coalesce::replay::Batch;
use crate::net::buffer::Window;
use crate::pool::lend::{Lease, Pool};
use crate::pool::server::ServerError;
use crate::proxy::chore;
use crate::proxy::worker::Worker;
use crate::wire::reply;
use crate::wire::server::TxStatus;

/// The name of the savepoint. An application that uses it too loses nothing: savepoints may share names.
const SAVEPOINT: &str = "savepoint pgweir_ahead";
const RELEASE: &str = "release savepoint pgweir_ahead";
const BACK: &str = "rollback to savepoint pgweir_ahead; release savepoint pgweir_ahead";

/// One query that is wanted.
pub struct Wanted {
    pub order: Order,
    pub line: Rc<Line>,
    pub plan: Rc<Plan>,
    /// Look-ups of the same statement will be asked in this plan's form too.
    pub other: Option<Rc<Plan>>,
    /// What its answer is compared with.
    pub witness: Option<Witness>,
}

impl Wanted {
    fn which(&self) -> Which<'_> {
        match (&self.order.what, &self.other) {
            (What::Table(_), _) => Which::Table,
            (_, Some(other)) => Which::Twice(&other.child.result_formats),
            (_, None) => Which::Keys,
        }
    }
}

/// Its answer: per member of the order its rows' frames, and their number. `None`: it failed.
pub struct Brought {
    pub order: Order,
    pub answer: Option<Answer>,
    /// What it was compared with had got the same; `None`: nothing was compared.
    pub equal: Option<bool>,
}

/// What a query brought.
pub enum Answer {
    /// DataRow frames, and for each member where its own stand and how many there are; the same in another form.
    Keys(Rc<[u8]>, Vec<(Range<usize>, u32)>, Option<OtherForm>),
    Table(Whole),
}

/// What came of it.
pub struct Fetched {
    /// The session's own server, if it had one.
    pub lease: Option<Lease>,
    pub brought: Vec<Brought>,
}

/// Asks for everything that is wanted. `Err`: the session's own server is lost.
pub async fn fetch(
    lease: Option<Lease>,
    mut wanted: Vec<Wanted>,
    worker: Rc<Worker>,
    pool: Rc<Pool>,
) -> Result<Fetched, ServerError> {
    let own = lease.is_some();
    let mut lease = match lease {
        Some(lease) => lease,
        None => match chore::borrow(&pool, &wanted[0].line.baggage).await {
            Some(lease) => lease,
            None => return Ok(Fetched { lease: None, brought: wanted.into_iter().map(nothing).collect() }),
        },
    };
    let mut batches: Vec<(Batch, Vec<usize>)> = Vec::new();
    for wanted in &mut wanted {
        let mut batch = Batch::default();
        let own;
        let members = match &wanted.order.what {
            What::Keys(members) => members.as_slice(),
            What::Table(_) if !wanted.plan.has_whole() => &[],
            What::Table(key) => {
                own = [Box::from([key.clone()])];
                &own
            }
        };
        let taken = compose::fill(&wanted.line, &wanted.plan.replay, &wanted.order, members, &mut batch);
        // One that cannot be asked again with the others compares nothing.
        wanted
            .witness
            .take_if(|witness| taken.is_empty() || witness.join(&wanted.plan.replay, &mut batch).is_none());
        batches.push((batch, taken));
    }
    match ask(&mut lease, own, &wanted, &batches, &worker).await {
        Ok(harvests) => {
            let lease = if own {
                Some(lease)
            } else {
                lease.give_back();
                None
            };
            let each = wanted.into_iter().zip(harvests).zip(batches);
            let brought = each.map(|((wanted, harvest), (_, taken))| brought(wanted, harvest, &taken));
            Ok(Fetched { lease, brought: brought.collect() })
        }
        Err(error) if own => Err(error),
        Err(error) => {
            tracing::debug!("what was fetched ahead is lost: {error}");
            Ok(Fetched { lease: None, brought: wanted.into_iter().map(nothing).collect() })
        }
    }
}

fn is_whole(order: &Order) -> bool {
    matches!(order.what, What::Table(_))
}

fn nothing(wanted: Wanted) -> Brought {
    Brought { order: wanted.order, answer: None, equal: None }
}

/// Sends all in one flight, and reads all answers.
async fn ask(
    lease: &mut Lease,
    own: bool,
    wanted: &[Wanted],
    batches: &[(Batch, Vec<usize>)],
    worker: &Worker,
) -> Result<Vec<Harvest>, ServerError> {
    let server = lease.server();
    let mut out = Vec::new();
    let several = wanted.len() > 1;
    if own {
        reply::query(&mut out, SAVEPOINT);
    } else if several {
        reply::query(&mut out, "begin isolation level repeatable read read only");
    }
    for (wanted, (batch, taken)) in wanted.iter().zip(batches) {
        if !taken.is_empty() {
            wanted.plan.give(wanted.which(), &mut server.memory, &mut out);
            wanted.plan.ask(wanted.which(), batch, &mut out);
        }
    }
    if own {
        reply::query(&mut out, RELEASE);
    } else if several {
        reply::query(&mut out, "commit");
    }
    let mut input = Window::default();
    let mut talk = Talk::new(server, &mut input, &worker.slab);
    talk.say(&out).await?;
    let mut aside = Harvest::default();
    if own || several {
        talk.hear(&mut aside).await?;
    }
    let mut harvests = Vec::with_capacity(wanted.len());
    for (wanted, (batch, taken)) in wanted.iter().zip(batches) {
        let mut harvest = Harvest::default();
        match wanted.order.child.small.as_ref().filter(|_| is_whole(&wanted.order)) {
            // The key comes in the one form that all columns share, else as text.
            Some(small) => {
                let binary = *wanted.order.child.result_formats == [1];
                harvest.begin_whole(Answers::new(small, binary));
            }
            None if wanted.other.is_some() => harvest.begin_twice(batch.len(), wanted.plan.child.types.len()),
            None => harvest.begin(batch.len()),
        }
        if !taken.is_empty() {
            talk.hear(&mut harvest).await?;
        }
        harvests.push(harvest);
    }
    let mut status = if own { TxStatus::InTransaction } else { TxStatus::Idle };
    if own || several {
        status = talk.hear(&mut aside).await?;
    }
    if own && status != TxStatus::InTransaction {
        // Speculation never fails what the client asked for.
        out.clear();
        reply::query(&mut out, BACK);
        talk.say(&out).await?;
        status = talk.hear(&mut aside).await?;
    }
    talk.end()?;
    if harvests.iter().any(|harvest| !harvest.usable) {
        for wanted in wanted {
            // A statement that the server refused may not be there, or not be what was thought.
            wanted.plan.forget(&mut server.memory);
        }
    }
    server.memory.unnamed = None;
    let expected = if own { TxStatus::InTransaction } else { TxStatus::Idle };
    if status != expected {
        return Err(ServerError::Protocol("a transaction stands otherwise than before".into()));
    }
    Ok(harvests)
}

/// Rows by member; what could not be written has no answer, so that the order fails as a whole if it was the first.
fn brought(wanted: Wanted, harvest: Harvest, taken: &[usize]) -> Brought {
    let mut order = wanted.order;
    if !harvest.usable || taken.first() != Some(&0) {
        return Brought { order, answer: None, equal: None };
    }
    let What::Keys(members) = &mut order.what else {
        let answer = harvest.whole.map(|whole| Answer::Table(whole.finish()));
        return Brought { order, answer, equal: None };
    };
    let mut at = 0;
    members.retain(|_| {
        at += 1;
        taken.binary_search(&(at - 1)).is_ok()
    });
    let count = members.len();
    let equal = wanted.witness.map(|witness| witness.is_equal(harvest.of(count as u32).0));
    if equal == Some(false) {
        return Brought { order, answer: None, equal };
    }
    let found =
        harvest.found.iter().take(count).map(|(at, count)| (at.start as usize..at.end as usize, *count));
    let answers = found.collect();
    let other = wanted.other.map(|plan| OtherForm {
        child: plan.child.clone(),
        frames: harvest.other_rows.into(),
        at: harvest
            .other_found
            .into_iter()
            .take(count)
            .map(|at| at.start as usize..at.end as usize)
            .collect(),
    });
    Brought { order, answer: Some(Answer::Keys(harvest.rows.into(), answers, other)), equal }
}
