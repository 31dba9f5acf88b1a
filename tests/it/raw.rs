//! A client that sends any bytes and sees every frame: what drivers hide. Blocking, with a bound on every
//! read, so that an answer that never comes fails the test.
#![allow(dead_code)] // Each subject uses its own part of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use crate::cluster::{APP_PASSWORD, APP_USER};
use crate::frames::frame;

/// Longer than anything takes on a busy machine; a read that takes longer is answered never.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Raw {
    stream: TcpStream,
    input: Vec<u8>,
    /// Frames from the end of authentication to the first ReadyForQuery.
    pub greeting: Vec<Vec<u8>>,
}

/// What a connection starts with.
#[derive(Clone)]
pub struct Startup {
    pub version: i32,
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    pub fn new(database: &str) -> Startup {
        Startup {
            version: 0x0003_0000,
            parameters: vec![
                ("user".to_owned(), APP_USER.to_owned()),
                ("database".to_owned(), database.to_owned()),
            ],
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Startup {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    fn packet(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        for (name, value) in &self.parameters {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
        packet.append(&mut body);
        packet
    }
}

impl Raw {
    /// Connects and logs in.
    pub fn open(port: u16, startup: &Startup) -> Raw {
        Raw::try_open(port, startup)
            .unwrap_or_else(|frames| panic!("refused:\n{}", crate::frames::show(&frames.concat())))
    }

    /// The same; `Err` holds the frames of a refusal, the error last.
    pub fn try_open(port: u16, startup: &Startup) -> Result<Raw, Vec<Vec<u8>>> {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Raw { stream, input: Vec::new(), greeting: Vec::new() };
        raw.send(&startup.packet());
        let mut seen = Vec::new();
        let mut scram = None;
        loop {
            let next = raw.frame().expect("an answer to the start-up packet");
            match (next[0], next.get(5..9)) {
                (b'R', Some([0, 0, 0, 0])) => seen.clear_auth(),
                (b'R', Some(_)) => raw.prove(&next, &mut scram),
                (b'E', _) => {
                    seen.push(next);
                    return Err(seen);
                }
                (b'Z', _) => {
                    seen.push(next);
                    raw.greeting = seen;
                    return Ok(raw);
                }
                _ => seen.push(next),
            }
        }
    }

    /// Answers one step of SCRAM.
    fn prove(&mut self, message: &[u8], scram: &mut Option<ScramSha256>) {
        let rest = &message[9..];
        let body = match message[8] {
            10 => {
                let begun = ScramSha256::new(APP_PASSWORD.as_bytes(), ChannelBinding::unsupported());
                let first = begun.message().to_vec();
                *scram = Some(begun);
                let length = (first.len() as u32).to_be_bytes();
                [SCRAM_SHA_256.as_bytes(), b"\0", &length, &first].concat()
            }
            11 => {
                let scram = scram.as_mut().expect("SASL has begun");
                scram.update(rest).unwrap();
                scram.message().to_vec()
            }
            12 => {
                return scram.as_mut().expect("SASL has begun").finish(rest).unwrap();
            }
            other => panic!("authentication method {other}"),
        };
        self.send(&frame(b'p', &body));
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The same from another thread, for bytes that are too many to be sent before answers are read.
    pub fn send_aside(&mut self, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
        let mut stream = self.stream.try_clone().unwrap();
        // An error closes the connection while we still send; what was answered is what counts.
        std::thread::spawn(move || drop(stream.write_all(&bytes)))
    }

    /// The next frame; `None` when the other side has closed. Panics when nothing comes.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        self.try_frame().expect("an answer never came")
    }

    /// The same; `Err` when nothing comes.
    pub fn try_frame(&mut self) -> Result<Option<Vec<u8>>, std::io::Error> {
        loop {
            if let Ok(Some(head)) = pgweir::wire::head(&self.input)
                && self.input.len() >= head.size
            {
                let rest = self.input.split_off(head.size);
                return Ok(Some(std::mem::replace(&mut self.input, rest)));
            }
            let mut piece = vec![0; 256 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(n) => self.input.extend(&piece[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Frames up to and with the `count`th of this type, or to the end of the connection.
    pub fn until(&mut self, tag: u8, mut count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while count > 0 {
            let Some(frame) = self.frame() else { break };
            count -= usize::from(frame[0] == tag);
            frames.push(frame);
        }
        frames
    }

    /// Runs a simple query; the first column of the first row.
    pub fn ask(&mut self, query: &str) -> String {
        self.send(&frame(b'Q', &[query.as_bytes(), b"\0"].concat()));
        let frames = self.until(b'Z', 1);
        let row = frames.iter().find(|frame| frame[0] == b'D');
        assert!(
            frames.iter().all(|frame| frame[0] != b'E'),
            "{query}:\n{}",
            crate::frames::show(&frames.concat())
        );
        let columns = row.and_then(|row| pgweir::wire::server::columns(&row[5..]));
        let first = columns.and_then(|columns| columns.first().copied().flatten());
        first.map_or(String::new(), |text| String::from_utf8_lossy(text).into_owned())
    }
}

trait Greeting {
    fn clear_auth(&mut self);
}

impl Greeting for Vec<Vec<u8>> {
    /// What came before the proof is kept only where it is the protocol's own affair.
    fn clear_auth(&mut self) {
        self.retain(|frame| frame[0] == b'v');
    }
}
