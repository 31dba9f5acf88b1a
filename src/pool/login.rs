//! How a server connection is made: reached, encrypted, logged in to.
//! Knows the protocol of a login and nothing of pools.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::baggage::Text;
use super::connector::Connector;
use super::memory::Memory;
use super::server::{BackendKey, Server, ServerError, frame, refused};
use super::settings::ServerAddress;
use crate::auth::credential::ServerLogin;
use crate::auth::scram::Offer;
use crate::auth::scram_client::ScramClient;
use crate::auth::scram_keys::ClientKeys;
use crate::net::stream::Stream;
use crate::wire::server::{parameter, tag};
use crate::wire::{int32, reply};

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
pub type Opened = (Box<Server>, Option<ClientKeys>);

/// A connection that is logged in and idle, and what the server said of itself meanwhile.
pub struct LoggedIn {
    pub stream: Stream,
    /// Bodies of its ParameterStatus messages, in order.
    pub parameters: Vec<Vec<u8>>,
    pub key: BackendKey,
    keys: Option<ClientKeys>,
}

/// Connects and logs in.
///
/// # Errors
/// What the server or the network said; nothing stays open.
pub async fn open(opening: Opening) -> Result<Opened, ServerError> {
    let logged_in = log_in(&opening).await?;
    let mut memory = Memory::new(opening.statements_max);
    for (name, value) in logged_in.parameters.iter().filter_map(|body| parameter(body)) {
        memory.report(name, value);
    }
    let server = Box::new(Server {
        stream: logged_in.stream,
        memory,
        key: logged_in.key,
        asides: Vec::new(),
        address: opening.address,
        startup: opening.startup,
        opened_ms: 0,
        used_ms: 0,
        generation: 0,
    });
    Ok((server, logged_in.keys))
}

/// The same for who speaks with the server by other means than a pool.
///
/// # Errors
/// What the server or the network said; nothing stays open.
pub async fn log_in(opening: &Opening) -> Result<LoggedIn, ServerError> {
    let (stream, binding) = connect(&opening.address, &opening.tls).await?;
    let mut login = Login { stream, input: Vec::with_capacity(1024), keys: None, binding };
    login.start(opening).await?;
    let (mut parameters, mut key) = (Vec::new(), BackendKey::default());
    loop {
        let (tag, body) = login.frame().await?;
        match tag {
            tag::AUTHENTICATION => login.prove(&body, opening).await?,
            tag::PARAMETER_STATUS if parameters.len() < PARAMETERS_MAX => parameters.push(body),
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
    Ok(LoggedIn { stream: login.stream, parameters, key, keys: login.keys })
}

/// PostgreSQL reports about fifteen parameters at a login.
const PARAMETERS_MAX: usize = 1_000;

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
            Ok((Stream::unix(stream), None))
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
        return Ok((Stream::tcp(stream), None));
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
    Ok((Stream::tcp(stream), None))
}

/// A login under way.
struct Login {
    stream: Stream,
    input: Vec<u8>,
    keys: Option<ClientKeys>,
    binding: Option<Vec<u8>>,
}

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
