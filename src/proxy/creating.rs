//! A row that finds no partition waits here while maintenance makes one, and is then sent once more, whatever came of
//! it: PostgreSQL's second answer is the client's. Must not know how partitions are made.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::sync::oneshot;

use super::drive::{Drive, Pace, Turn};
use super::farewell::Farewell;
use crate::maintain::TableName;
use crate::maintain::missing::Missing;
use crate::net::send::send;
use crate::session::Desk;

/// How long a client waits for a partition. Making one takes some tens of milliseconds unless the table is held by
/// somebody for longer.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Ends when the partition is there, or nothing more is done for it.
pub(super) type Creating = Pin<Box<dyn Future<Output = ()>>>;

impl Drive {
    /// Asks for the partition that the session's row lacks.
    #[inline]
    pub(super) fn create_missing(&mut self) {
        let Some(lack) = self.session.lack() else {
            return;
        };
        let (done, told) = oneshot::channel();
        self.worker.hub.maintaining.lacks(Missing {
            database: self.pool.database.clone(),
            table: TableName { schema: lack.schema.clone(), name: lack.table.clone() },
            value: lack.value.clone(),
            done,
        });
        self.creating = Some(Box::pin(async {
            // Whether it was made shows when the row is sent again.
            let _ = tokio::time::timeout(WAIT_MAX, told).await;
        }));
    }

    /// Sends the row once more when the partition is there.
    pub(super) fn poll_creating(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(creating) = &mut self.creating else {
            return Ok(Pace::Moved);
        };
        if creating.as_mut().poll(cx).is_pending() {
            return Ok(Pace::Still);
        }
        self.creating = None;
        let Some(lease) = &mut self.lease else {
            return Ok(Pace::Moved);
        };
        let worker = self.worker.clone();
        let (mut outs, mut notes) = (worker.outs.borrow_mut(), worker.notes.borrow_mut());
        let (to_server, to_client) = &mut *outs;
        {
            let mut interner = self.pool.interner.borrow_mut();
            let mut desk = Desk {
                memory: Some(&mut lease.server().memory),
                interner: &mut interner,
                epoch: self.pool.epoch(),
                to_server,
                to_client,
                now_us: worker.clock.us(),
                notes: &mut notes,
            };
            self.session.try_again(&mut desk);
        }
        let sent = send(&mut lease.server().stream, cx, to_server.bytes(&[]), &mut self.from_client.unsent);
        to_server.clear();
        to_client.clear();
        drop((outs, notes));
        sent.map_err(|error| self.lost_server(&error.to_string()))?;
        self.look_again(true);
        Ok::<_, Farewell>(Pace::Moved)
    }
}
