//! Rust files as the walls need them: code without comments and literals, what of it is for tests, the paths
//! it names and the functions it holds. Knows the language roughly, and nothing of the walls themselves.

use std::path::Path;

/// A file of the project.
pub struct Source {
    /// From the project's root, with forward slashes: `src/pool/lend.rs`.
    pub path: String,
    pub raw: String,
    /// `raw` with comments and literals blanked, line by line the same.
    pub code: String,
    /// Compiled for tests only.
    pub is_test: bool,
}

/// Every Rust file below `folder` of the project, sorted by path.
pub fn all(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join(folder), &mut paths);
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let raw = std::fs::read_to_string(path).expect("a source file is UTF-8 text");
            let inside = path.strip_prefix(root).expect("found below the root");
            Source::new(&inside.to_string_lossy().replace('\\', "/"), &raw)
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    // A test file may declare further ones.
    for _ in 0..3 {
        let tests: Vec<String> = sources.iter().flat_map(Source::test_files).collect();
        for source in &mut sources {
            source.is_test |= tests.contains(&source.path);
        }
    }
    sources
}

fn walk(folder: &Path, paths: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            // What builds and packages leave behind is not ours.
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                walk(&path, paths);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            paths.push(path);
        }
    }
}

impl Source {
    pub fn new(path: &str, raw: &str) -> Self {
        Source {
            path: path.to_owned(),
            raw: raw.to_owned(),
            code: blanked(raw),
            is_test: !path.starts_with("src/"),
        }
    }

    /// `pool` for `src/pool/lend.rs`, `error` for `src/error.rs`.
    pub fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = inside.split('/').next().unwrap_or(inside);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The code that ships: nothing of a test file, and of others what precedes their test module.
    pub fn production(&self) -> &str {
        if self.is_test {
            return "";
        }
        let mut from = 0;
        while let Some(at) = self.code[from..].find("#[cfg(test)]") {
            let rest = self.code[from + at + 12..].trim_start();
            let after = rest.strip_prefix("mod ").map(|rest| rest.trim_start_matches(is_word));
            if after.is_some_and(|after| after.trim_start().starts_with('{')) {
                return &self.code[..from + at];
            }
            from += at + 12;
        }
        &self.code
    }

    /// Files that this one declares as modules, if they are compiled for tests (or fuzzing) only.
    fn test_files(&self) -> Vec<String> {
        let (parent, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let folder = match file {
            "mod.rs" | "lib.rs" | "main.rs" => parent,
            _ => self.path.trim_end_matches(".rs"),
        };
        let mut files = Vec::new();
        for (at, _) in self.code.match_indices("mod ") {
            let (before, rest) = (&self.code[..at], &self.raw[at + 4..]);
            let name = rest.trim_start_matches(is_word);
            let name = &rest[..rest.len() - name.len()];
            // Its attributes, a path among them, stand between it and whatever comes before.
            let start = before.rfind([';', '{', '}']).map_or(0, |at| at + 1);
            let attributes = &self.raw[start..at];
            let for_tests = self.is_test || attributes.contains("#[cfg(test)]");
            if (for_tests || attributes.contains("fuzzing")) && rest[name.len()..].starts_with(';') {
                let given = attributes.split("#[path = \"").nth(1);
                files.push(match given.and_then(|given| given.split_once('"')) {
                    Some((given, _)) => format!("{parent}/{given}"),
                    None => format!("{folder}/{name}.rs"),
                });
            }
        }
        files
    }

    /// Names of functions and the lines of their bodies, blank lines and comments left out.
    pub fn functions(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let before = self.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &self.code[at + 3..];
            let name: String = rest.chars().take_while(|&c| is_word(c)).collect();
            if let Some(body) = body(rest) {
                let lines = body.lines().filter(|line| !line.trim().is_empty());
                found.push((name, lines.count().saturating_sub(2)));
            }
        }
        found
    }
}

/// The braces of a function and what is between them; `None` for a declaration without a body.
fn body(code: &str) -> Option<&str> {
    let (mut depth, mut start) = (0usize, None);
    for (at, c) in code.char_indices() {
        match (c, start) {
            ('(' | '[', None) => depth += 1,
            (')' | ']', None) => depth = depth.checked_sub(1)?,
            (';', None) if depth == 0 => return None,
            ('{', None) if depth == 0 => (start, depth) = (Some(at), 1),
            ('{', Some(_)) => depth += 1,
            ('}', Some(start)) => {
                depth -= 1;
                if depth == 0 {
                    return Some(&code[start..=at]);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path that starts with `root::`, groups in braces written out: `a::b`, without the root.
pub fn paths(code: &str, root: &str) -> Vec<String> {
    let start = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back();
        if !before.is_some_and(|c| is_word(c) || c == ':') {
            expand("", &code[at + start.len()..], &mut found);
        }
    }
    found
}

/// Reads one path or one group in braces; returns what follows it.
fn expand<'a>(prefix: &str, code: &'a str, found: &mut Vec<String>) -> &'a str {
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = expand(prefix, rest.trim_start(), found).trim_start();
            match rest.strip_prefix(',') {
                Some(tail) => rest = tail,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = code.find(|c| !is_word(c)).unwrap_or(code.len());
    let path = match prefix {
        "" => code[..end].to_owned(),
        prefix => format!("{prefix}::{}", &code[..end]),
    };
    let rest = &code[end..];
    match rest.strip_prefix("::") {
        Some(tail) if tail.starts_with(|c| is_word(c) || c == '{') => expand(&path, tail, found),
        _ => {
            if end > 0 {
                found.push(path);
            }
            match rest.strip_prefix(" as ") {
                Some(tail) => tail.trim_start_matches(is_word),
                None => rest,
            }
        }
    }
}

/// The text with comments and the content of literals replaced by blanks; line ends stay.
fn blanked(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '"' => string(rest, 0),
            'b' | 'r' | 'c' if !out.ends_with(is_word) => literal(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            let blank = |c: char| {
                if c == '\n' { "\n" } else { &"    "[..c.len_utf8()] }
            };
            out.extend(rest[..length].chars().map(blank));
            rest = &rest[length..];
        }
    }
    out
}

fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..text.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// A string whose quote stands at `start`, with escapes.
fn string(text: &str, start: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at <= start) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// `b"…"`, `r"…"`, `br#"…"#`, `b'x'` and the like; 0 for a word that only starts with such a letter.
fn literal(text: &str) -> usize {
    let prefix = text.find(|c| !matches!(c, 'b' | 'r' | 'c')).unwrap_or(0);
    let rest = &text[prefix..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    if prefix > 2 || !rest[hashes..].starts_with('"') {
        let byte = rest.starts_with('\'') && text.starts_with("b'");
        return if byte { prefix + character(rest) } else { 0 };
    }
    if text[..prefix].contains('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        let from = prefix + hashes + 1;
        return text[from..].find(&end).map_or(text.len(), |at| from + at + end.len());
    }
    string(text, prefix)
}

/// A character; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            text[from..].find('\'').map_or(0, |at| from + at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}
