//! Whose fault an error is, and what a client may read of it: SQLSTATE, message, hint.
//! Knows nothing of sockets; the frames are built by `wire::reply`.

/// An error as a client reads it. `detail` and `hint` say what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// `FATAL` ends the connection, `ERROR` ends the statement.
    pub severity: Severity,
    /// Five characters, from PostgreSQL's appendix A.
    pub sqlstate: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Fatal,
}

impl Severity {
    /// The word that PostgreSQL uses in the `S` and `V` fields.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        }
    }
}

impl ClientError {
    pub fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        ClientError { severity: Severity::Fatal, sqlstate, message: message.into(), hint: None }
    }

    pub fn error(sqlstate: &'static str, message: impl Into<String>) -> Self {
        ClientError { severity: Severity::Error, sqlstate, message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.severity.word(), self.sqlstate, self.message)
    }
}

impl std::error::Error for ClientError {}
