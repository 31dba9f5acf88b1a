//! One authenticated server connection: how it is made, asked and closed.
//! Knows the protocol of login and of a simple query; whose connection it is, the pool knows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::baggage::Text;
use super::connector::Connector;
use super::memory::Memory;
use super::settings::ServerAddress;
use crate::auth::credential::ServerLogin;
use crate::auth::scram::Offer;
use crate::auth::scram_client::ScramClient;
use crate::auth::scram_keys::ClientKeys;
use crate::net::stream::Stream;
use crate::wire::server::{columns, error_field, parameter, sqlstate, tag};
use crate::wire::{self, HEADER, int32, reply};

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

impl From<std::io::Error> for ServerError {
    fn from(error: std::io::Error) -> Self {
        ServerError::Unreachable(error.to_string())
    }
}

/// Everything a login needs.
pub struct Opening {
    pub address: ServerAddress,
    pub database: String,
    pub login: ServerLogin,
    /// Keys of an earlier login with a password, so that it need not be hashed again.
    pub cached_keys: Option<ClientKeys>,
    pub startup: Option<Arc<[(Text, Text)]>>,
    pub tls: Arc<Connector>,
    pub statements_max: usize,
}

/// A server, and the SCRAM keys to keep for the next login.
pub type Opened = (Server, Option<ClientKeys>);

/// Connects and logs in.
///
/// # Errors
/// What the server or the network said; nothing stays open.
pub async fn open(opening: Opening) -> Result<Opened, ServerError> {
    let (stream, binding) = connect(&opening.address, &opening.tls).await?;
    let mut login = Login { stream, input: Vec::with_capacity(1024), keys: None, binding };
    login.start(&opening).await?;
    let mut memory = Memory::new(opening.statements_max);
    let mut key = BackendKey::default();
    loop {
        let (tag, body) = login.frame().await?;
        match tag {
            tag::AUTHENTICATION => login.prove(&body, &opening).await?,
            tag::PARAMETER_STATUS => {
                if let Some((name, value)) = parameter(&body) {
                    memory.report(name, value);
                }
            }
            tag::BACKEND_KEY => {
                if let Some((pid, secret)) = int32(&body) {
                    key = BackendKey { pid, secret: secret.to_vec() };
                }
            }
            tag::READY => break,
            tag::ERROR => return Err(refused(&body)),
            tag::NOTICE | tag::NEGOTIATE => {}
            other => {
                return Err(ServerError::Protocol(format!("message {} in a login", other.escape_ascii())));
            }
        }
    }
    let server = Server {
        stream: login.stream,
        memory,
        key,
        asides: Vec::new(),
        address: opening.address,
        startup: opening.startup,
        opened_ms: 0,
        used_ms: 0,
        generation: 0,
    };
    Ok((server, login.keys))
}

/// The stream to a server, TLS negotiated, and the hash that binds a login to its certificate.
pub async fn connect(
    address: &ServerAddress,
    tls: &Connector,
) -> Result<(Stream, Option<Vec<u8>>), ServerError> {
    match address {
        ServerAddress::Unix { directory, port } => {
            let path = socket_path(directory, *port);
            let stream = UnixStream::connect(&path).await;
            let stream = stream.map_err(|error| unreachable(&path.display().to_string(), &error))?;
            Ok((Stream::Unix(stream), None))
        }
        ServerAddress::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            let stream = stream.map_err(|error| unreachable(&format!("{host}:{port}"), &error))?;
            stream.set_nodelay(true)?;
            keep_alive(&stream);
            secure(stream, host, tls).await
        }
    }
}

/// The socket file of a server, as PostgreSQL names it.
pub fn socket_path(directory: &Path, port: u16) -> std::path::PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

fn unreachable(place: &str, error: &std::io::Error) -> ServerError {
    ServerError::Unreachable(format!("cannot reach the server at {place}: {error}"))
}

/// A server that vanished without a word is noticed within two minutes.
fn keep_alive(stream: &TcpStream) {
    let options = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    // Without keep-alive the connection still works.
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&options);
}

async fn secure(
    mut stream: TcpStream,
    host: &str,
    tls: &Connector,
) -> Result<(Stream, Option<Vec<u8>>), ServerError> {
    if !tls.asks() {
        return Ok((Stream::Tcp(stream), None));
    }
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
    let answer = stream.read_u8().await?;
    if answer == b'S' {
        let (stream, binding) = tls.connect(host, stream).await.map_err(ServerError::Unreachable)?;
        return Ok((Stream::TlsClient(Box::new(stream)), binding));
    }
    if tls.insists() {
        let advice = "turn ssl on there, or set tls mode prefer";
        return Err(ServerError::Unreachable(format!("the server at {host} does not speak TLS: {advice}")));
    }
    Ok((Stream::Tcp(stream), None))
}

/// A login under way.
struct Login {
    stream: Stream,
    input: Vec<u8>,
    keys: Option<ClientKeys>,
    binding: Option<Vec<u8>>,
}

/// The largest message of a login; error texts and notices fit.
const LOGIN_FRAME_MAX: usize = 64 * 1024;

impl Login {
    async fn start(&mut self, opening: &Opening) -> Result<(), ServerError> {
        let mut body = 0x0003_0000i32.to_be_bytes().to_vec();
        let mut put = |name: &[u8], value: &[u8]| {
            reply::cstr(&mut body, name);
            reply::cstr(&mut body, value);
        };
        put(b"user", opening.login.user.as_bytes());
        put(b"database", opening.database.as_bytes());
        for (name, value) in opening.startup.iter().flat_map(|startup| startup.iter()) {
            put(name, value);
        }
        body.push(0);
        let mut packet = (body.len() as i32 + 4).to_be_bytes().to_vec();
        packet.append(&mut body);
        self.send(&packet).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), ServerError> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>), ServerError> {
        frame(&mut self.stream, &mut self.input).await
    }

    /// Answers an Authentication request, to the end of its exchange.
    async fn prove(&mut self, body: &[u8], opening: &Opening) -> Result<(), ServerError> {
        let (code, rest) = int32(body).ok_or_else(|| ServerError::Protocol("an empty challenge".into()))?;
        let missing =
            |error: crate::auth::credential::MissingCredential| ServerError::Credential(error.to_string());
        match code {
            0 => Ok(()),
            3 => {
                let password = opening.login.cleartext().map_err(missing)?.to_owned();
                self.password(password.as_bytes()).await
            }
            5 => {
                let salt = rest
                    .try_into()
                    .map_err(|_| ServerError::Protocol("an md5 salt of a wrong size".into()))?;
                let answer = opening.login.md5(salt).map_err(missing)?;
                self.password(answer.as_bytes()).await
            }
            10 => {
                let credential = opening.login.scram(opening.cached_keys.clone()).map_err(missing)?;
                self.scram(rest, credential).await
            }
            other => Err(ServerError::Credential(format!(
                "the server asks for authentication method {other}, which pgweir does not speak: \
                 use scram-sha-256 in its pg_hba.conf"
            ))),
        }
    }

    async fn password(&mut self, text: &[u8]) -> Result<(), ServerError> {
        let mut out = Vec::new();
        reply::frame(&mut out, b'p', |out| reply::cstr(out, text));
        self.send(&out).await
    }

    async fn scram(
        &mut self,
        list: &[u8],
        credential: crate::auth::scram_client::Credential,
    ) -> Result<(), ServerError> {
        let fail = |error: crate::auth::scram_client::ScramError| ServerError::Credential(error.to_string());
        let offer = Offer::parse(list)
            .ok_or_else(|| ServerError::Protocol("an unreadable list of mechanisms".into()))?;
        let mut client =
            ScramClient::new(credential, offer, self.binding.take(), rand::random()).map_err(fail)?;
        let (mechanism, first) = client.first();
        let mut out = Vec::new();
        reply::frame(&mut out, b'p', |out| {
            reply::cstr(out, mechanism.name().as_bytes());
            out.extend_from_slice(&(first.len() as i32).to_be_bytes());
            out.extend_from_slice(&first);
        });
        self.send(&out).await?;
        let challenge = self.sasl(11).await?;
        let answer = client.server_first(&challenge).map_err(fail)?;
        out.clear();
        reply::frame(&mut out, b'p', |out| out.extend_from_slice(&answer));
        self.send(&out).await?;
        let end = self.sasl(12).await?;
        client.server_final(&end).map_err(fail)?;
        self.keys = client.into_keys();
        Ok(())
    }

    /// The content of the next SASL message, which must be of this kind.
    async fn sasl(&mut self, expected: i32) -> Result<Vec<u8>, ServerError> {
        loop {
            let (tag, body) = self.frame().await?;
            match tag {
                tag::ERROR => return Err(refused(&body)),
                tag::NOTICE => {}
                tag::AUTHENTICATION => match int32(&body) {
                    Some((code, rest)) if code == expected => return Ok(rest.to_vec()),
                    _ => return Err(ServerError::Protocol("a SASL message out of turn".into())),
                },
                _ => {
                    return Err(ServerError::Protocol("something else than a SASL message".into()));
                }
            }
        }
    }
}

fn refused(body: &[u8]) -> ServerError {
    let message = error_field(body, b'M').unwrap_or(b"no message");
    ServerError::Refused { sqlstate: sqlstate(body), message: String::from_utf8_lossy(message).into_owned() }
}

/// The next frame of a stream that is read with patience: tag and body.
async fn frame(stream: &mut Stream, input: &mut Vec<u8>) -> Result<(u8, Vec<u8>), ServerError> {
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
