//! What is kept, what makes room, and what each event forgets.

use std::rc::Rc;

use super::buffer::*;
use super::keys::{Key, Slot};
use super::level::{Level, Taken};
use super::session::Session;
use super::{Child, Episode};

fn child(table: u32) -> Rc<Child> {
    Rc::new(Child {
        shape: u64::from(table),
        statement: u64::from(table),
        formats: 0,
        context: 0,
        slots: [Slot::default()].into(),
        types: Box::default(),
        result_formats: Box::default(),
        tables: [table].into(),
        level: Level::Fenced,
        serializable: false,
        small: None,
    })
}

/// Look-ups 0 to 9 of a table, each with an answer of so many bytes.
fn batch(table: u32, bytes: usize, transaction: Option<u64>) -> Batch {
    let taken = Taken { sent_us: 0, fence: None, transaction };
    let episode = Episode { template: table, serial: table };
    let mut batch = Batch::new(child(table), taken, episode, vec![0; 10 * bytes].into());
    (batch.constants, batch.varying) = ([Key::Null].into(), [0].into());
    let member =
        |at: usize| (Box::from([Key::Integer(at as i64)]), Member::new(at * bytes..(at + 1) * bytes, 1));
    batch.members = (0..10).map(member).collect();
    batch
}

fn has(buffer: &Buffer, table: u32) -> bool {
    buffer.has(&child(table), &[Key::Integer(3)])
}

#[test]
fn who_was_of_use_least_recently_makes_room() {
    let budget = Rc::new(Budget::new(ALL_BYTES_MAX));
    let mut buffer = Buffer::new(budget.clone());
    (0..9).for_each(|table| buffer.keep(batch(table, 10_000, None)));
    assert!(
        buffer
            .serve(&child(0), &[Key::Integer(3)], 0, |_| true)
            .is_some_and(|served| served.at == (30_000..40_000))
    );
    (9..12).for_each(|table| buffer.keep(batch(table, 10_000, None)));
    assert!(has(&buffer, 0) && !has(&buffer, 1) && !has(&buffer, 2) && has(&buffer, 11));
    assert!(buffer.bytes() <= BYTES_MAX);
    buffer.keep(batch(12, 200_000, None));
    assert!(!has(&buffer, 12) && has(&buffer, 11), "what does not fit pushes nothing out");
    (20..200).for_each(|table| buffer.keep(batch(table, 1, None)));
    assert_eq!(buffer.len(), BATCHES_MAX);
    let gone = buffer.gone();
    assert_eq!(gone.len(), 12 + 1 + 180 - BATCHES_MAX);
    assert_eq!((gone[0].used, gone[0].unused, gone[0].hits), (0, 10, 0));
    assert!(gone.iter().any(|gone| (gone.shape, gone.used, gone.unused, gone.hits) == (0, 1, 9, 1)));
    drop(buffer);
    assert_eq!(budget.used(), 0);
}

#[test]
fn all_sessions_of_a_worker_share_one_budget() {
    let budget = Rc::new(Budget::new(250_000));
    let mut buffers: Vec<Buffer> = (0..4).map(|_| Buffer::new(budget.clone())).collect();
    for buffer in &mut buffers {
        (0..4).for_each(|table| buffer.keep(batch(table, 10_000, None)));
        assert!(budget.used() <= 250_000);
    }
    assert!(has(&buffers[0], 3) && !has(&buffers[0], 0), "a session makes room at its own expense");
    assert!(buffers[3].is_empty());
}

#[test]
fn rows_are_bounded_however_short_they_are() {
    let mut buffer = Buffer::new(Rc::new(Budget::new(ALL_BYTES_MAX)));
    let mut many = batch(1, 1, None);
    many.members.values_mut().for_each(|member| member.rows = 4_000);
    (0..9).for_each(|_| {
        let mut other = batch(2, 1, None);
        other.members.clone_from(&many.members);
        buffer.keep(other);
        assert!(buffer.rows() <= ROWS_MAX);
    });
    assert_eq!(buffer.len(), 1);
}

#[test]
fn each_event_forgets_what_it_makes_untrue() {
    let filled = || {
        let mut session = Session::new(Rc::new(Budget::new(ALL_BYTES_MAX)));
        session.buffer.keep(batch(1, 10, None));
        session.buffer.keep(batch(2, 10, Some(7)));
        session
    };
    let left = |event: &dyn Fn(&mut Session)| {
        let mut session = filled();
        event(&mut session);
        [1, 2].map(|table| has(&session.buffer, table))
    };
    assert_eq!(left(&|session| session.own_write(Some(&[2, 5]))), [true, false]);
    assert_eq!(left(&|session| session.own_write(Some(&[5]))), [true, true]);
    assert_eq!(left(&|session| session.own_write(None)), [false, false]);
    assert_eq!(left(&Session::transaction_ended), [true, false]);
    assert_eq!(left(&|session| session.direct_read(None)), [true, true], "only `bounded` minds");
    for event in [
        Session::setting_changed,
        Session::role_changed,
        Session::rolled_back_to_savepoint,
        Session::error,
        Session::schema_changed,
        Session::listened,
        Session::discarded,
        Session::unit_ended,
    ] {
        assert_eq!(left(&event), [false, false]);
    }
}

#[test]
fn answers_in_two_forms_serve_both_and_what_is_asked_in_another_was_not_in_vain() {
    let binary = Rc::new(Child { formats: 1, ..(*child(1)).clone() });
    let mut buffer = Buffer::new(Rc::new(Budget::new(ALL_BYTES_MAX)));
    let mut both = batch(1, 10, None);
    both.members.values_mut().for_each(|member| member.other = member.at.start * 2..member.at.end * 2);
    both.other = Some((binary.clone(), vec![1; 200].into()));
    buffer.keep(both);
    let key = [Key::Integer(3)];
    let served = [&child(1), &binary].map(|child| buffer.serve(child, &key, 0, |_| true));
    let places = served.map(|served| served.map(|served| (served.frames[served.at.start], served.at)));
    assert_eq!(places, [Some((0, 30..40)), Some((1, 60..80))]);
    // Without the other form the rest is asked for again, by a driver that changed its mind.
    let mut buffer = Buffer::new(Rc::new(Budget::new(ALL_BYTES_MAX)));
    buffer.keep(batch(1, 10, None));
    assert!(buffer.serve(&child(1), &key, 0, |_| true).is_some());
    assert!(buffer.serve(&binary, &key, 0, |_| true).is_none());
    let mut again = batch(1, 10, None);
    again.child = binary;
    buffer.supersede(&again);
    buffer.drop_if(|_| true);
    assert_eq!(buffer.gone().iter().map(|gone| (gone.used, gone.unused)).collect::<Vec<_>>(), [(1, 0)]);
}
