//! A connection that is as fast as one thread can be: messages in bulk, answers as frames of one buffer. Logs in
//! by the raw client of the integration tests.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pgweir::demo::cluster::Cluster;
use pgweir::wire::reply;

use crate::rawclient::Raw;

/// An answer that takes longer never comes.
const READ_BOUND: Duration = Duration::from_secs(60);

pub struct Wire {
    stream: UnixStream,
    input: Vec<u8>,
}

/// A message: its tag, and the whole of it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub tag: u8,
    pub whole: &'a [u8],
}

impl<'a> Frame<'a> {
    pub fn body(&self) -> &'a [u8] {
        &self.whole[5..]
    }

    /// Of an ErrorResponse.
    pub fn message(&self) -> String {
        let field = |code| pgweir::wire::server::error_field(self.body(), code).unwrap_or_default();
        format!("{} {}", String::from_utf8_lossy(field(b'C')), String::from_utf8_lossy(field(b'M')))
    }
}

impl Wire {
    pub fn connect(cluster: &Cluster, database: &str) -> Wire {
        let path = cluster.socket_dir().join(format!(".s.PGSQL.{}", cluster.port()));
        let stream = UnixStream::connect(&path).expect("the cluster listens");
        stream.set_read_timeout(Some(READ_BOUND)).expect("a bound above zero");
        let carrier = stream.try_clone().expect("one more descriptor");
        let login = Raw::over(Box::new(carrier)).with("client_encoding", "UTF8");
        if let Err(fault) = login.login(cluster.superuser(), cluster.password(), database) {
            panic!("cannot log in: {fault:?}");
        }
        Wire { stream, input: Vec::new() }
    }

    /// Sends messages that bring so many ReadyForQuery, and calls `each` with the frames of each.
    pub fn ask(&mut self, messages: &[u8], ready: usize, mut each: impl FnMut(usize, &[Frame<'_>])) {
        self.stream.write_all(messages).expect("the server reads");
        self.input.clear();
        let (mut at, mut begin, mut done) = (0, 0, 0);
        while done < ready {
            match pgweir::wire::head(&self.input[at..]).expect("PostgreSQL's own lengths") {
                Some(head) if at + head.size <= self.input.len() => {
                    at += head.size;
                    if head.tag == b'Z' {
                        each(done, &frames(&self.input[begin..at]));
                        (begin, done) = (at, done + 1);
                    }
                }
                _ => {
                    let mut more = [0; 64 * 1024];
                    let count = self.stream.read(&mut more).expect("an answer in time");
                    assert!(count > 0, "the server has closed the connection");
                    self.input.extend_from_slice(&more[..count]);
                }
            }
        }
    }

    /// Runs a text that must succeed, or says why it did not. Rows as text.
    pub fn run(&mut self, text: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let mut message = Vec::new();
        reply::query(&mut message, text);
        let mut outcome = Ok(Vec::new());
        self.ask(&message, 1, |_, frames| {
            for frame in frames {
                match (frame.tag, &mut outcome) {
                    (b'E', _) => outcome = Err(frame.message()),
                    (b'D', Ok(rows)) => {
                        let columns = pgweir::wire::server::columns(frame.body()).expect("a whole row");
                        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                        rows.push(columns.into_iter().map(|column| column.map(text)).collect());
                    }
                    _ => {}
                }
            }
        });
        outcome
    }

    pub fn must(&mut self, text: &str) -> Vec<Vec<Option<String>>> {
        self.run(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

/// What the client sees: notices and reports of settings come when they like.
fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Ok(Some(head)) = pgweir::wire::head(bytes) {
        let (whole, rest) = bytes.split_at(head.size);
        if !matches!(head.tag, b'N' | b'S') {
            frames.push(Frame { tag: head.tag, whole });
        }
        bytes = rest;
    }
    frames
}

/// Describe and Execute of the unnamed portal, then Sync.
pub fn execute(out: &mut Vec<u8>, describe: bool) {
    if describe {
        out.extend_from_slice(b"D\0\0\0\x06P\0");
    }
    out.extend_from_slice(b"E\0\0\0\x09\0\0\0\0\0");
    out.extend_from_slice(&reply::SYNC);
}
