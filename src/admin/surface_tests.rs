//! Tests of the running surface over real sockets: each rule as a client meets it, and the audit lines it leaves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::observe::counters::{PoolCounters, Registry};

/// A small proxy state to ask: everything that the surface can observe of `Fabric`, settable by the test.
#[derive(Default)]
struct Proxy {
    unready: Mutex<Option<String>>,
    broken: Mutex<Option<String>>,
    reloads: AtomicU32,
    slow: Mutex<Duration>,
}

impl Fabric for Proxy {
    fn connections(&self) -> Answer<'_, Vec<PoolView>> {
        let client = ClientView { id: 3, state: "waiting", ..ClientView::default() };
        let pool = PoolView {
            database: "app".to_owned(),
            mode: "transaction",
            clients: vec![client],
            ..PoolView::default()
        };
        Box::pin(async move { vec![pool] })
    }

    fn ready(&self) -> Result<(), String> {
        self.unready.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn reload(&self) -> Answer<'_, Result<(), String>> {
        Box::pin(async move {
            let slow = *self.slow.lock().unwrap();
            tokio::time::sleep(slow).await;
            self.reloads.fetch_add(1, Ordering::SeqCst);
            self.broken.lock().unwrap().clone().map_or(Ok(()), Err)
        })
    }

    fn act_on_index(&self, id: &str, _: IndexAct) -> Result<(), String> {
        Err(format!("{id} is not known"))
    }

    fn advice(&self, _: bool, _: Option<u64>) -> Answer<'_, Result<Advices, String>> {
        let error = self.broken.lock().unwrap().clone().unwrap_or_else(|| "no connection".to_owned());
        let databases = vec![Advised { database: "app".to_owned(), outcome: Err(error), at_s: 0 }];
        Box::pin(async move { Ok(Advices { databases, ..Advices::default() }) })
    }
}

struct Surface {
    handle: AdminHandle,
    proxy: Arc<Proxy>,
    registry: Arc<Registry>,
    folder: tempfile::TempDir,
    settings: AdminSettings,
}

const VIEWER: &str = "pgweir_viewer";
const OPERATOR: &str = "pgweir_operator";

fn tokens() -> Vec<TokenSettings> {
    let token =
        |name: &str, role, secret| TokenSettings { name: name.to_owned(), role, hash: token::hash(secret) };
    vec![token("dashboard", Role::Viewer, VIEWER), token("ops", Role::Operator, OPERATOR)]
}

fn surface(tokens: Vec<TokenSettings>, change: impl FnOnce(&mut AdminSettings)) -> Surface {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = AdminSettings {
        port: 0,
        tokens,
        audit_log: Some(folder.path().join("audit.log")),
        ..AdminSettings::default()
    };
    change(&mut settings);
    let (proxy, registry) = (Arc::new(Proxy::default()), Arc::new(Registry::default()));
    let handle = start(settings.clone(), registry.clone(), proxy.clone()).unwrap();
    Surface { handle, proxy, registry, folder, settings }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Surface {
    fn send(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.handle.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        reply(&String::from_utf8(text).unwrap())
    }

    /// `head` is the method, the path, and further headers after line breaks.
    fn ask(&self, head: &str) -> Reply {
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let headers = headers.replace('\n', "\r\n");
        let end = if headers.is_empty() { "" } else { "\r\n" };
        self.send(&format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}{end}\r\n",
            self.handle.address()
        ))
    }

    fn ask_as(&self, head: &str, token: &str) -> Reply {
        self.ask(&format!("{head}\nAuthorization: Bearer {token}"))
    }

    fn audit(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap();
        let parse = |line| serde_json::from_str(line).unwrap();
        text.lines().map(parse).collect()
    }

    fn reloads(&self) -> u32 {
        self.proxy.reloads.load(Ordering::SeqCst)
    }
}

fn reply(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").expect(text);
    Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

#[test]
fn metrics_health_and_the_page_are_readable_by_anybody_who_reaches_the_port() {
    let surface = surface(tokens(), |_| ());
    let counters = Arc::new(PoolCounters::new("app", "ann"));
    counters.queries.add(42);
    surface.registry.register(counters);
    let metrics = surface.ask("GET /metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"));
    let line = "pgweir_queries_total{database=\"app\",user=\"ann\"} 42\n";
    assert!(metrics.body.contains(line), "{}", metrics.body);
    assert_eq!(surface.ask("GET /healthz").status, 200);
    let page = surface.ask("GET /");
    assert!(page.body.contains("/api/database/connections"));
    assert!(page.head.contains("content-security-policy: default-src 'none'"));
    assert!(page.head.contains("x-frame-options: deny") && page.head.contains("no-store"));
    assert_eq!(surface.ask("HEAD /metrics").status, 200);
    assert!(surface.audit().is_empty());
}

#[test]
fn values_of_statements_are_for_operators() {
    use crate::observe::ledger::Key;
    use crate::observe::slow_log::explain::{Answer, Plan};
    let surface = surface(tokens(), |_| ());
    let key = |fingerprint| Key { database: "app".into(), user: "ann".into(), fingerprint };
    let plan = |has_values| Plan { text: "Seq Scan".to_owned(), at_s: 0, has_values };
    let answer = |has_values| Answer { plan: Some(plan(has_values)), note: None };
    let ledger = &surface.registry.ledger;
    ledger.allow_samples(true);
    for fingerprint in [1, 2] {
        ledger.enter(key(fingerprint), "select $1").keep_sample(|| "'hers'".to_owned());
        surface.registry.slow_log.explains.keep(key(fingerprint), 0, answer(fingerprint == 2));
    }
    let ask = |fingerprint, token| {
        let path = format!("GET /api/database/queries?plans=true&filter={fingerprint:016x}");
        let query = surface.ask_as(&path, token).json()["queries"][0].clone();
        (query["parameters"].clone(), query["plan"].clone(), query["plan_at"].is_string())
    };
    let (none, hers, scan) = (serde_json::Value::Null, "'hers'".into(), "Seq Scan".into());
    assert_eq!(ask(1, VIEWER), (none.clone(), serde_json::Value::clone(&scan), true));
    assert_eq!(ask(2, VIEWER), (none.clone(), none, false));
    assert_eq!(ask(2, OPERATOR), (hers, scan, true));
    let plain = surface.ask_as("GET /api/database/queries", OPERATOR).json();
    assert!(plain["queries"][0]["plan"].is_null());
}

#[test]
fn coalescing_is_shown_per_shape_and_in_all() {
    use crate::observe::coalescing::{Key, Status};
    let surface = surface(tokens(), |_| ());
    let all = &surface.registry.coalescing;
    for (database, fingerprint) in [("app", 0xff), ("other", 2)] {
        let key = Key { database: database.into(), fingerprint };
        let entry = all.enter(key.clone(), &"select $1".into());
        entry.batch(1);
        entry.prefetch(fingerprint);
        (0..fingerprint).for_each(|_| entry.serve(3_000));
        entry.fall_back("level");
        all.set_status(&key, Status { level: "fenced", off: None });
    }
    assert_eq!(surface.ask("GET /api/database/coalescing").status, 401);
    let answer = surface.ask_as("GET /api/database/coalescing?database=app", VIEWER).json();
    let counts = ["shapes", "matching"].map(|key| answer[key].as_u64());
    assert_eq!((counts, answer["totals"]["served"].as_u64()), ([Some(2), Some(1)], Some(257)));
    let row = &answer["statements"][0];
    assert_eq!((row["shape"].as_str(), row["level"].as_str()), (Some("00000000000000ff"), Some("fenced")));
    assert_eq!((row["saved_queries"].as_u64(), row["fallbacks"]["level"].as_u64()), (Some(255), Some(1)));
    assert_eq!(row["staleness"]["histogram"][0]["count"].as_u64(), Some(255));
    assert_eq!(surface.ask_as("GET /api/database/coalescing?colour=red", VIEWER).status, 400);
}

#[test]
fn readiness_follows_the_proxy_and_says_why_not() {
    let surface = surface(vec![], |_| ());
    assert_eq!(surface.ask("GET /readyz").status, 200);
    *surface.proxy.unready.lock().unwrap() = Some("shutting down".to_owned());
    let reply = surface.ask("GET /readyz");
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["error"], "shutting down");
    assert!(reply.json()["hint"].is_string());
    assert_eq!(surface.ask("GET /healthz").status, 200);
}

#[test]
fn the_api_is_readable_without_tokens_until_one_is_configured() {
    let open = surface(vec![], |_| ());
    let reply = open.ask("GET /api/database/connections");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["pools"][0]["clients"][0]["state"], "waiting");
    let closed = surface(tokens(), |_| ());
    let reply = closed.ask("GET /api/database/connections");
    assert_eq!(reply.status, 401);
    assert!(reply.head.contains("www-authenticate: bearer"));
    assert!(reply.json()["hint"].is_string());
    for token in [VIEWER, OPERATOR] {
        let reply = closed.ask_as("GET /api/database/connections", token);
        assert_eq!(reply.status, 200);
    }
    assert_eq!(closed.ask("GET /nothing").status, 401);
    assert_eq!(closed.ask_as("GET /nothing", VIEWER).status, 404);
}

#[test]
fn acting_needs_an_operator_also_where_no_token_is_configured() {
    let open = surface(vec![], |_| ());
    let reply = open.ask("POST /api/reload");
    assert_eq!(reply.status, 401);
    assert!(reply.json()["hint"].as_str().unwrap().contains("pgweir token create"));
    assert_eq!(open.ask_as("POST /api/reload", "").status, 401);
    let closed = surface(tokens(), |_| ());
    assert_eq!(closed.ask("POST /api/reload").status, 401);
    assert_eq!(closed.ask_as("POST /api/reload", "pgweir_wrong").status, 401);
    assert_eq!(closed.ask_as("POST /api/reload", VIEWER).status, 403);
    assert_eq!((open.reloads(), closed.reloads()), (0, 0));
    assert_eq!(closed.ask_as("POST /api/reload", OPERATOR).status, 200);
    assert_eq!(closed.reloads(), 1);
    let denied = |line: &serde_json::Value| line["result"] == "denied";
    let audit = closed.audit();
    assert_eq!(audit.len(), 5);
    assert!(audit[..3].iter().all(denied));
    assert!(audit[0]["who"].is_null() && audit[1]["who"].is_null());
    assert_eq!(audit[2]["who"]["token"], "dashboard");
    assert_eq!(audit[3]["result"], "started");
    assert_eq!(audit[4]["result"], "done");
    assert_eq!(audit[3]["id"], audit[4]["id"]);
    for line in &audit {
        assert_eq!(line["what"], "POST /api/reload");
        assert!(line["from"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }
    let text = serde_json::to_string(&audit).unwrap();
    assert!(!text.contains("pgweir_wrong") && !text.contains(OPERATOR));
}

#[test]
fn a_failed_reload_is_told_and_audited_with_its_reason() {
    let surface = surface(tokens(), |_| ());
    *surface.proxy.broken.lock().unwrap() = Some("pgweir.yaml:3: unknown key".to_owned());
    let reply = surface.ask_as("POST /api/reload", OPERATOR);
    assert_eq!(reply.status, 422);
    assert_eq!(reply.json()["error"], "pgweir.yaml:3: unknown key");
    let audit = surface.audit();
    assert_eq!(audit[1]["result"], "failed");
    assert_eq!(audit[1]["reason"], "pgweir.yaml:3: unknown key");
    let missing = surface.ask_as("POST /api/nothing", OPERATOR);
    assert_eq!(missing.status, 404);
    assert_eq!(surface.audit()[3]["result"], "failed");
    let method = surface.ask_as("PUT /api/reload", OPERATOR);
    assert_eq!(method.status, 405);
    assert!(method.json()["hint"].is_string());
    assert_eq!(surface.reloads(), 1);
}

#[test]
fn what_cannot_be_audited_is_not_done() {
    let surface = surface(tokens(), |settings| {
        settings.audit_log = Some("/dev/full".into());
    });
    let reply = surface.ask_as("POST /api/reload", OPERATOR);
    assert_eq!(reply.status, 503);
    assert!(reply.json()["error"].as_str().unwrap().contains("/dev/full"));
    assert_eq!(surface.reloads(), 0);
    assert_eq!(surface.ask_as("POST /api/reload", "wrong").status, 401);
}

#[test]
fn pages_of_other_origins_and_rebound_names_are_refused_and_audited() {
    let surface = surface(vec![], |_| ());
    let own = format!("Origin: http://{}", surface.handle.address());
    assert_eq!(surface.ask(&format!("GET /metrics\n{own}")).status, 200);
    for bad in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"] {
        let reply = surface.ask(&format!("GET /api/database/connections\n{bad}"));
        assert_eq!(reply.status, 403, "{bad}");
        assert!(!reply.head.contains("access-control"));
    }
    let rebound = surface.send("GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(rebound.status, 403);
    assert_eq!(surface.audit().len(), 3);
    let old = surface.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(old.status, 200);
}

#[test]
fn wrong_tokens_are_answered_later_and_later_and_right_ones_at_once() {
    let surface = surface(tokens(), |_| ());
    let time = |token: &str| {
        let start = Instant::now();
        let status = surface.ask_as("GET /api/database/connections", token).status;
        (status, start.elapsed())
    };
    for _ in 0..3 {
        assert_eq!(time("wrong").0, 401);
    }
    let (status, waited) = time("wrong");
    assert!(status == 401 && waited >= Duration::from_millis(250));
    let (status, waited) = time("wrong");
    assert!(status == 401 && waited >= Duration::from_millis(500));
    // The next mistake costs a second; a right token must not pay for it.
    let (status, waited) = time(VIEWER);
    assert!(status == 200 && waited < Duration::from_millis(900), "{waited:?}");
}

#[test]
fn large_requests_are_refused() {
    let surface = surface(tokens(), |_| ());
    let body =
        format!("POST /api/reload\nAuthorization: Bearer {OPERATOR}\nContent-Length: {}", api::BODY_MAX + 1);
    assert_eq!(surface.ask(&body).status, 413);
    let header = format!("GET /metrics\nX-Long: {}", "x".repeat(20 * 1024));
    assert_eq!(surface.ask(&header).status, 431);
    let many: String = (0..80).map(|n| format!("\nX-{n}: y")).collect();
    assert_eq!(surface.ask(&format!("GET /metrics{many}")).status, 431);
    assert_eq!(surface.reloads(), 0);
}

#[test]
fn an_act_runs_to_its_end_when_its_client_goes_away() {
    let surface = surface(tokens(), |_| ());
    *surface.proxy.slow.lock().unwrap() = Duration::from_millis(300);
    let mut stream = TcpStream::connect(surface.handle.address()).unwrap();
    let head = format!("Host: localhost\r\nAuthorization: Bearer {OPERATOR}\r\n\r\n");
    write!(stream, "POST /api/reload HTTP/1.1\r\n{head}").unwrap();
    wait_for(|| surface.audit().len() == 1);
    drop(stream);
    wait_for(|| surface.audit().len() == 2);
    assert_eq!(surface.audit()[1]["result"], "done");
    assert_eq!(surface.reloads(), 1);
}

/// Looks again until it is so; fails after ten seconds.
fn wait_for(so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(10), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[path = "start_tests.rs"]
mod start_tests;
