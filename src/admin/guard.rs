//! What every request passes before its handler: size, origin, token, role, audit, time. Closed by default:
//! a path that is not named as open needs a token, a method that is not a read needs an operator.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::Role;
use super::access::{self, Known};
use super::api::{BODY_MAX, Failure, failure};
use super::audit::{Entry, Outcome};
use super::state::{Live, Shared};

/// From the end of the request's headers to the answer. Prometheus gives up after 10 s by default, so whoever
/// waited longer than this has gone.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The answer to who is turned away; boxed because it is rare and large.
type Refusal = Box<Response>;

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
}

/// The middleware around every route, also around paths that do not exist.
pub(super) async fn guard(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = Caller {
        what: format!("{} {}", request.method(), request.uri().path()),
        live: shared.live(),
        peer,
        id: shared.next_id.fetch_add(1, Relaxed),
        shared,
    };
    let acts = access::acts(request.method());
    // The request is not held across the wait for a wrong token: its body is for one thread only.
    let who = match caller.weigh(&request) {
        Err(refusal) => Err(refusal),
        Ok(None) => Ok(None),
        Ok(Some((role, token))) => caller.authorise(role, &token).await.map(Some),
    };
    let mut response = match who {
        Err(refusal) => *refusal,
        Ok(who) if acts => caller.act(who, request, next).await,
        Ok(who) => {
            // What an answer shows may depend on the role.
            who.map(|known| request.extensions_mut().insert(known));
            within(next.run(request)).await
        }
    };
    add_headers(&mut response);
    response
}

/// One request and who sent it.
struct Caller {
    shared: Arc<Shared>,
    live: Arc<Live>,
    peer: Peer,
    what: String,
    id: u64,
}

impl Caller {
    /// What the request needs: the least role, and the token to prove it; `None`: nothing.
    fn weigh(&self, request: &Request) -> Result<Option<(Role, String)>, Refusal> {
        if let Err((reason, hint)) = access::check_origin(request, self.peer.tls) {
            return Err(self.deny(None, StatusCode::FORBIDDEN, reason, hint));
        }
        if too_large(request) {
            let hint = "commands are small; send less than 64 KiB";
            let reason = "the body of the request is too large";
            return Err(self.deny(None, StatusCode::PAYLOAD_TOO_LARGE, reason, hint));
        }
        let path = request.uri().path();
        let Some(role) = access::required(request.method(), path, &self.live.tokens) else {
            return Ok(None);
        };
        if let Some(token) = access::bearer(request.headers()) {
            return Ok(Some((role, token.to_owned())));
        }
        let hint = match self.live.tokens.is_empty() {
            true => {
                "no token is configured: run `pgweir token create --role operator` and add its hash to \
                 admin.tokens"
            }
            false => "send `Authorization: Bearer` and a token",
        };
        let status = StatusCode::UNAUTHORIZED;
        Err(challenge(self.deny(None, status, "this needs a token", hint)))
    }

    async fn authorise(&self, role: Role, token: &str) -> Result<Known, Refusal> {
        let known = self.known(token).await?;
        if known.role >= role {
            return Ok(known);
        }
        let hint = "use a token of role operator or admin";
        let reason = "the token's role does not allow this";
        Err(self.deny(Some(&known), StatusCode::FORBIDDEN, reason, hint))
    }

    /// Whose token this is. A wrong one is answered late, and later with each mistake.
    ///
    /// A right one is never delayed, so a stranger behind the same address cannot lock an operator out, except
    /// while every place for delayed answers is taken: then an address with many mistakes is not heard at all,
    /// or it would go around the delay by asking on many connections at once.
    async fn known(&self, token: &str) -> Result<Known, Refusal> {
        let from = self.peer.address.ip();
        let now = Instant::now();
        let place = self.shared.delayed.clone().try_acquire_owned();
        let crowded = place.is_err();
        if crowded && self.failures(|failures| failures.suspicious(from, now)) {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let reason = "too many wrong tokens from this address";
            let mut refusal = self.deny(None, status, reason, "try again in some seconds");
            let seconds = HeaderValue::from_static("5");
            refusal.headers_mut().insert(RETRY_AFTER, seconds);
            return Err(refusal);
        }
        if let Some(known) = self.live.tokens.find(token) {
            return Ok(known.clone());
        }
        let delay = self.failures(|failures| failures.add(from, now));
        let hint = "check the token, and that its hash is in admin.tokens of the running pgweir";
        let reason = "the token is not known";
        let refusal = self.deny(None, StatusCode::UNAUTHORIZED, reason, hint);
        tokio::time::sleep(delay).await;
        drop(place);
        Err(challenge(refusal))
    }

    fn failures<T>(&self, with: impl FnOnce(&mut super::throttle::Failures) -> T) -> T {
        with(&mut self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs something that changes the proxy, between two lines of the audit log. It runs to its end even when
    /// the client goes away or stops waiting.
    async fn act(self, who: Option<Known>, request: Request, next: Next) -> Response {
        let Ok(running) = self.shared.acts.clone().try_acquire_owned() else {
            let reason = "too many commands are running";
            let hint = "wait until they have ended and try again";
            return *self.deny(who.as_ref(), StatusCode::SERVICE_UNAVAILABLE, reason, hint);
        };
        if let Err(error) = self.audit(who.as_ref(), Outcome::Started, None) {
            tracing::error!(what = self.what, "refused, because it cannot be audited: {error}");
            let hint = "nothing was done; make admin.audit_log writable, then try again";
            return failure(StatusCode::SERVICE_UNAVAILABLE, &error, hint);
        }
        let work = tokio::spawn(self.finish(who, request, next, running));
        let ended = within(async {
            work.await.unwrap_or_else(|error| {
                tracing::error!("a command of the HTTP surface broke off: {error}");
                let hint = "this is a mistake in pgweir; the log says where";
                failure(StatusCode::INTERNAL_SERVER_ERROR, "the command broke off", hint)
            })
        });
        ended.await
    }

    async fn finish(
        self,
        who: Option<Known>,
        request: Request,
        next: Next,
        running: OwnedSemaphorePermit,
    ) -> Response {
        let response = next.run(request).await;
        let status = response.status();
        let message = response.extensions().get::<Failure>();
        let (outcome, reason) = match (status.is_success(), message) {
            (true, _) => (Outcome::Done, None),
            (false, Some(Failure(message))) => (Outcome::Failed, Some(message.as_str())),
            (false, None) => (Outcome::Failed, Some(status.as_str())),
        };
        if let Err(error) = self.audit(who.as_ref(), outcome, reason) {
            // It has happened and its beginning is on record; the log is the place that is left.
            tracing::error!(what = self.what, ?outcome, "the audit log misses an end: {error}");
        }
        drop(running);
        response
    }

    fn deny(&self, who: Option<&Known>, status: StatusCode, reason: &str, hint: &str) -> Refusal {
        if let Err(error) = self.audit(who, Outcome::Denied, Some(reason)) {
            tracing::error!(what = self.what, reason, "denied, but not audited: {error}");
        }
        Box::new(failure(status, reason, hint))
    }

    fn audit(&self, who: Option<&Known>, result: Outcome, reason: Option<&str>) -> Result<(), String> {
        self.live.audit.write(&Entry {
            id: self.id,
            who,
            from: self.peer.address.to_string(),
            what: &self.what,
            result,
            reason,
            statement: None,
        })
    }
}

fn too_large(request: &Request) -> bool {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length > BODY_MAX)
}

async fn within(answer: impl Future<Output = Response>) -> Response {
    let late = |_| {
        failure(
            StatusCode::GATEWAY_TIMEOUT,
            "there was no answer within 30 s",
            "a command goes on; the audit log shows its end",
        )
    };
    tokio::time::timeout(REQUEST_TIME, answer).await.unwrap_or_else(late)
}

fn challenge(mut response: Refusal) -> Refusal {
    let bearer = HeaderValue::from_static("Bearer realm=\"pgweir\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    response
}

/// Nothing is stored, framed, sniffed or given a script.
fn add_headers(response: &mut Response) {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; \
                  base-uri 'none'; form-action 'none'";
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
