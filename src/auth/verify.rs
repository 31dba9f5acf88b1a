//! Which proof a client has to give: settings, stored secret and channel come in, a plan comes out.
//! Must not know messages in flight, sockets, or how the secret was looked up.

use std::sync::Arc;

use super::md5::Md5Secret;
use super::mock::MockSecret;
use super::scram_keys::Verifier;
use super::scram_server::password_failed;
use super::{AuthMethod, Secret};
use crate::error::ClientError;

/// What the client's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel<'a> {
    /// TCP without TLS.
    Plain,
    Unix,
    Tls {
        /// The `tls-server-end-point` hash of our certificate; `None` when its kind has none (Ed25519).
        binding: Option<&'a [u8]>,
        /// The common name of the client's verified certificate.
        common_name: Option<&'a str>,
    },
}

/// A client that says who it is.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub user: &'a str,
    /// `None`: the user is unknown, or has no secret.
    pub secret: Option<&'a Secret>,
    /// `MockSecret::verifier_of_plain` of an earlier login, where `secret` is plain. Without it `plan` derives
    /// one, which costs about 1 ms per 4096 iterations and shows in the time that the first login takes.
    pub verifier: Option<&'a Arc<Verifier>>,
    pub channel: Channel<'a>,
}

/// What to ask the client for.
#[derive(Debug, Clone)]
pub enum Plan {
    /// AuthenticationSASL; hand both to `ScramServer::new`. PLUS is offered when `binding` is there.
    Scram { verifier: Arc<Verifier>, binding: Option<Vec<u8>> },
    /// AuthenticationMD5Password; the answer goes to `Md5Secret::accepts`.
    Md5(Md5Secret),
    /// AuthenticationCleartextPassword; the answer goes to `Cleartext::accepts`.
    Cleartext(Cleartext),
    /// The certificate has proven it: AuthenticationOk.
    Cert,
    /// Nothing is asked: AuthenticationOk.
    Trust,
}

/// A plan, and whether it can succeed at all.
#[derive(Debug, Clone)]
pub struct Planned {
    pub plan: Plan,
    /// Why no proof will be accepted, for pgweir's log. The client must not learn it.
    pub doomed: Option<String>,
}

const NO_SECRET: &str =
    "the user is unknown, or has no secret (or an empty one) in `users`, user list or auth query";

/// Checks a password that came in clear text.
#[derive(Debug, Clone)]
pub struct Cleartext {
    user: String,
    secret: Option<Secret>,
    mock: MockSecret,
}

impl Cleartext {
    /// Whether `password`, without its zero byte, is right. Takes one PBKDF2 whoever the user is and whatever kind of
    /// secret is known, so that time does not tell; do it where it stops nobody.
    pub fn accepts(&self, password: &[u8]) -> bool {
        // PostgreSQL takes no empty password, and none with a zero byte; HMAC pads its key with zeros, so that
        // `secret` and `secret\0` would be the same to a SCRAM secret.
        if password.is_empty() || password.contains(&0) {
            return false;
        }
        let matches = |secret: &Secret| secret.matches(password, &self.user);
        match &self.secret {
            Some(secret @ Secret::Scram(_)) => matches(secret),
            other => {
                let mock = self.mock.verifier(&self.user).matches(password);
                // The mock's own answer counts for nothing; `black_box` keeps its work from being left out.
                std::hint::black_box(mock);
                other.as_ref().is_some_and(matches)
            }
        }
    }
}

/// Decides by what proof `claim` has to be backed under `method`. Errors are for the client and end the login.
pub fn plan(method: AuthMethod, claim: Claim<'_>, mock: &MockSecret) -> Result<Planned, ClientError> {
    // An empty password is none, as in PostgreSQL: an unset variable must not open the door.
    let is_empty = |secret: &&Secret| matches!(secret, Secret::Plain(text) if text.is_empty());
    let claim = Claim { secret: claim.secret.filter(|secret| !is_empty(secret)), ..claim };
    match method {
        AuthMethod::Trust => Ok(certain(Plan::Trust)),
        AuthMethod::Cert => by_certificate(claim).map(|()| certain(Plan::Cert)),
        AuthMethod::Scram => Ok(by_scram(claim, mock)),
        AuthMethod::Md5 => Ok(by_md5(claim, mock)),
        AuthMethod::Cleartext => by_cleartext(claim, mock),
    }
}

fn certain(plan: Plan) -> Planned {
    Planned { plan, doomed: None }
}

fn by_certificate(claim: Claim<'_>) -> Result<(), ClientError> {
    let missing =
        |hint: &str| ClientError::fatal("28000", "connection requires a valid client certificate").hint(hint);
    match claim.channel {
        Channel::Tls { common_name: Some(name), .. } if name == claim.user => Ok(()),
        Channel::Tls { common_name: Some(_), .. } => Err(ClientError::fatal(
            "28000",
            format!("certificate authentication failed for user \"{}\"", claim.user),
        )
        .hint("The certificate's common name has to be the user name.")),
        Channel::Tls { .. } => Err(missing("Set sslcert and sslkey in the connection string.")),
        _ => Err(missing("Connect by TCP with sslmode=require, sslcert and sslkey.")),
    }
}

fn by_scram(claim: Claim<'_>, mock: &MockSecret) -> Planned {
    let real = match claim.secret {
        Some(Secret::Plain(password)) => Ok(claim
            .verifier
            .cloned()
            .unwrap_or_else(|| Arc::new(mock.verifier_of_plain(claim.user, password)))),
        Some(Secret::Scram(text)) => {
            Verifier::parse(text).map(Arc::new).ok_or("the SCRAM secret is malformed")
        }
        Some(Secret::Md5(_)) => Err(
            "pgweir has only an md5 secret, which SCRAM cannot check: give the password or a SCRAM secret, or set auth \
             method md5",
        ),
        None => Err(NO_SECRET),
    };
    let binding = match claim.channel {
        Channel::Tls { binding, .. } => binding.map(<[u8]>::to_vec),
        _ => None,
    };
    let doomed = real.as_ref().err().map(|why| why.to_string());
    let verifier = real.unwrap_or_else(|_| Arc::new(mock.verifier(claim.user)));
    Planned { plan: Plan::Scram { verifier, binding }, doomed }
}

fn by_md5(claim: Claim<'_>, mock: &MockSecret) -> Planned {
    let real = match claim.secret {
        // A SCRAM secret cannot check an md5 answer. PostgreSQL then asks for SCRAM too, and so do we.
        Some(Secret::Scram(_)) => return by_scram(claim, mock),
        Some(Secret::Plain(password)) => Ok(Md5Secret::derive(password.as_bytes(), claim.user)),
        Some(Secret::Md5(text)) => Md5Secret::parse(text).ok_or("the md5 secret is malformed"),
        None => Err(NO_SECRET),
    };
    let doomed = real.as_ref().err().map(|why| why.to_string());
    Planned { plan: Plan::Md5(real.unwrap_or_else(|_| mock.md5(claim.user))), doomed }
}

fn by_cleartext(claim: Claim<'_>, mock: &MockSecret) -> Result<Planned, ClientError> {
    if claim.channel == Channel::Plain {
        return Err(ClientError::fatal("28000", "this user's password may be sent over TLS only")
            .hint("Connect with sslmode=require."));
    }
    let doomed = claim.secret.is_none().then(|| NO_SECRET.to_owned());
    Ok(Planned {
        plan: Plan::Cleartext(Cleartext {
            user: claim.user.to_owned(),
            secret: claim.secret.cloned(),
            mock: mock.clone(),
        }),
        doomed,
    })
}

/// The error of a failed proof, the same for every reason.
pub fn refused(user: &str) -> ClientError {
    password_failed(user)
}
