//! Asks a running pgweir over its HTTP API. Knows addresses and tokens; what is asked, its callers know.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::crypto::ring;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::config;

/// Which pgweir to ask, and with what right.
// No Debug: it may hold a token.
#[derive(Args)]
pub struct Ask {
    /// The HTTP address of the running pgweir: ADDRESS:PORT, or https://HOST:PORT when it has TLS.
    #[arg(long, value_name = "ADDRESS", default_value_t = default_address())]
    admin: String,
    /// A token, needed as soon as any is configured; other users of the machine can see it here, so the
    /// environment or a file is better.
    #[arg(long, value_name = "TOKEN", env = "PGWEIR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file that holds the token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The certificates (PEM) that an https address is trusted by.
    #[arg(long, value_name = "FILE")]
    admin_ca: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
}

fn default_address() -> String {
    SocketAddr::from(([127, 0, 0, 1], config::ADMIN_PORT)).to_string()
}

/// Longer answers are not read: the whole ledger is a few megabytes.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Ask {
    /// GETs `path` with these parameters and returns the answer.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<serde_json::Value, String> {
        let base = self.base();
        let mut request = self.agent()?.get(format!("{base}{path}"));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        if let Some(token) = self.token()? {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        read(&base, request.call())
    }

    /// POSTs a command and returns the answer.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value, String> {
        let base = self.base();
        let mut request =
            self.agent()?.post(format!("{base}{path}")).header("content-type", "application/json");
        if let Some(token) = self.token()? {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        read(&base, request.send(body.to_string()))
    }

    fn base(&self) -> String {
        match self.admin.contains("://") {
            true => self.admin.trim_end_matches('/').to_owned(),
            false => format!("http://{}", self.admin),
        }
    }

    fn token(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.token_file else {
            return Ok(self.token.clone());
        };
        let text = std::fs::read_to_string(path);
        text.map(|text| Some(text.trim().to_owned())).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn agent(&self) -> Result<ureq::Agent, String> {
        let provider = Arc::new(ring::default_provider());
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        let tls = match &self.admin_ca {
            None => tls,
            Some(path) => tls.root_certs(RootCerts::new_with_certs(&certificates(path)?)),
        };
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // The address is pgweir's own; no proxy of the environment stands in between.
            .proxy(None);
        Ok(config.build().into())
    }
}

/// The answer as JSON, or what was said in place of it.
fn read(
    base: &str,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<serde_json::Value, String> {
    let answer = answer.map_err(|error| {
        format!("{base} does not answer: {error}; is pgweir running there? --admin says where to look")
    })?;
    let status = answer.status();
    let mut text = String::new();
    let mut body = answer.into_body();
    body.as_reader()
        .take(ANSWER_MAX)
        .read_to_string(&mut text)
        .map_err(|error| format!("the answer of {base} broke off: {error}"))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|_| format!("{base} answered with something else than JSON; is it pgweir?"))?;
    if status.is_success() {
        return Ok(value);
    }
    let said = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    if let Some(lines) = value["lines"].as_array() {
        // What a command said before it failed.
        let mut lines: Vec<&str> = lines.iter().filter_map(serde_json::Value::as_str).collect();
        let error = said("error");
        lines.push(&error);
        return Err(lines.join("\n"));
    }
    Err(format!("{base} refused ({status}): {}; {}", said("error"), said("hint")))
}

fn certificates(path: &PathBuf) -> Result<Vec<Certificate<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(&error))? {
            found.push(certificate.to_owned());
        }
    }
    if found.is_empty() { Err(wrong(&"the file holds no PEM certificate")) } else { Ok(found) }
}
