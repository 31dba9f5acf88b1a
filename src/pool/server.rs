//! One authenticated server connection: how it is made, asked and closed.
//! Knows the protocol of login and of a simple query; whose connection it is, the pool knows.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::baggage::Text;
use super::memory::Memory;
use super::settings::ServerAddress;
use crate::net::stream::Stream;
use crate::wire::server::{columns, error_field, parameter, sqlstate, tag};
use crate::wire::{self, HEADER, reply};

/// A row of pgweir's own questions: text columns, `None` for NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// What identifies a backend to a cancel request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendKey {
    pub pid: i32,
    pub secret: Vec<u8>,
}

pub struct Server {
    pub stream: Stream,
    pub memory: Memory,
    pub key: BackendKey,
    /// NotificationResponse frames that came while pgweir asked something; the client gets them behind that.
    pub asides: Vec<u8>,
    pub address: ServerAddress,
    /// The start-up parameters it was opened with, beyond user and database: it serves only clients with
    /// the same. `None`: it serves all.
    pub startup: Option<Arc<[(Text, Text)]>>,
    /// Milliseconds of the worker's clock.
    pub opened_ms: u64,
    pub used_ms: u64,
    /// Pools that were reloaded close the servers of earlier settings.
    pub generation: u64,
}

/// Why a server could not be opened or asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServerError {
    #[error("{0}")]
    Unreachable(String),
    /// The server's own ErrorResponse.
    #[error("{message}")]
    Refused { sqlstate: [u8; 5], message: String },
    #[error("{0}")]
    Credential(String),
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The server ended the connection, and said why in this ErrorResponse.
    #[error("the server ended the connection")]
    Ended(Box<[u8]>),
}

impl ServerError {
    /// Whether another attempt would end the same way: wrong password, no such database, missing rights.
    pub fn is_lasting(&self) -> bool {
        match self {
            ServerError::Refused { sqlstate, .. } => {
                sqlstate.starts_with(b"28") || sqlstate.starts_with(b"3D") || sqlstate.starts_with(b"22")
            }
            ServerError::Credential(_) => true,
            _ => false,
        }
    }
}

impl ServerError {
    /// Whether the start-up parameters are at fault: a value that cannot be, a setting that is not there
    /// or that this user may not make.
    pub fn blames_settings(&self) -> bool {
        let codes: [&[u8]; 6] = [b"22023", b"42704", b"42501", b"55P02", b"42601", b"42602"];
        matches!(self, ServerError::Refused { sqlstate, .. } if codes.contains(&&sqlstate[..]))
    }
}

impl From<std::io::Error> for ServerError {
    fn from(error: std::io::Error) -> Self {
        ServerError::Unreachable(error.to_string())
    }
}

/// The largest message of a login; error texts and notices fit.
const LOGIN_FRAME_MAX: usize = 64 * 1024;

pub(super) fn refused(body: &[u8]) -> ServerError {
    let message = error_field(body, b'M').unwrap_or(b"no message");
    ServerError::Refused { sqlstate: sqlstate(body), message: String::from_utf8_lossy(message).into_owned() }
}

/// The next frame of a stream that is read with patience: tag and body.
pub(super) async fn frame(stream: &mut Stream, input: &mut Vec<u8>) -> Result<(u8, Vec<u8>), ServerError> {
    loop {
        let head = wire::head(input).map_err(|bad| ServerError::Protocol(format!("{bad:?}")))?;
        match head {
            Some(head) if head.size > LOGIN_FRAME_MAX => {
                return Err(ServerError::Protocol(format!("a message of {} bytes", head.size)));
            }
            Some(head) if input.len() >= head.size => {
                let body = input[HEADER..head.size].to_vec();
                input.drain(..head.size);
                return Ok((head.tag, body));
            }
            _ => {}
        }
        if stream.read_buf(input).await? == 0 {
            return Err(ServerError::Unreachable("the server closed the connection".into()));
        }
    }
}

/// Bytes of notifications kept while pgweir asks something; a question takes a few milliseconds.
const ASIDES_MAX: usize = 4 * 1024 * 1024;

/// Rows of pgweir's own questions; its questions have far fewer.
const ROWS_MAX: usize = 10_000;

impl Server {
    /// Runs a query of pgweir's own on an idle connection and returns its rows.
    ///
    /// # Errors
    /// `Refused`: the statement failed and the connection is idle again. Else it must be closed.
    pub async fn ask(&mut self, query: &[u8]) -> Result<Vec<Row>, ServerError> {
        let mut out = Vec::with_capacity(query.len() + 6);
        reply::frame(&mut out, b'Q', |out| reply::cstr(out, query));
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        let (mut rows, mut input, mut failure) = (Vec::new(), Vec::with_capacity(4096), None);
        let mut ready = false;
        // What comes unasked may follow the end of the answer at once, and belongs to the client.
        while !ready || !input.is_empty() {
            let (tag, body) = frame(&mut self.stream, &mut input).await?;
            match tag {
                tag::NOTIFICATION if self.asides.len() < ASIDES_MAX => {
                    reply::frame(&mut self.asides, tag, |out| out.extend_from_slice(&body));
                }
                tag::NOTIFICATION => return Err(ServerError::Protocol("too many notifications".into())),
                tag::PARAMETER_STATUS => {
                    if let Some((name, value)) = parameter(&body) {
                        self.memory.report(name, value);
                    }
                }
                tag::NOTICE => {}
                _ if ready => return Err(ServerError::Protocol("more than was asked for".into())),
                tag::DATA_ROW if rows.len() < ROWS_MAX => {
                    let columns =
                        columns(&body).ok_or_else(|| ServerError::Protocol("a broken row".into()))?;
                    rows.push(columns.into_iter().map(|column| column.map(<[u8]>::to_vec)).collect());
                }
                tag::ERROR => failure = Some(refused(&body)),
                tag::READY if body == b"I" => ready = true,
                tag::READY => return Err(ServerError::Protocol("not idle after a question".into())),
                _ => {}
            }
        }
        self.memory.unnamed = None;
        failure.map_or(Ok(rows), Err)
    }

    /// Sends messages of pgweir's own that end with a Sync or a Query, and returns the frames of the answer up to
    /// ReadyForQuery, which is the last of them.
    ///
    /// # Errors
    /// The connection must be closed. An error of the server's is one of the frames.
    pub async fn converse(&mut self, messages: &[u8]) -> Result<Vec<Box<[u8]>>, ServerError> {
        self.stream.write_all(messages).await?;
        self.stream.flush().await?;
        let (mut frames, mut input) = (Vec::new(), Vec::with_capacity(4096));
        loop {
            let (tag, body) = frame(&mut self.stream, &mut input).await?;
            if frames.len() >= ROWS_MAX {
                return Err(ServerError::Protocol("more than was asked for".into()));
            }
            let mut whole = Vec::with_capacity(HEADER + body.len());
            reply::frame(&mut whole, tag, |out| out.extend_from_slice(&body));
            frames.push(whole.into_boxed_slice());
            if tag == tag::READY {
                let all = input.is_empty();
                return all.then_some(frames).ok_or(ServerError::Protocol("more than was asked for".into()));
            }
        }
    }

    /// Reads what an idle server said on its own. False when it can serve nobody any more.
    pub fn is_alive(&mut self) -> bool {
        if !self.stream.has_news() {
            return true;
        }
        let mut buffer = [0; 4096];
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            let mut into = tokio::io::ReadBuf::new(&mut buffer);
            let stream = std::pin::Pin::new(&mut self.stream);
            match tokio::io::AsyncRead::poll_read(stream, &mut cx, &mut into) {
                std::task::Poll::Pending => return true,
                std::task::Poll::Ready(Err(_)) => return false,
                // A server that was killed ends its stream without a word.
                std::task::Poll::Ready(Ok(())) if into.filled().is_empty() => return false,
                std::task::Poll::Ready(Ok(())) => {}
            }
            let news = into.filled().to_vec();
            if !self.note(&news) {
                return false;
            }
        }
    }

    /// Only changed parameters and notices may come unasked.
    fn note(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Ok(Some(head)) = wire::head(bytes) else {
                return false;
            };
            let Some(body) = bytes.get(HEADER..head.size) else {
                return false;
            };
            match head.tag {
                tag::PARAMETER_STATUS => {
                    if let Some((name, value)) = parameter(body) {
                        self.memory.report(name, value);
                    }
                }
                tag::NOTICE => {}
                _ => return false,
            }
            bytes = &bytes[head.size..];
        }
        true
    }

    /// Says goodbye without waiting: PostgreSQL then logs no lost connection.
    pub fn close(mut self) {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = tokio::io::AsyncWrite::poll_write(
            std::pin::Pin::new(&mut self.stream),
            &mut cx,
            &reply::TERMINATE,
        );
    }
}
