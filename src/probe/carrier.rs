//! How a connection of the probe is opened: pgweir's own login, with all that it knows of TLS, sockets and
//! SCRAM keys, handed to tokio-postgres as a stream. To tokio-postgres it looks as if the server had asked for
//! no password. Must not know what is asked later.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use deadpool_postgres::Connect;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls};

use super::Target;
use crate::net::stream::Stream;
use crate::pool::baggage::Text;
use crate::pool::login::{LoggedIn, Opening, log_in};
use crate::pool::server::ServerError;
use crate::wire::reply;
use crate::wire::server::tag;

/// Opens connections to a target.
pub(super) struct Carrier {
    target: Target,
    startup: Arc<[(Text, Text)]>,
}

impl Carrier {
    pub(super) fn new(target: Target, startup: &[(&str, String)]) -> Carrier {
        let text = |text: &str| Text::from(text.as_bytes());
        let startup = startup.iter().map(|(name, value)| (text(name), text(value))).collect();
        Carrier { target, startup }
    }

    /// What tokio-postgres has to be told; the login itself is done when it is asked.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new();
        config.user(&self.target.login.user).ssl_mode(tokio_postgres::config::SslMode::Disable);
        config
    }

    /// Tries the servers in order.
    async fn log_in(&self) -> Result<LoggedIn, ServerError> {
        let mut last = ServerError::Unreachable("the database has no servers in its settings".into());
        for address in &self.target.servers {
            let opening = Opening {
                address: address.clone(),
                database: self.target.database.clone(),
                login: self.target.login.clone(),
                cached_keys: None,
                startup: Some(self.startup.clone()),
                tls: self.target.tls.clone(),
                statements_max: 1,
            };
            // Each gets its part of the time, so that a server that is silent does not hide the next one.
            let bound = self.target.connect / u32::try_from(self.target.servers.len()).unwrap_or(1).max(1);
            match tokio::time::timeout(bound, log_in(&opening)).await {
                Ok(Ok(logged_in)) => return Ok(logged_in),
                Ok(Err(error)) => last = error,
                Err(_) => {
                    let message = format!("the server did not answer within {bound:?}");
                    last = ServerError::Unreachable(message);
                }
            }
        }
        Err(last)
    }
}

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

impl Connect for Carrier {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move {
            let stream = match self.log_in().await {
                Ok(logged_in) => Opened::new(logged_in),
                Err(error) => Opened::failed(error),
            };
            let (client, connection) = config.connect_raw(stream, NoTls).await?;
            let driven = tokio::spawn(async move {
                // Whoever asks meets the error too, and says what it means.
                if let Err(error) = connection.await {
                    tracing::debug!("a connection of the probe ended: {error}");
                }
            });
            Ok((client, driven))
        })
    }
}

/// A stream whose login is over. It swallows the start-up message and answers it with what the server said
/// when pgweir logged in; then it is the server's stream.
struct Opened {
    stream: Stream,
    /// Not read yet.
    greeting: Vec<u8>,
    read: usize,
    /// Bytes of the start-up message that are still to come; `None` before its length is known.
    swallow: Option<usize>,
    head: Vec<u8>,
    /// The login failed: tokio-postgres has no other way to be told than an I/O error.
    failure: Option<ServerError>,
}

impl Opened {
    fn new(logged_in: LoggedIn) -> Opened {
        let mut greeting = Vec::with_capacity(1024);
        reply::authentication(&mut greeting, 0, b"");
        for body in &logged_in.parameters {
            reply::frame(&mut greeting, tag::PARAMETER_STATUS, |out| out.extend_from_slice(body));
        }
        reply::frame(&mut greeting, tag::BACKEND_KEY, |out| {
            out.extend_from_slice(&logged_in.key.pid.to_be_bytes());
            // The secret of protocol 3.0, which is what pgweir asks for; cancel requests are not sent.
            out.extend_from_slice(logged_in.key.secret.get(..4).unwrap_or(&[0; 4]));
        });
        reply::frame(&mut greeting, tag::READY, |out| out.push(b'I'));
        Opened { stream: logged_in.stream, greeting, read: 0, swallow: None, head: Vec::new(), failure: None }
    }

    fn failed(error: ServerError) -> Opened {
        Opened {
            stream: Stream::Closed,
            greeting: Vec::new(),
            read: 0,
            swallow: None,
            head: Vec::new(),
            failure: Some(error),
        }
    }

    /// How much of `bytes` belongs to the start-up message.
    fn swallowed(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        let left = match self.swallow {
            Some(left) => left,
            None => {
                taken = bytes.len().min(4 - self.head.len());
                self.head.extend_from_slice(&bytes[..taken]);
                let Ok(head) = <[u8; 4]>::try_from(&self.head[..]) else {
                    return taken;
                };
                (u32::from_be_bytes(head) as usize).saturating_sub(4)
            }
        };
        let more = left.min(bytes.len() - taken);
        self.swallow = Some(left - more);
        taken + more
    }
}

impl AsyncRead for Opened {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.greeting[this.read..];
        if !rest.is_empty() {
            let n = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..n]);
            this.read += n;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Opened {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(failure) = &this.failure {
            return Poll::Ready(Err(io::Error::other(failure.clone())));
        }
        if this.swallow != Some(0) && !bytes.is_empty() {
            return Poll::Ready(Ok(this.swallowed(bytes)));
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
