//! What this worker has learned of loops, told to the others and heard from them. Touched when something was learned
//! and when a session begins to keep answers, never by a statement.

use super::Lines;

impl Lines {
    /// Tells the others what was learned here since the last time.
    pub(super) fn tell_learned(&self, now_us: u64) {
        let templates = self.templates.borrow();
        if self.told.replace(templates.changes) != templates.changes {
            self.heard.set(self.board.put(templates.records(now_us)));
        }
    }

    /// Takes over what the others, or an earlier process, have learned.
    pub(super) fn hear_learned(&self, now_us: u64) {
        if self.heard.get() == self.board.version() {
            return;
        }
        // What is new here goes first, so that what is heard is not told as one's own.
        self.tell_learned(now_us);
        let (version, records) = self.board.read();
        self.heard.set(version);
        let mut templates = self.templates.borrow_mut();
        templates.remember(records, now_us);
        self.told.set(templates.changes);
    }
}
