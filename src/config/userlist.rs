//! PgBouncer's `userlist.txt`, so that its users can move over as they are. Pure text to entries.

use crate::auth::Secret;

/// One line that names a user. `None`: listed without a password.
pub type Entry = (String, Option<Secret>);

/// Reads the whole file: `"user" "password"` per line, a quote inside quotes doubled, the password plain
/// or a verifier (`md5…`, `SCRAM-SHA-256$…`). What follows on a line is ignored, and so are empty lines
/// and lines that start with `;`. `Err` holds the line, counted from 1, and what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Entry>, Vec<(u64, String)>> {
    let mut entries = Vec::new();
    let mut wrong = Vec::new();
    for (number, line) in (1u64..).zip(text.lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        match entry(line) {
            Ok(entry) => entries.push(entry),
            Err(message) => wrong.push((number, message)),
        }
    }
    if wrong.is_empty() { Ok(entries) } else { Err(wrong) }
}

/// What a stored password is. `Err` says what is wrong with a verifier; it never repeats it.
pub fn secret(text: &str) -> Result<Secret, String> {
    let is_md5 = text
        .strip_prefix("md5")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_md5 {
        return Ok(Secret::Md5(text.to_owned()));
    }
    let Some(verifier) = text.strip_prefix("SCRAM-SHA-256$") else {
        return Ok(Secret::Plain(text.to_owned()));
    };
    // iterations:salt$StoredKey:ServerKey, the keys 32 bytes, so 44 characters in base64.
    let base64 = |part: &str| {
        let digits = part.trim_end_matches('=');
        !digits.is_empty()
            && part.len().is_multiple_of(4)
            && part.len() - digits.len() <= 2
            && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    };
    let well_formed = verifier.split_once('$').is_some_and(|(front, keys)| {
        let (Some((iterations, salt)), Some((stored, server))) =
            (front.split_once(':'), keys.split_once(':'))
        else {
            return false;
        };
        iterations.parse::<u32>().is_ok_and(|n| n > 0)
            && base64(salt)
            && [stored, server].iter().all(|key| key.len() == 44 && base64(key))
    });
    if well_formed {
        Ok(Secret::Scram(text.to_owned()))
    } else {
        Err("starts like a SCRAM-SHA-256 verifier but is not a whole one; copy rolpassword of \
             pg_authid as it is"
            .to_owned())
    }
}

fn entry(line: &str) -> Result<Entry, String> {
    let (user, rest) = quoted(line).ok_or("expected \"user\" \"password\" in double quotes")?;
    let (password, _) =
        quoted(rest.trim_start()).ok_or("expected a password in double quotes after the user")?;
    if user.is_empty() {
        return Err("the user name is empty".to_owned());
    }
    let secret = match password.as_str() {
        "" => None,
        text => Some(secret(text)?),
    };
    Ok((user, secret))
}

/// The text of a quoted field at the start of `line`, and what follows it.
fn quoted(line: &str) -> Option<(String, &str)> {
    let mut rest = line.strip_prefix('"')?;
    let mut text = String::new();
    loop {
        let end = rest.find('"')?;
        text.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                text.push('"');
                rest = after;
            }
            None => return Some((text, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn the_format_of_pgbouncer() {
        let text = format!(
            "; made by hand\n\n\"app\" \"secret\"\n  \"say \"\"hi\"\"\" \"a\"\"b\" ignored\n\
             \"old\"\t\"md5a6343a68d964ca596d9752250d54bb8a\"\r\n\"new\" \"{VERIFIER}\"\n\"none\" \"\"\n"
        );
        let entries = parse(&text).unwrap();
        let md5 = "md5a6343a68d964ca596d9752250d54bb8a";
        assert_eq!(
            entries,
            [
                ("app".to_owned(), Some(Secret::Plain("secret".to_owned()))),
                ("say \"hi\"".to_owned(), Some(Secret::Plain("a\"b".to_owned()))),
                ("old".to_owned(), Some(Secret::Md5(md5.to_owned()))),
                ("new".to_owned(), Some(Secret::Scram(VERIFIER.to_owned()))),
                ("none".to_owned(), None),
            ]
        );
    }

    #[test]
    fn every_broken_line_is_reported() {
        let wrong = parse("\"a\" \"b\"\napp secret\n\"a\"\n\"a\" \"b\n\"\" \"x\"\n").unwrap_err();
        let lines: Vec<u64> = wrong.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert!(!format!("{wrong:?}").contains("secret"));
    }

    #[test]
    fn broken_verifiers_are_not_taken_for_passwords() {
        assert!(secret(VERIFIER).is_ok());
        for cut in ["SCRAM-SHA-256$", "SCRAM-SHA-256$4096:abcd$x:y"] {
            assert!(secret(cut).is_err(), "{cut}");
        }
        assert!(secret(&VERIFIER[..VERIFIER.len() - 1]).is_err());
        // Too short for a verifier: somebody's odd password.
        assert_eq!(secret("md5abc"), Ok(Secret::Plain("md5abc".to_owned())));
    }

    proptest! {
        #[test]
        fn quoting_survives_a_round_trip(user in "[^\r\n]{1,20}", password in "[^\r\n]{1,20}") {
            let line = format!(
                "\"{}\" \"{}\"\n", user.replace('"', "\"\""), password.replace('"', "\"\""));
            let entries = parse(&line).unwrap();
            prop_assert_eq!(entries, [(user, Some(Secret::Plain(password)))]);
        }

        #[test]
        fn no_text_panics(text in "[\"a;\\s$:]*") {
            let _ = parse(&text);
        }
    }
}
