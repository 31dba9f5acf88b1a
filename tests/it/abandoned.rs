//! Loops that are fetched ahead and end otherwise than they began: at every index the client writes, fails, rolls back
//! or goes; what is fetched is killed or takes too long. Each answer is that of a direct connection, frame by frame,
//! and no error reaches a client that a direct connection would not have had.

use pgweir::coalesce::prefetch::level::Level;

use crate::ahead::{Client, DATABASE, House, Send, by_literal, by_parameter, rows, served};
use crate::cluster::ask;
use crate::frames::show;
use crate::support::{until, wait_for};

/// Records of a long page; each has three look-ups, as those of the short one, which has six.
const LONG: usize = 150;

/// Loops that end early between long pages.
const EACH: usize = 3;

const PARENT: &str =
    "SELECT id, facility_id, source_id, user_id FROM records WHERE id > 0 ORDER BY id LIMIT 6";
const LOOK_UPS: [&str; 3] = [
    "SELECT id, name FROM facilities WHERE id = $1 LIMIT 21",
    "SELECT kind FROM sources WHERE id = $1",
    "SELECT email FROM users WHERE $1 = id",
];

/// One request of a client.
#[derive(Clone)]
enum Step {
    Query(String),
    /// Which look-up, with which key.
    Look(usize, String),
}

fn query(text: &str) -> Step {
    Step::Query(text.to_owned())
}

/// The page, in which nothing happens.
fn page(keys: &[Vec<String>]) -> Vec<Step> {
    let mut steps = vec![query(PARENT)];
    for row in keys {
        steps.extend((0..LOOK_UPS.len()).map(|at| Step::Look(at, row[at + 1].clone())));
    }
    steps
}

fn play(client: &mut Client, steps: &[Step], send: Send) -> Vec<String> {
    let one = |step: &Step| match step {
        Step::Query(text) => client.query(text),
        Step::Look(at, key) => send(client, LOOK_UPS[*at], key),
    };
    steps.iter().map(one).map(|frames| show(&frames)).collect()
}

fn keys(house: &House) -> Vec<Vec<String>> {
    rows(&house.direct().query(PARENT))
}

/// Plays long pages until nearly all of one is answered from what was fetched ahead. They also make up for what is
/// fetched for loops that end early: a loop of which more than a tenth is wasted on the whole is fetched no more.
fn warm_up(house: &House, transaction: Option<&str>, send: Send) {
    let parent = PARENT.replace("LIMIT 6", &format!("LIMIT {LONG}"));
    let mut steps = page(&rows(&house.direct().query(&parent)));
    steps[0] = query(&parent);
    let mut good = 0;
    until("pages are fetched ahead", || {
        let before = served(house);
        let mut client = house.client();
        transaction.iter().for_each(|begin| drop(client.query(begin)));
        play(&mut client, &steps, send);
        transaction.iter().for_each(|_| drop(client.query("COMMIT")));
        good += usize::from(served(house) - before >= 3 * (LONG as u64 - 1));
        (good >= 3).then_some(())
    });
}

/// What happens between two statements of a loop.
const OUTSIDE: [&[&str]; 6] = [
    &["UPDATE facilities SET name = 'facility ' || id WHERE id < 50"],
    &["SELECT 1/0"],
    &["SET application_name = 'another'"],
    &["SELECT count(*) FROM sources WHERE id < 10"],
    &["BEGIN", "UPDATE sources SET kind = 'mine' WHERE id < 50", "ROLLBACK"],
    &["SELECT nothing FROM facilities"],
];
const INSIDE: [&[&str]; 8] = [
    &["UPDATE facilities SET name = 'mine' WHERE id < 50"],
    &["SAVEPOINT s", "UPDATE facilities SET name = 'mine' WHERE id < 50", "ROLLBACK TO s"],
    &["SELECT 1/0"],
    &["SAVEPOINT s", "SELECT nothing FROM facilities", "ROLLBACK TO SAVEPOINT s"],
    &["ROLLBACK"],
    &["COMMIT"],
    &["SELECT count(*) FROM sources WHERE id < 10"],
    &["DECLARE c CURSOR FOR SELECT id FROM sources ORDER BY id", "FETCH 3 FROM c"],
];

/// Every interruption at every index, with the rest of the loop behind it.
fn interrupt(house: &House, transaction: Option<&str>, interruptions: &[&[&str]], send: Send) {
    let page = page(&keys(house));
    for between in interruptions {
        let mut count = 0;
        // New sessions each: what settings do is for the rest of one.
        let (mut client, mut direct) = (house.client(), house.direct());
        for at in 1..=page.len() {
            if at % EACH == 1 {
                warm_up(house, transaction, send);
            }
            let before = served(house);
            let mut steps: Vec<Step> = transaction.iter().map(|begin| query(begin)).collect();
            steps.extend_from_slice(&page[..at]);
            steps.extend(between.iter().map(|text| query(text)));
            steps.extend_from_slice(&page[at..]);
            steps.extend(transaction.iter().map(|_| query("ROLLBACK")));
            let ours = play(&mut client, &steps, send);
            count += served(house) - before;
            let theirs = play(&mut direct, &steps, send);
            for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                assert_eq!(ours, theirs, "{transaction:?}, {between:?} at {at}, statement {number}");
            }
        }
        println!("{transaction:?}, {between:?}: {count} look-ups were fetched ahead");
        assert!(count > 40, "{transaction:?}, {between:?}: only {count} were fetched ahead");
    }
}

#[test]
fn whatever_happens_within_a_loop_answers_are_those_of_a_direct_connection() {
    let house = House::with(Level::Fenced, 1);
    interrupt(&house, None, &OUTSIDE, by_literal);
    interrupt(&house, Some("BEGIN"), &INSIDE, by_literal);
}

#[test]
fn and_so_they_are_with_parameters() {
    let house = House::with(Level::Fenced, 1);
    interrupt(&house, None, &OUTSIDE, by_parameter);
    interrupt(&house, Some("BEGIN ISOLATION LEVEL REPEATABLE READ"), &INSIDE, by_parameter);
}

/// No server of a client that left is in a transaction, and none is busy.
fn is_calm(house: &House) -> bool {
    let open = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND usename = 'app' AND state <> 'idle'"
    );
    ask(&house.cluster.url(DATABASE), &open) == "0"
}

#[test]
fn clients_that_leave_a_loop_at_any_index_leave_nothing_behind() {
    let house = House::with(Level::Fenced, 1);
    let page = page(&keys(&house));
    for transaction in [None, Some("BEGIN")] {
        for at in 1..=page.len() {
            if at % EACH == 1 {
                warm_up(&house, transaction, by_parameter);
            }
            for waits in [true, false] {
                let mut client = house.client();
                transaction.iter().for_each(|begin| drop(client.query(begin)));
                play(&mut client, &page[..at], by_parameter);
                if let (false, Some(Step::Look(which, key))) = (waits, page.get(at)) {
                    // It asks for one more and does not wait for the answer.
                    let text = LOOK_UPS[*which].replace("$1", &format!("'{key}'"));
                    client.0.send(&crate::frames::frame(b'Q', format!("{text}\0").as_bytes()));
                }
                drop(client);
            }
        }
    }
    wait_for("nobody is served any more", || is_calm(&house));
    let theirs = play(&mut house.direct(), &page, by_literal);
    assert_eq!(play(&mut house.client(), &page, by_literal), theirs);
}

/// The process that waits for a lock in this database.
fn waiting(house: &House) -> Option<String> {
    let query = format!(
        "SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND usename = 'app' \
         AND wait_event_type = 'Lock'"
    );
    Some(ask(&house.cluster.url(DATABASE), &query)).filter(|pid| pid != "0")
}

/// Plays the page up to its first look-up, which waits for a lock, does something to the server that waits, and gives
/// the lock back. Returns what the client is told.
fn blocked(house: &House, transaction: Option<&str>, act: &str) -> String {
    let page = page(&keys(house));
    let mut client = house.client();
    transaction.iter().for_each(|begin| drop(client.query(begin)));
    play(&mut client, &page[..1], by_parameter);
    let mut locker = house.direct();
    locker.query("BEGIN");
    locker.query("LOCK TABLE facilities IN ACCESS EXCLUSIVE MODE");
    let Step::Look(which, key) = &page[1] else { panic!("a look-up follows the parent") };
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| show(&by_parameter(&mut client, LOOK_UPS[*which], key)));
        let pid = until("it waits for the lock", || waiting(house));
        let said = ask(&house.cluster.url(DATABASE), &act.replace("$1", &pid));
        assert_eq!(said, "t", "{act}");
        if transaction.is_none() {
            // The look-up itself follows.
            until("another waits", || waiting(house).filter(|other| *other != pid));
        }
        drop(locker);
        answer.join().unwrap()
    })
}

#[test]
fn a_fetch_that_is_killed_costs_nothing_outside_of_a_transaction_and_its_error_inside() {
    let house = House::with(Level::Fenced, 1);
    let page = page(&keys(&house));
    let expected = &play(&mut house.direct(), &page, by_parameter)[1];
    warm_up(&house, None, by_parameter);
    assert_eq!(&blocked(&house, None, "SELECT pg_terminate_backend($1)"), expected);
    // In a transaction it is the client's own server.
    warm_up(&house, Some("BEGIN"), by_parameter);
    let told = blocked(&house, Some("BEGIN"), "SELECT pg_terminate_backend($1)");
    assert!(told.contains("57P01"), "{told}");
    wait_for("nobody is served any more", || is_calm(&house));
    // Others never noticed.
    let theirs = play(&mut house.direct(), &page, by_parameter);
    assert_eq!(play(&mut house.client(), &page, by_parameter), theirs);
}

#[test]
fn a_statement_timeout_is_that_of_the_look_up_itself() {
    let house = House::with(Level::Fenced, 1);
    // One of these takes a few milliseconds, all of a page together longer than is allowed.
    let slow = "SELECT count(*), min(a.name) FROM facilities a JOIN sources b ON b.id % 977 = a.id % 977 \
                JOIN sources c ON c.id % 211 = b.id % 211 WHERE a.id = $1";
    let parent = "SELECT id, facility_id FROM records WHERE id > 0 ORDER BY id LIMIT 200";
    let keys: Vec<String> =
        rows(&house.direct().query(parent)).into_iter().map(|row| row[1].clone()).collect();
    let run = |client: &mut Client| -> Vec<String> {
        let mut said = vec![show(&client.query(parent))];
        said.extend(keys.iter().map(|key| show(&by_parameter(client, slow, key))));
        said
    };
    let within = |transaction: Option<&str>, client: &mut Client| {
        transaction.iter().for_each(|begin| drop(client.query(begin)));
        let said = run(client);
        transaction.iter().for_each(|_| drop(client.query("COMMIT")));
        said
    };
    let expected = run(&mut house.direct());
    let before = served(&house);
    until("they are fetched ahead", || {
        assert_eq!(run(&mut house.client()), expected);
        (served(&house) - before >= 100).then_some(())
    });
    for transaction in [None, Some("BEGIN")] {
        let mut client = house.client();
        client.query("SET statement_timeout = '150ms'");
        let expected = within(transaction, &mut house.direct());
        for _ in 0..4 {
            assert_eq!(within(transaction, &mut client), expected, "{transaction:?}");
        }
    }
    // What takes too long by itself gets the error that it would have got.
    let mut locker = house.direct();
    locker.query("BEGIN");
    locker.query("LOCK TABLE facilities IN ACCESS EXCLUSIVE MODE");
    for transaction in [None, Some("BEGIN")] {
        let told = [house.client(), house.direct()].map(|mut client| {
            client.query("SET statement_timeout = '100ms'");
            transaction.iter().for_each(|begin| drop(client.query(begin)));
            let mut said = vec![show(&client.query(PARENT))];
            said.push(show(&by_parameter(&mut client, LOOK_UPS[0], "4")));
            said.push(show(&client.query("SELECT 1")));
            said
        });
        assert_eq!(told[0], told[1], "{transaction:?}");
        assert!(told[0][1].contains("57014"), "{:?}", told[0]);
    }
    drop(locker);
    wait_for("nobody is served any more", || is_calm(&house));
}
