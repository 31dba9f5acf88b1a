//! The loops that were found, as a person reads them. Knows the findings and nothing of where they are shown.

use std::fmt::{Result, Write};

use super::findings::Finding;

/// A paragraph for each finding, and how many of all there are.
pub fn of(findings: &[Finding], found: u64) -> String {
    if findings.is_empty() {
        return "no loop was found so far\n".to_owned();
    }
    let mut text = String::new();
    for finding in findings {
        // Writing to a string cannot fail.
        let _ = paragraph(&mut text, finding);
    }
    let _ = writeln!(text, "{} of {found} findings. Nothing was rewritten.", findings.len());
    text
}

fn paragraph(text: &mut String, finding: &Finding) -> Result {
    let application = match &*finding.application {
        "" => String::new(),
        name => format!(" ({name})"),
    };
    let (id, class) = (&finding.id, finding.class.to_uppercase().replace('_', " "));
    writeln!(text, "{id}  {class}  {}/{}{application}", finding.database, finding.user)?;
    let (times, statements) = (count(finding.episodes, "loop"), count(finding.total_n, "statement"));
    writeln!(text, "  {times}, {statements}: {} at the last, {} at most", finding.last_n, finding.max_n)?;
    let (spent, one) = (finding.time_ms, finding.one_query_ms);
    let round_trips = finding.total_n.saturating_sub(finding.episodes);
    writeln!(
        text,
        "  {} ms, of which one statement each time would save about {} ms and {}",
        readable(spent),
        readable(spent - one),
        count(round_trips, "round trip")
    )?;
    if let (Some(parent), Some(column)) = (&finding.parent, &finding.column) {
        writeln!(text, "  for each  {column} of  {parent}")?;
    }
    writeln!(text, "  repeated  {}", finding.statement)?;
    match (&finding.library, &finding.origin) {
        (Some(library), Some(origin)) => writeln!(text, "  written   by {library}, at {origin}")?,
        (Some(library), None) => writeln!(text, "  written   by {library}")?,
        (None, Some(origin)) => writeln!(text, "  written   at {origin}")?,
        (None, None) => {}
    }
    if let Some(remedy) = &finding.remedy {
        writeln!(text, "  remedy    {remedy}")?;
    }
    if let Some(rule) = &finding.rule {
        writeln!(text, "  rule      {rule}")?;
    }
    writeln!(text, "  silence   nplus1: {{silence: [{{finding: {id}}}]}}\n")
}

fn count(number: u64, word: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {word}{ending}")
}

/// Milliseconds in three figures that count.
pub fn readable(ms: f64) -> String {
    match ms {
        _ if ms >= 100.0 => format!("{ms:.0}"),
        _ if ms >= 10.0 => format!("{ms:.1}"),
        _ if ms >= 1.0 => format!("{ms:.2}"),
        _ => format!("{ms:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_a_story() {
        let text = |text: &str| Some(text.to_owned());
        let finding = Finding {
            id: "np-1".to_owned(),
            class: "write_loop".to_owned(),
            database: "app".to_owned(),
            user: "me".to_owned(),
            application: "web".to_owned(),
            statement: "select a".to_owned(),
            parent: text("select b"),
            column: text("author_id"),
            origin: text("/books"),
            library: text("Django"),
            remedy: text("load it"),
            episodes: 2,
            last_n: 50,
            max_n: 60,
            total_n: 110,
            time_ms: 12.5,
            one_query_ms: 0.25,
            ..Finding::default()
        };
        let story = of(&[finding], 3);
        for part in [
            "np-1  WRITE LOOP  app/me (web)\n  2 loops, 110 statements: 50 at the last, 60 at most\n",
            "  12.5 ms, of which one statement each time would save about 12.2 ms and 108 round trips\n",
            "  for each  author_id of  select b\n  repeated  select a\n  written   by Django, at /books\n",
            "  remedy    load it\n",
            "silence: [{finding: np-1}]",
            "\n1 of 3 findings.",
        ] {
            assert!(story.contains(part), "{part}\n{story}");
        }
        assert!(of(&[], 0).contains("no loop"));
    }
}
