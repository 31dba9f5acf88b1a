//! The first packets of a connection: encryption, cancel requests, start-up parameters.
//! Knows nothing of users and pools.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::ClientError;
use crate::net::stream::Stream;
use crate::pool::baggage::Text;
use crate::tls::certificate::common_name;
use crate::tls::server::Acceptor;
use crate::wire::client::{OPENING_MAX, Opening, opening};
use crate::wire::reply;

/// A client that wants to log in.
pub struct Arrival {
    pub stream: Stream,
    /// Bytes that were read behind the start-up packet.
    pub input: Vec<u8>,
    pub user: String,
    pub database: String,
    pub replication: bool,
    /// All parameters in the order they came, `user` and `database` left out.
    pub parameters: Vec<(Text, Text)>,
    /// Protocol 3.2 or newer was asked for and 3.2 agreed on.
    pub long_keys: bool,
    /// What NegotiateProtocolVersion has to say, if anything.
    pub negotiation: Vec<u8>,
    /// The hash for channel binding; only with TLS.
    pub binding: Option<Vec<u8>>,
    pub common_name: Option<String>,
}

/// What a connection turned out to be.
pub enum Caller {
    Client(Box<Arrival>),
    /// The connection stays open until the request is through.
    Cancel {
        stream: Stream,
        pid: i32,
        secret: Vec<u8>,
    },
    /// It closed, or broke the protocol in a way that deserves no answer.
    Nobody(&'static str),
    /// It can be told what was wrong.
    Refused(Stream, ClientError),
}

/// The newest protocol served: 3.2.
const PROTOCOL: i32 = 0x0003_0002;

/// First byte of a TLS ClientHello: direct TLS, as PostgreSQL 17 and newer take it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Reads the first packets.
pub async fn receive(stream: Stream, acceptor: Option<Arc<Acceptor>>, tls_required: bool) -> Caller {
    let mut door = Door { stream, input: Vec::new(), acceptor, binding: None, common_name: None };
    let (mut asked_tls, mut asked_gss) = (false, false);
    match door.peek().await {
        Some(TLS_HANDSHAKE) => {
            if let Err(why) = door.direct_tls().await {
                return Caller::Nobody(why);
            }
            asked_tls = true;
        }
        Some(_) => {}
        None => return Caller::Nobody("closed before saying anything"),
    }
    loop {
        let Some(body) = door.packet().await else {
            return Caller::Nobody("no start-up packet");
        };
        match opening(&body) {
            Some(Opening::Cancel { pid, secret }) => {
                return Caller::Cancel { pid, secret: secret.to_vec(), stream: door.stream };
            }
            Some(Opening::Ssl) if !asked_tls => {
                asked_tls = true;
                if let Err(why) = door.answer_ssl().await {
                    return Caller::Nobody(why);
                }
            }
            Some(Opening::Gss) if !asked_gss => {
                asked_gss = true;
                if !door.input.is_empty() || door.stream.write_all(b"N").await.is_err() {
                    return Caller::Nobody("bytes behind a GSSENCRequest");
                }
            }
            Some(Opening::Startup { major: 3, minor, parameters }) => {
                return door.arrive(minor, &parameters, tls_required);
            }
            Some(Opening::Startup { major, minor, .. }) => {
                let message =
                    format!("unsupported frontend protocol {major}.{minor}: pgweir speaks 3.0 to 3.2");
                return Caller::Refused(door.stream, ClientError::fatal("0A000", message));
            }
            _ => {
                let error = ClientError::fatal("08P01", "invalid startup packet");
                return Caller::Refused(door.stream, error);
            }
        }
    }
}

struct Door {
    stream: Stream,
    input: Vec<u8>,
    acceptor: Option<Arc<Acceptor>>,
    binding: Option<Vec<u8>>,
    common_name: Option<String>,
}

impl Door {
    /// The first byte, which stays in place.
    async fn peek(&mut self) -> Option<u8> {
        if let (Stream::Tcp(plain), Some(_)) = (&mut self.stream, &self.acceptor) {
            let mut first = [0];
            return (plain.stream().peek(&mut first).await.ok()? > 0).then_some(first[0]);
        }
        self.fill(1).await?;
        self.input.first().copied()
    }

    async fn fill(&mut self, size: usize) -> Option<()> {
        while self.input.len() < size {
            if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    }

    /// A packet without a tag: its body.
    async fn packet(&mut self) -> Option<Vec<u8>> {
        self.fill(4).await?;
        let length = i32::from_be_bytes(self.input[..4].try_into().ok()?);
        let length = usize::try_from(length).ok().filter(|length| (8..=OPENING_MAX).contains(length))?;
        self.fill(length).await?;
        let body = self.input[4..length].to_vec();
        self.input.drain(..length);
        Some(body)
    }

    async fn answer_ssl(&mut self) -> Result<(), &'static str> {
        // Whatever came behind the request was sent by somebody who had not heard our answer, and must
        // not pass for something said under encryption (CVE-2021-23214).
        if !self.input.is_empty() {
            return Err("bytes behind an SSLRequest");
        }
        let answer: &[u8] =
            if self.acceptor.is_some() && matches!(self.stream, Stream::Tcp(_)) { b"S" } else { b"N" };
        self.stream.write_all(answer).await.map_err(|_| "closed while asking for TLS")?;
        if answer == b"S" { self.shake_hands().await } else { Ok(()) }
    }

    async fn direct_tls(&mut self) -> Result<(), &'static str> {
        self.shake_hands().await?;
        match &self.stream {
            Stream::TlsServer(stream) if stream.get_ref().1.alpn_protocol() == Some(b"postgresql") => Ok(()),
            _ => Err("direct TLS without the ALPN protocol \"postgresql\""),
        }
    }

    async fn shake_hands(&mut self) -> Result<(), &'static str> {
        let acceptor = self.acceptor.clone().ok_or("TLS is off")?;
        let Stream::Tcp(plain) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Err("TLS over something else than TCP");
        };
        let stream = plain.into_socket();
        let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        let handshake = tokio_rustls::TlsAcceptor::from(acceptor.config.clone()).accept(stream).await;
        let stream = handshake.map_err(|error| {
            tracing::info!(peer, "TLS handshake failed: {error}");
            "TLS handshake failed"
        })?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        self.common_name = certificate.and_then(common_name);
        self.binding = acceptor.channel_binding.clone();
        self.stream = Stream::TlsServer(Box::new(stream));
        Ok(())
    }

    fn arrive(self, minor: u16, parameters: &[(&[u8], &[u8])], tls_required: bool) -> Caller {
        let find = |wanted: &[u8]| {
            let found = parameters.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        let refuse = |error| Caller::Refused(Stream::Closed, error);
        let user = find(b"user").filter(|user| !user.is_empty());
        let Some(user) = user else {
            let error = ClientError::fatal("28000", "no PostgreSQL user name specified in startup packet");
            return with_stream(refuse(error), self.stream);
        };
        if tls_required && matches!(self.stream, Stream::Tcp(_)) {
            let error = ClientError::fatal("28000", "this server takes TLS connections only")
                .hint("Set sslmode=require in the connection string.");
            return with_stream(refuse(error), self.stream);
        }
        let unknown: Vec<&[u8]> =
            parameters.iter().map(|(name, _)| *name).filter(|name| name.starts_with(b"_pq_.")).collect();
        let mut negotiation = Vec::new();
        if minor > 2 || !unknown.is_empty() {
            let agreed = PROTOCOL.min(0x0003_0000 + i32::from(minor));
            reply::negotiate(&mut negotiation, agreed, &unknown);
        }
        let database = find(b"database").filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone());
        let replication = find(b"replication")
            .is_some_and(|value| !matches!(value.as_str(), "" | "false" | "off" | "no" | "0" | "f" | "n"));
        let kept = parameters
            .iter()
            .filter(|(name, _)| !matches!(*name, b"user" | b"database") && !name.starts_with(b"_pq_."));
        Caller::Client(Box::new(Arrival {
            user,
            database,
            replication,
            parameters: kept.map(|&(name, value)| (name.into(), value.into())).collect(),
            long_keys: minor >= 2,
            negotiation,
            stream: self.stream,
            input: self.input,
            binding: self.binding,
            common_name: self.common_name,
        }))
    }
}

fn with_stream(caller: Caller, stream: Stream) -> Caller {
    match caller {
        Caller::Refused(_, error) => Caller::Refused(stream, error),
        other => other,
    }
}
