//! One client connection: opened and logged in while blocking, then handed to a poll loop.
//! Must not know what is asked over it.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::frames::{cut, error_text};
use crate::login::Login;
use crate::scram::Keys;
use crate::{Fail, fail};

/// How long any single wait for the other side may last before the run counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A logged-in connection over a socket of type `S`.
pub enum Wire<S: Read + Write> {
    Plain(S),
    Tls(Box<StreamOwned<ClientConnection, S>>),
}

pub type Blocking = Wire<std::net::TcpStream>;
pub type Polled = Wire<mio::net::TcpStream>;

impl Blocking {
    /// Connects and logs in; with a TLS configuration, asks for TLS first.
    pub fn open(port: u16, tls: Option<&Arc<ClientConfig>>, keys: &mut Keys) -> Result<Blocking, Fail> {
        let mut socket = std::net::TcpStream::connect(address(port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut wire = match tls {
            None => Wire::Plain(socket),
            Some(config) => {
                socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
                let mut answer = [0];
                socket.read_exact(&mut answer)?;
                if answer != *b"S" {
                    return fail("TLS was asked for and refused");
                }
                let name = ServerName::try_from("localhost")?;
                let session = ClientConnection::new(config.clone(), name)?;
                Wire::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        };
        let mut out = Vec::new();
        let mut login = Login::start(&mut out);
        let mut reader = Reader::default();
        loop {
            wire.write_all(&out)?;
            out.clear();
            let (tag, body) = reader.frame(&mut wire)?;
            if login.frame(tag, body, keys, &mut out)? {
                return Ok(wire);
            }
        }
    }

    /// Sends a simple query and waits for its end; fails with what an error says.
    /// Returns the first row's columns as text.
    pub fn ask(&mut self, sql: &str) -> Result<Vec<String>, Fail> {
        let mut out = Vec::new();
        crate::frames::put_query(&mut out, sql);
        self.write_all(&out)?;
        let mut reader = Reader::default();
        let mut row = Vec::new();
        loop {
            let (tag, body) = reader.frame(self)?;
            match tag {
                b'E' => return fail(format!("{sql}: {}", error_text(body))),
                b'D' if row.is_empty() => {
                    let columns = (0..).map_while(|i| crate::frames::column(body, i));
                    row = columns.map(|c| String::from_utf8_lossy(c).into_owned()).collect();
                }
                b'Z' => return Ok(row),
                _ => {}
            }
        }
    }

    /// Makes it non-blocking, for a poll loop.
    pub fn into_polled(self) -> Result<Polled, Fail> {
        let convert = |socket: std::net::TcpStream| -> Result<_, Fail> {
            socket.set_nonblocking(true)?;
            Ok(mio::net::TcpStream::from_std(socket))
        };
        Ok(match self {
            Wire::Plain(socket) => Wire::Plain(convert(socket)?),
            Wire::Tls(stream) => {
                let StreamOwned { conn, sock } = *stream;
                Wire::Tls(Box::new(StreamOwned::new(conn, convert(sock)?)))
            }
        })
    }
}

impl Polled {
    pub fn socket(&mut self) -> &mut mio::net::TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => &mut stream.sock,
        }
    }

    /// Reads once. `None`: nothing there now. An ended connection is an error here, because no
    /// side of this benchmark ever closes an unfinished one.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Option<usize>, Fail> {
        match self.read(into) {
            Ok(0) => fail("the other side closed the connection"),
            Ok(count) => Ok(Some(count)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes what fits of `out` and keeps the rest in it.
    pub fn send(&mut self, out: &mut Vec<u8>) -> Result<(), Fail> {
        while !out.is_empty() {
            match self.write(out) {
                Ok(count) if count == out.len() => out.clear(),
                Ok(count) => drop(out.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        match self.flush() {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e.into()),
            _ => Ok(()),
        }
    }
}

impl<S: Read + Write> Read for Wire<S> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(into),
            Wire::Tls(stream) => stream.read(into),
        }
    }
}

impl<S: Read + Write> Write for Wire<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Wire::Plain(_) => Ok(()),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// Cuts frames out of a blocking connection.
#[derive(Default)]
pub struct Reader {
    bytes: Vec<u8>,
    taken: usize,
    pub received: u64,
}

impl Reader {
    /// Waits for the next frame.
    pub fn frame(&mut self, from: &mut Blocking) -> Result<(u8, &[u8]), Fail> {
        while cut(&self.bytes[self.taken..]).is_none() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
            let before = self.bytes.len();
            self.bytes.resize(before + 256 * 1024, 0);
            let count = from.read(&mut self.bytes[before..])?;
            self.bytes.truncate(before + count);
            self.received += count as u64;
            if count == 0 {
                return fail("the other side closed the connection");
            }
        }
        let at = self.taken;
        let (tag, _, size) = cut(&self.bytes[at..]).expect("the loop above ended because a frame is there");
        self.taken += size;
        Ok((tag, &self.bytes[at + 5..at + size]))
    }
}

pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
