//! What is wrong in a settings file, where, and what was probably meant.
//! Knows nothing of YAML or of the settings themselves.

use std::fmt;

use super::yaml::Position;

/// One mistake of a settings file. Prints as
/// `pgweir.yaml:7:5: databases.app.pool.max_sise: unknown key; did you mean max_size?`.
/// The message never repeats a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file as the user named it.
    pub file: String,
    pub at: Position,
    /// The keys from the top, joined by dots; empty when the mistake is not about one key.
    pub path: String,
    pub message: String,
    /// The nearest valid name, where one is near.
    pub nearest: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.at.line, self.at.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.nearest {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Mistake {}

/// The valid name that is nearest to `name`, if one is near enough to be what was meant. A candidate may
/// be a dotted path; its last part is compared.
pub fn nearest<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Two slips in a name of five letters still find it; unrelated words score below this.
    const NEAR: f64 = 0.6;
    let plain = name.to_lowercase().replace('-', "_");
    let mut best: Option<(f64, &str)> = None;
    for candidate in valid {
        let last = candidate.rsplit('.').next().unwrap_or(candidate);
        let last = last.to_lowercase().replace('-', "_");
        let score = strsim::normalized_damerau_levenshtein(&plain, &last);
        if score >= NEAR && best.is_none_or(|(other, _)| score > other) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let valid = ["max_size", "min_size", "mode", "queue_wait"];
        let near = |name| nearest(name, valid);
        assert_eq!(near("max_sise"), Some("max_size".to_owned()));
        assert_eq!(near("min-size"), Some("min_size".to_owned()));
        assert_eq!(near("Mode"), Some("mode".to_owned()));
        assert_eq!(near("colour"), None);
        assert_eq!(nearest("maxsize", ["pool.max_size"]), Some("pool.max_size".to_owned()));
    }
}
