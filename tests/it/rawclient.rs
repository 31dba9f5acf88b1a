//! A blocking PostgreSQL client that is close to the bytes: it can stop in the middle of a message, stop
//! reading, or say what no driver would. Knows only the protocol.
#![allow(dead_code)] // Each subject uses its own part of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use postgres_protocol::authentication::{md5_hash, sasl};

/// An answer that takes longer never comes.
const READ_BOUND: Duration = Duration::from_secs(40);

/// What carries the bytes.
pub trait Carrier: Read + Write + Send {}
impl<T: Read + Write + Send> Carrier for T {}

/// An ErrorResponse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    pub severity: String,
    pub sqlstate: String,
    pub message: String,
    pub hint: String,
}

impl Fault {
    fn read(body: &[u8]) -> Fault {
        let mut fault = Fault::default();
        for field in body.split(|&byte| byte == 0).filter(|field| !field.is_empty()) {
            let text = String::from_utf8_lossy(&field[1..]).into_owned();
            match field[0] {
                b'V' => fault.severity = text,
                b'C' => fault.sqlstate = text,
                b'M' => fault.message = text,
                b'H' => fault.hint = text,
                _ => {}
            }
        }
        fault
    }
}

/// What a query brought, up to ReadyForQuery or the end of the connection.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// First columns, as text.
    pub rows: Vec<String>,
    pub error: Option<Fault>,
    /// How many errors there were.
    pub errors: usize,
    /// I, T or E; 0 when the connection ended.
    pub status: u8,
}

impl Reply {
    pub fn sqlstate(&self) -> &str {
        self.error.as_ref().map_or("", |fault| &fault.sqlstate)
    }

    /// The only value of a query that had to succeed.
    pub fn value(&self) -> &str {
        assert_eq!(self.error, None);
        &self.rows[0]
    }
}

pub struct Raw {
    carrier: Box<dyn Carrier>,
    tcp: Option<TcpStream>,
    input: Vec<u8>,
    pub pid: i32,
    pub secret: Vec<u8>,
    pub parameters: Vec<(String, String)>,
    /// What the server asked for: the codes of its Authentication messages.
    pub asked: Vec<i32>,
    /// Bodies of NegotiateProtocolVersion.
    pub negotiated: Option<Vec<u8>>,
    /// Start-up parameters besides user and database.
    pub extra: Vec<(String, String)>,
    pub version: i32,
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Raw {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(READ_BOUND)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let carrier = Box::new(tcp.try_clone().unwrap());
        Raw { tcp: Some(tcp), ..Raw::over(carrier) }
    }

    pub fn over(carrier: Box<dyn Carrier>) -> Raw {
        Raw {
            carrier,
            tcp: None,
            input: Vec::new(),
            pid: 0,
            secret: Vec::new(),
            parameters: Vec::new(),
            asked: Vec::new(),
            negotiated: None,
            extra: Vec::new(),
            version: 0x0003_0000,
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Raw {
        self.extra.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn tcp(&self) -> &TcpStream {
        self.tcp.as_ref().unwrap()
    }

    /// Closes with a reset, as a killed machine or a firewall does.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.tcp());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        drop(self);
    }

    /// Closes both directions without a Terminate, as a killed process does.
    pub fn vanish(self) {
        let _ = self.tcp().shutdown(Shutdown::Both);
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.carrier.write_all(bytes)?;
        self.carrier.flush()
    }

    /// The next message: tag and body. `None`: the connection ended.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        while self.input.len() < 5 {
            self.more()?;
        }
        let length = u32::from_be_bytes(self.input[1..5].try_into().unwrap()) as usize + 1;
        while self.input.len() < length {
            self.more()?;
        }
        let frame: Vec<u8> = self.input.drain(..length).collect();
        Some((frame[0], frame[5..].to_vec()))
    }

    fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 65536];
        match self.carrier.read(&mut buffer) {
            Ok(0) => None,
            Ok(n) => {
                self.input.extend_from_slice(&buffer[..n]);
                Some(())
            }
            Err(error) => {
                let stuck =
                    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!stuck, "no answer within {READ_BOUND:?}");
                None
            }
        }
    }

    /// Whether the other side closed without another word.
    pub fn is_closed(&mut self) -> bool {
        self.input.is_empty() && self.more().is_none()
    }

    // --- login ---

    pub fn startup(&mut self, user: &str, database: &str) {
        let mut body = self.version.to_be_bytes().to_vec();
        let own = [("user", user), ("database", database)];
        let extra = self.extra.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in own.into_iter().chain(extra) {
            body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        body.push(0);
        let mut packet = (body.len() as i32 + 4).to_be_bytes().to_vec();
        packet.append(&mut body);
        self.send(&packet);
    }

    /// Logs in by whatever is asked for.
    pub fn login(mut self, user: &str, password: &str, database: &str) -> Result<Raw, Fault> {
        self.startup(user, database);
        let mut scram = None;
        loop {
            let Some((tag, body)) = self.frame() else {
                return Err(Fault { message: "closed without a word".into(), ..Default::default() });
            };
            match tag {
                b'R' => self.prove(&body, user, password, &mut scram),
                b'E' => return Err(Fault::read(&body)),
                b'S' => {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    let mut words = text.split('\0').map(str::to_owned);
                    self.parameters.push((words.next().unwrap(), words.next().unwrap()));
                }
                b'K' => {
                    self.pid = i32::from_be_bytes(body[..4].try_into().unwrap());
                    self.secret = body[4..].to_vec();
                }
                b'v' => self.negotiated = Some(body),
                b'N' => {}
                b'Z' => return Ok(self),
                other => panic!("message {other} in a login"),
            }
        }
    }

    fn prove(&mut self, body: &[u8], user: &str, password: &str, scram: &mut Option<sasl::ScramSha256>) {
        let code = i32::from_be_bytes(body[..4].try_into().unwrap());
        self.asked.push(code);
        let message = match code {
            0 => return,
            3 => format!("{password}\0").into_bytes(),
            5 => {
                let salt = body[4..8].try_into().unwrap();
                format!("{}\0", md5_hash(user.as_bytes(), password.as_bytes(), salt)).into_bytes()
            }
            10 => {
                let first = sasl::ScramSha256::new(password.as_bytes(), sasl::ChannelBinding::unsupported());
                let mut message = b"SCRAM-SHA-256\0".to_vec();
                message.extend_from_slice(&(first.message().len() as i32).to_be_bytes());
                message.extend_from_slice(first.message());
                *scram = Some(first);
                message
            }
            11 => {
                let scram = scram.as_mut().unwrap();
                scram.update(&body[4..]).unwrap();
                scram.message().to_vec()
            }
            12 => return scram.as_mut().unwrap().finish(&body[4..]).unwrap(),
            other => panic!("authentication request {other}"),
        };
        self.send(&framed(b'p', &message));
    }

    /// Asks to cancel what the session with this key runs; returns when the server has closed.
    pub fn cancel(address: SocketAddr, pid: i32, secret: &[u8]) {
        let mut raw = Raw::connect(address);
        let mut packet = (12 + secret.len() as i32).to_be_bytes().to_vec();
        packet.extend_from_slice(&80_877_102i32.to_be_bytes());
        packet.extend_from_slice(&pid.to_be_bytes());
        packet.extend_from_slice(secret);
        raw.send(&packet);
        assert!(raw.is_closed(), "a cancel request is never answered");
    }

    // --- queries ---

    pub fn start_query(&mut self, text: &str) {
        self.send(&query(text));
    }

    pub fn query(&mut self, text: &str) -> Reply {
        self.start_query(text);
        self.reply()
    }

    /// Everything up to the next ReadyForQuery, or the end.
    pub fn reply(&mut self) -> Reply {
        let mut reply = Reply::default();
        while let Some((tag, body)) = self.frame() {
            match tag {
                b'D' => {
                    let length = i32::from_be_bytes(body[2..6].try_into().unwrap());
                    let end = 6 + usize::try_from(length).unwrap_or(0);
                    reply.rows.push(String::from_utf8_lossy(&body[6..end]).into_owned());
                }
                b'E' => {
                    reply.errors += 1;
                    reply.error = Some(Fault::read(&body));
                }
                b'Z' => {
                    reply.status = body[0];
                    break;
                }
                _ => {}
            }
        }
        reply
    }

    /// Reads up to a message of this kind.
    pub fn expect(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (tag, body) = self.frame().expect("the connection ended");
            assert!(tag != b'E' || wanted == b'E', "an error instead: {:?}", Fault::read(&body));
            if tag == wanted {
                return body;
            }
        }
    }

    /// The error that ends this connection.
    pub fn last_words(&mut self) -> Fault {
        let reply = self.reply();
        assert_eq!(reply.status, 0, "the session goes on: {reply:?}");
        assert_eq!(reply.errors, 1, "one clear error: {reply:?}");
        reply.error.unwrap()
    }
}

/// A message with its tag and length.
pub fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![tag];
    frame.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

pub fn query(text: &str) -> Vec<u8> {
    framed(b'Q', format!("{text}\0").as_bytes())
}

/// Parse, Bind, Execute and Sync of an unnamed statement.
pub fn extended(text: &str) -> Vec<u8> {
    let mut bytes = framed(b'P', format!("\0{text}\0\0\0").as_bytes());
    bytes.extend(framed(b'B', b"\0\0\0\0\0\0\0\0"));
    bytes.extend(framed(b'E', b"\0\0\0\0\0"));
    bytes.extend(framed(b'S', b""));
    bytes
}

/// The same of a statement with parameters, as text.
pub fn bound(text: &str, values: &[&str]) -> Vec<u8> {
    let mut body = [&b"\0\0\0\0"[..], &(values.len() as i16).to_be_bytes()].concat();
    for value in values {
        body.extend_from_slice(&(value.len() as i32).to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(b"\0\0");
    let mut bytes = framed(b'P', format!("\0{text}\0\0\0").as_bytes());
    bytes.extend(framed(b'B', &body));
    bytes.extend(framed(b'E', b"\0\0\0\0\0"));
    bytes.extend(framed(b'S', b""));
    bytes
}
