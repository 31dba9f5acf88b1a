//! One script: read from its text, played on a connection.

use std::collections::BTreeMap;

use super::{Disturb, PoolMode, Raw, Seen, Startup, encode, show, words};

pub struct Script {
    pub title: String,
    startup: Vec<(String, String)>,
    modes: Vec<String>,
    /// ParameterStatus may come later than directly, with the same value in the end.
    pub late: bool,
    steps: Vec<Step>,
}

enum Step {
    Send(Vec<u8>),
    Wait {
        tag: u8,
        count: usize,
    },
    WaitEnd,
    /// Without COPY, and with a Sync at its end.
    Group(Vec<Vec<u8>>),
    Client(String),
}

impl Script {
    /// Every script of every file in `tests/it/differential`.
    pub fn all() -> Vec<Script> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/differential");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "txt"))
            .collect();
        files.sort();
        let read = |path: &std::path::PathBuf| Script::read(&std::fs::read_to_string(path).unwrap());
        files.iter().flat_map(read).collect()
    }

    pub fn read(text: &str) -> Vec<Script> {
        let mut scripts: Vec<Script> = Vec::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("== ") {
                scripts.push(Script {
                    title: title.to_owned(),
                    startup: Vec::new(),
                    modes: Vec::new(),
                    late: false,
                    steps: Vec::new(),
                });
            } else if !line.trim().is_empty() && !line.starts_with('#') {
                let script = scripts.last_mut().expect("a title comes first");
                script.line(line);
            }
        }
        scripts
    }

    fn line(&mut self, line: &str) {
        let plain = |rest: &str| -> Vec<String> {
            let words = words(rest).into_iter().flatten();
            words.map(|word| String::from_utf8(word).unwrap()).collect()
        };
        if let Some(rest) = line.strip_prefix("startup:") {
            let pair = plain(rest);
            self.startup.push((pair[0].clone(), pair[1].clone()));
        } else if let Some(rest) = line.strip_prefix("modes:") {
            self.modes = plain(rest);
        } else if let Some(rest) = line.strip_prefix("client ") {
            self.steps.push(Step::Client(rest.to_owned()));
        } else if line == "parameters: late" {
            self.late = true;
        } else if line == "wait end" {
            self.steps.push(Step::WaitEnd);
        } else if let Some(rest) = line.strip_prefix("wait ") {
            let words = plain(rest);
            self.steps.push(Step::Wait {
                tag: words[0].as_bytes()[0],
                count: words.get(1).map_or(1, |count| count.parse().unwrap()),
            });
        } else {
            self.steps.push(Step::Send(encode(line)));
        }
    }

    /// A script of groups of messages. A group is awaited as a whole.
    pub fn of(groups: Vec<Vec<Vec<u8>>>) -> Script {
        Script {
            title: "random".to_owned(),
            startup: Vec::new(),
            modes: Vec::new(),
            late: false,
            steps: groups.into_iter().map(Step::Group).collect(),
        }
    }

    pub fn is_for(&self, mode: PoolMode) -> bool {
        let name = format!("{mode:?}").to_lowercase();
        self.modes.is_empty() || self.modes.contains(&name)
    }

    /// Plays it. With an `oracle` each wait reads as many frames as that saw, and what is said beyond is
    /// seen at the end. The error is an answer that never came.
    pub fn play(
        &self,
        port: u16,
        database: &str,
        oracle: Option<&Seen>,
        mut disturb: Option<&mut Disturb>,
    ) -> Result<Seen, String> {
        let mut startup = Startup::new(database);
        startup.parameters.extend(self.startup.iter().cloned());
        let mut clients: BTreeMap<String, Raw> = BTreeMap::new();
        let mut now = "1".to_owned();
        let mut seen: Seen = Vec::new();
        let mut asides = Vec::new();
        for step in &self.steps {
            if !clients.contains_key(&now) {
                let raw = Raw::open(port, &startup);
                seen.push(raw.greeting.clone());
                clients.insert(now.clone(), raw);
            }
            let client = clients.get_mut(&now).expect("it was just opened");
            let expected = oracle.and_then(|oracle| oracle.get(seen.len()));
            let late = self.late;
            let counts = move |frame: &[u8]| !late || frame[0] != b'S';
            let count = expected.map(|frames| frames.iter().filter(|f| counts(f)).count());
            match step {
                Step::Client(name) => now.clone_from(name),
                Step::Send(bytes) if bytes.len() > 100_000 => {
                    asides.push(client.send_aside(bytes.clone()));
                }
                // A connection that was closed shows in what is read.
                Step::Send(bytes) => drop(client.try_send(bytes)),
                Step::Group(messages) => {
                    if count.is_some() {
                        drop(client.try_send(&messages.concat()));
                        seen.push(read(client, count, counts, |_| false)?);
                    } else {
                        seen.push(one_by_one(client, messages));
                    }
                    if let Some(disturb) = &mut disturb {
                        disturb.disturb();
                    }
                }
                Step::WaitEnd => seen.push(read(client, count, counts, |_| false)?),
                &Step::Wait { tag, count: wanted } => {
                    let mut left = wanted;
                    let last = |frame: &[u8]| {
                        left -= usize::from(frame[0] == tag);
                        left == 0
                    };
                    seen.push(read(client, count, counts, last)?);
                    if let Some(disturb) = &mut disturb {
                        disturb.disturb();
                    }
                }
            }
        }
        for aside in asides {
            aside.join().unwrap();
        }
        // Nothing may follow but the end.
        for client in clients.values_mut() {
            let _ = client.try_send(&encode("Terminate"));
            seen.push(read(client, None, |_| true, |_| false)?);
        }
        Ok(seen)
    }
}

/// Frames up to the last, or so many of them, or to the end of the connection.
fn read(
    client: &mut Raw,
    count: Option<usize>,
    counts: impl Fn(&[u8]) -> bool,
    mut last: impl FnMut(&[u8]) -> bool,
) -> Result<Vec<Vec<u8>>, String> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    loop {
        if count.is_some_and(|count| frames.iter().filter(|f| counts(f)).count() >= count) {
            return Ok(frames);
        }
        match client.try_frame() {
            Ok(None) => return Ok(frames),
            Ok(Some(frame)) => {
                let is_last = last(&frame);
                frames.push(frame);
                if is_last && count.is_none() {
                    return Ok(frames);
                }
            }
            Err(error) => {
                let shown = show(&frames.concat());
                return Err(format!("{error}, after\n{shown}"));
            }
        }
    }
}

/// Sends each message alone and reads its answer, which shows what PostgreSQL skips and so how many
/// answers there are in all.
fn one_by_one(client: &mut Raw, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut frames, mut skips) = (Vec::new(), false);
    for message in messages {
        let kind = message[0];
        let last: &[u8] = match kind {
            b'S' => b"Z",
            _ if skips => b"",
            b'Q' | b'F' => b"Z",
            b'H' => b"",
            b'D' => b"TnE",
            _ => b"123CIsE",
        };
        drop(client.try_send(message));
        if !last.is_empty() {
            drop(client.try_send(&encode("Flush")));
        }
        while !last.is_empty() {
            // EXECUTE of a SAVEPOINT ends a connection, for one.
            let Some(frame) = client.frame() else {
                return frames;
            };
            let tag = frame[0];
            frames.push(frame);
            if last.contains(&tag) {
                skips = tag == b'E' && kind != b'Q';
                break;
            }
        }
    }
    frames
}
