//! Who may do what: the rules of the HTTP surface as plain functions. Knows no socket and keeps no state.

use std::collections::HashSet;
use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, Request, Version};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{AdminSettings, Role, token};

/// Paths that anybody who reaches the port may read. Everything else is closed once there are tokens.
const OPEN: [&str; 4] = ["/", "/metrics", "/healthz", "/readyz"];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the settings keep the surface closed to strangers; `Err` says what to change.
pub(super) fn check(settings: &AdminSettings) -> Result<(), String> {
    let mut names = HashSet::new();
    for token in &settings.tokens {
        if token.name.is_empty() {
            return Err("admin.tokens: a token has no name; the audit log needs one".to_owned());
        }
        if !names.insert(&token.name) {
            let name = &token.name;
            return Err(format!(
                "admin.tokens: the name `{name}` appears twice; the audit log could not tell them apart"
            ));
        }
        token::parse_hash(&token.hash).map_err(|error| format!("admin.tokens: `{}`: {error}", token.name))?;
    }
    let address = settings.address;
    if is_loopback(address) {
        return Ok(());
    }
    let missing = match (settings.tls.is_none(), settings.tokens.is_empty()) {
        (false, false) => return Ok(()),
        (true, true) => "both are missing",
        (true, false) => "`admin.tls` is missing",
        (false, true) => "`admin.tokens` is missing",
    };
    Err(format!(
        "admin.address {address} can be reached from other machines, which needs `admin.tls` (cert and key) and \
         at least one of `admin.tokens` (`pgweir token create --role operator`); {missing}. Add them, or listen \
         on 127.0.0.1"
    ))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// A token of the settings that somebody presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) role: Role,
}

/// The tokens of the settings, by the hash.
pub(super) struct Tokens(Vec<(Known, [u8; 32])>);

impl Tokens {
    /// `Err` names the token whose hash is none.
    pub(super) fn new(settings: &AdminSettings) -> Result<Tokens, String> {
        let parse = |token: &super::TokenSettings| {
            let hash = token::parse_hash(&token.hash)
                .map_err(|error| format!("admin.tokens: `{}`: {error}", token.name))?;
            let known = Known { name: token.name.clone(), role: token.role };
            Ok((known, hash))
        };
        let tokens: Result<Vec<_>, String> = settings.tokens.iter().map(parse).collect();
        Ok(Tokens(tokens?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with every token in the same time, whichever matches and wherever they differ.
    pub(super) fn find(&self, presented: &str) -> Option<&Known> {
        let digest = token::digest(presented);
        let mut found = u32::MAX;
        for (index, (_, hash)) in self.0.iter().enumerate() {
            let equal: Choice = digest.ct_eq(hash);
            found.conditional_assign(&(index as u32), equal);
        }
        self.0.get(found as usize).map(|(known, _)| known)
    }
}

/// Whether the request may change something; such requests need a token always and are audited.
pub(super) fn acts(method: &Method) -> bool {
    !(method == Method::GET || method == Method::HEAD)
}

/// The least role that a request needs; `None`: anybody may.
pub(super) fn required(method: &Method, path: &str, tokens: &Tokens) -> Option<Role> {
    if acts(method) {
        return Some(Role::Operator);
    }
    let open = OPEN.contains(&path) || tokens.is_empty();
    (!open).then_some(Role::Viewer)
}

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Refuses what a browser sends on behalf of another site; `Err` holds the reason and what to do.
///
/// Three fences. `Sec-Fetch-Site` and `Origin` are set by browsers and cannot be set by a page. `Host` guards
/// against DNS rebinding, where a page's own name is made to resolve to this address: without TLS the host must
/// be an address or `localhost`, which nobody can rebind; with TLS the certificate's name does the same service.
pub(super) fn check_origin<B>(request: &Request<B>, tls: bool) -> Result<(), (&'static str, &'static str)> {
    const USE_NAME: &str = "use the server's address or localhost in the URL";
    const USE_TOOL: &str = "open the page itself, or use a program such as curl; other sites may not call it";
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    let host = match hosts.next() {
        Some(host) => Some(
            host.to_str()
                .ok()
                .and_then(|host| host.parse::<Authority>().ok())
                .ok_or(("the Host header is not a host", USE_NAME))?,
        ),
        // Old health checkers speak HTTP/1.0 without it; browsers never do.
        None if request.version() == Version::HTTP_10 => None,
        None => return Err(("the Host header is missing", USE_NAME)),
    };
    if hosts.next().is_some() {
        return Err(("there is more than one Host header", USE_NAME));
    }
    for name in host.iter().chain(request.uri().authority()) {
        if !tls && !is_address_or_localhost(name.host()) {
            return Err(("the Host header names neither an address nor localhost", USE_NAME));
        }
    }
    for site in headers.get_all(SEC_FETCH_SITE) {
        if site != "same-origin" && site != "none" {
            return Err(("the request comes from a page of another site", USE_TOOL));
        }
    }
    let scheme = if tls { "https" } else { "http" };
    let own = host.map(|host| format!("{scheme}://{host}"));
    for origin in headers.get_all(ORIGIN) {
        let same = match (&own, origin.to_str()) {
            (Some(own), Ok(origin)) => own.eq_ignore_ascii_case(origin),
            _ => false,
        };
        if !same {
            return Err(("the request comes from a page of another origin", USE_TOOL));
        }
    }
    Ok(())
}

fn is_address_or_localhost(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
