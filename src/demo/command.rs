//! pgweir's own commands, as a person would type them beside the tour: run, and shown with what they print.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// Asks the tour's pgweir.
#[derive(Clone)]
pub struct Shell {
    pub admin: SocketAddr,
    /// Of role operator.
    pub token: String,
}

impl Shell {
    /// Runs `pgweir WORDS --admin …`; returns the command line and its output, as a terminal would show them.
    ///
    /// # Errors
    /// What the command said when it failed.
    pub async fn shown(&self, words: &[&str]) -> Result<String, String> {
        let output = self.run(words).await?;
        Ok(format!("$ pgweir {}\n{}\n", words.join(" "), output.trim_end()))
    }

    /// Runs it; returns its output alone.
    ///
    /// # Errors
    /// What the command said when it failed.
    pub async fn run(&self, words: &[&str]) -> Result<String, String> {
        let program =
            std::env::current_exe().map_err(|error| format!("cannot find pgweir itself: {error}"))?;
        let mut command = Command::new(program);
        command.args(words).args(["--admin", &self.admin.to_string()]);
        command.env("PGWEIR_TOKEN", &self.token).stdin(Stdio::null());
        let line = format!("pgweir {}", words.join(" "));
        // Clients of the tour go on meanwhile.
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.map_err(|error| format!("{line}: {error}"))?;
        let output = output.map_err(|error| format!("{line}: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
    }
}
