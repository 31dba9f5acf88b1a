//! What one session has fetched ahead, beside what `coalesce` remembers for it: where it stands, and what its fences
//! looked like. Made when a session first does something that may be kept.

use std::rc::Rc;
use std::sync::Arc;

use super::witness::Witnesses;
use crate::coalesce::prefetch::buffer::Budget;
use crate::coalesce::prefetch::level::{Holds, Isolation, Place, Transaction};
use crate::coalesce::prefetch::session::Session;
use crate::coalesce::prefetch::table::{ANY_FORMAT, Fields};
use crate::coalesce::writes::WriteSet;
use crate::observe::fences::SharedFence;
use crate::session::account::{Ask, Formats};
use crate::sql::Traits;
use crate::sql::kind::Kind;
use crate::wire::server::TxStatus;

pub struct Ahead {
    pub session: Session,
    pub witnesses: Witnesses,
    /// The number of the open transaction, and the isolation that its BEGIN named.
    transaction: Option<(u64, Option<Isolation>)>,
    transactions: u64,
}

impl Ahead {
    pub fn new(budget: Rc<Budget>) -> Self {
        Ahead {
            session: Session::new(budget),
            witnesses: Witnesses::default(),
            transaction: None,
            transactions: 0,
        }
    }

    /// Where the next statement stands; `default` is the isolation of transactions that name none, if it is known.
    /// `None`: in a transaction of which nothing is known, or that has failed.
    pub fn place(&self, status: TxStatus, default: Option<Isolation>, now_us: u64) -> Option<Place> {
        match (status, self.transaction) {
            (TxStatus::Idle, _) => Some(Place { now_us, transaction: None }),
            (TxStatus::InTransaction, Some((serial, isolation))) => {
                let isolation = isolation.or(default).unwrap_or(Isolation::Serializable);
                Some(Place { now_us, transaction: Some(Transaction { serial, isolation }) })
            }
            _ => None,
        }
    }

    // --- what makes it forget ---

    /// A statement is about to be sent, which may write this.
    pub fn sent(&mut self, ask: &Ask, writes: &WriteSet) {
        let traits = ask.known.traits;
        let text = &*ask.shape.text;
        if !matches!(ask.shape.kind, Kind::Read | Kind::Page) {
            self.witnesses.clear();
        }
        if text.starts_with("begin") || text.starts_with("start transaction") {
            self.transactions += 1;
            self.transaction = Some((self.transactions, isolation_of(text)));
        } else if text.starts_with("set transaction") || text.starts_with("set session characteristics") {
            self.transaction = None;
        }
        if traits.has(Traits::DDL) {
            self.session.schema_changed();
        }
        if traits.has(Traits::STATE) || traits.has(Traits::LOCAL) || traits.has(Traits::RESETS) {
            self.session.setting_changed();
        }
        if text.starts_with("rollback to") || text.starts_with("rollback transaction to") {
            self.session.rolled_back_to_savepoint();
        }
        if matches!(ask.shape.kind, Kind::Read | Kind::Page) && writes.is_empty() {
            self.session.direct_read(None);
        }
        match writes {
            WriteSet::All => self.session.own_write(None),
            WriteSet::Tables(tables) if !tables.is_empty() => self.session.own_write(Some(tables)),
            WriteSet::Tables(_) => {}
        }
    }

    /// Something was sent of which nothing is known.
    pub fn sent_unknown(&mut self) {
        self.witnesses.clear();
        self.session.own_write(None);
        self.session.setting_changed();
    }

    /// Loops may follow the result of this statement, over these of its columns, which may be of these types: a
    /// statement that was prepared earlier is not described again.
    pub fn expect_parent(&mut self, ask: &Ask, columns: &[u16], types: &[u32]) {
        let formats: &[i16] = match ask.formats {
            Formats::Text => &[],
            Formats::Binary => &[1],
            Formats::Mixed => ANY_FORMAT,
        };
        if !columns.is_empty() {
            let fields = Fields { types, formats };
            self.session.tables.begin(ask.shape.fingerprint, columns, Box::default(), fields);
        }
    }

    /// A transaction has ended.
    pub fn ended(&mut self) {
        if self.transaction.take().is_some() {
            self.session.transaction_ended();
        }
    }
}

/// How the fence of these tables looks before a query is sent: whether it holds, whenever that is asked. `None`: a write
/// is open.
pub fn look_at(fence: &Arc<SharedFence>, tables: &[u32]) -> Option<Holds> {
    let (stamp, fence) = (fence.stamp(tables)?, fence.clone());
    Some(Rc::new(move || fence.holds(&stamp)))
}

/// What a BEGIN says of isolation. `None`: nothing.
fn isolation_of(text: &str) -> Option<Isolation> {
    if text.contains("serializable") {
        Some(Isolation::Serializable)
    } else if text.contains("repeatable read") {
        Some(Isolation::RepeatableRead)
    } else if text.contains("read committed") || text.contains("read uncommitted") {
        Some(Isolation::ReadCommitted)
    } else {
        None
    }
}

/// The word that `default_transaction_isolation` has for it.
pub fn isolation_named(name: &str) -> Option<Isolation> {
    match name {
        "read committed" | "read uncommitted" => Some(Isolation::ReadCommitted),
        "repeatable read" => Some(Isolation::RepeatableRead),
        "serializable" => Some(Isolation::Serializable),
        _ => None,
    }
}
