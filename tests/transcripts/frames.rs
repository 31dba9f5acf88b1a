//! Frames of the protocol as text, both ways: `Parse s "select 1"` is a Parse message. Shared by the
//! transcripts and the differential tests; knows no session and no socket.
//!
//! Frames are divided by `;`, words by blanks. A word with blanks or `;` stands in double quotes (escapes
//! `\n \\ \" \0 \xHH`) or in back quotes (taken as it is). `@7` is the server-side name of statement 7,
//! `fill(9)` nine times the letter x.
#![allow(dead_code)] // Each test binary uses its own part of it.

use pgweir::pool::statement;

pub type Word = Vec<u8>;

/// The frames that a text names, one behind the other on the cable.
pub fn encode(text: &str) -> Vec<u8> {
    each(text).concat()
}

/// The same, frame by frame.
pub fn each(text: &str) -> Vec<Vec<u8>> {
    let words = words(text);
    words
        .split(|word| word.is_none())
        .filter(|frame| !frame.is_empty())
        .map(|frame| {
            let frame: Vec<Word> = frame.iter().flatten().cloned().collect();
            one(&frame).unwrap_or_else(|| panic!("not a frame: {text}"))
        })
        .collect()
}

/// Words; `None` stands for a `;`.
pub fn words(text: &str) -> Vec<Option<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start().as_bytes();
    while let Some(&first) = rest.first() {
        let length = match first {
            b';' => {
                words.push(None);
                1
            }
            b'"' => {
                let (word, length) = quoted(rest);
                words.push(Some(word));
                length
            }
            b'`' => {
                let end = 1 + position(&rest[1..], |b| b == b'`');
                assert!(end < rest.len(), "an open back quote: {text}");
                words.push(Some(rest[1..end].to_vec()));
                end + 1
            }
            _ => {
                let end = position(rest, |b| b == b';' || b.is_ascii_whitespace());
                words.push(Some(special(&rest[..end])));
                end
            }
        };
        rest = rest[length..].trim_ascii_start();
    }
    words
}

fn position(bytes: &[u8], stop: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&b| stop(b)).unwrap_or(bytes.len())
}

fn special(word: &[u8]) -> Word {
    let text = std::str::from_utf8(word).expect("transcripts are UTF-8");
    if let Some(id) = text.strip_prefix('@').and_then(|id| id.parse().ok()) {
        return statement::name(id).to_vec();
    }
    let fill = text.strip_prefix("fill(").and_then(|t| t.strip_suffix(')'));
    match fill.and_then(|count| count.parse().ok()) {
        Some(count) => vec![b'x'; count],
        None => word.to_vec(),
    }
}

/// A word in double quotes, and how many bytes of the text it took.
fn quoted(text: &[u8]) -> (Word, usize) {
    let (mut word, mut at) = (Vec::new(), 1);
    loop {
        match text[at] {
            b'"' => return (word, at + 1),
            b'\\' => {
                at += 1;
                word.push(match text[at] {
                    b'n' => b'\n',
                    b'0' => 0,
                    b'x' => {
                        let hex = std::str::from_utf8(&text[at + 1..at + 3]).expect("two digits");
                        at += 2;
                        u8::from_str_radix(hex, 16).expect("two hexadecimal digits")
                    }
                    other => other,
                });
            }
            byte => word.push(byte),
        }
        at += 1;
    }
}

fn one(words: &[Word]) -> Option<Vec<u8>> {
    let (name, rest) = words.split_first()?;
    let name = std::str::from_utf8(name).ok()?;
    if name == "Bytes" {
        return Some(rest.concat());
    }
    if name == "Raw" {
        return Some(frame(*rest.first()?.first()?, &rest[1..].concat()));
    }
    let (tag, body) = client(name, rest).or_else(|| server(name, rest))?;
    Some(frame(tag, &body))
}

pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
    out
}

fn cstr(words: &[Word]) -> Vec<u8> {
    words.iter().flat_map(|word| word.iter().copied().chain([0])).collect()
}

fn number(word: &Word) -> i32 {
    std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("not a number: {}", word.escape_ascii()))
}

/// Count, then each value with its length; NULL has none.
fn values(words: &[Word]) -> Vec<u8> {
    let mut out = (words.len() as i16).to_be_bytes().to_vec();
    for word in words {
        out.extend(value(word));
    }
    out
}

fn value(word: &Word) -> Vec<u8> {
    if word == b"NULL" {
        return (-1i32).to_be_bytes().to_vec();
    }
    [&(word.len() as i32).to_be_bytes()[..], word].concat()
}

fn numbers(words: &[Word]) -> Vec<u8> {
    let count = (words.len() as i16).to_be_bytes();
    let each = words.iter().flat_map(|word| number(word).to_be_bytes());
    count.into_iter().chain(each).collect()
}

fn client(name: &str, rest: &[Word]) -> Option<(u8, Vec<u8>)> {
    Some(match (name, rest) {
        ("Query", [text]) => (b'Q', cstr(std::slice::from_ref(text))),
        ("Parse", [name, text, types @ ..]) => {
            let names = cstr(&[name.clone(), text.clone()]);
            (b'P', [names, numbers(types)].concat())
        }
        // Parameters in text form; the last word `binary` asks for binary results.
        ("Bind", [portal, statement, parameters @ ..]) => {
            let (parameters, results): (_, &[u8]) = match parameters.split_last() {
                Some((last, before)) if last == b"binary" => (before, b"\0\x01\0\x01"),
                _ => (parameters, b"\0\0"),
            };
            let names = cstr(&[portal.clone(), statement.clone()]);
            let body = [&names[..], b"\0\0", &values(parameters), results].concat();
            (b'B', body)
        }
        ("Describe" | "Close", [kind, target]) => {
            let tag = name.as_bytes()[0];
            (tag, [&kind[..], target, b"\0"].concat())
        }
        ("Execute", [portal, limit @ ..]) => {
            let limit = limit.first().map_or(0, number).to_be_bytes();
            (b'E', [&portal[..], b"\0", &limit].concat())
        }
        ("Flush", []) => (b'H', vec![]),
        ("Sync", []) => (b'S', vec![]),
        ("Terminate", []) => (b'X', vec![]),
        ("CopyData", [data]) => (b'd', data.clone()),
        ("CopyDone", []) => (b'c', vec![]),
        ("CopyFail", [why]) => (b'f', cstr(std::slice::from_ref(why))),
        ("Call", [oid, arguments @ ..]) => {
            let oid = number(oid).to_be_bytes();
            (b'F', [&oid[..], b"\0\0", &values(arguments), b"\0\0"].concat())
        }
        _ => return None,
    })
}

fn server(name: &str, rest: &[Word]) -> Option<(u8, Vec<u8>)> {
    Some(match (name, rest) {
        ("ParseComplete", []) => (b'1', vec![]),
        ("BindComplete", []) => (b'2', vec![]),
        ("CloseComplete", []) => (b'3', vec![]),
        ("NoData", []) => (b'n', vec![]),
        ("EmptyQuery", []) => (b'I', vec![]),
        ("PortalSuspended", []) => (b's', vec![]),
        ("Rows", names) => {
            let mut body = (names.len() as i16).to_be_bytes().to_vec();
            for name in names {
                // Table, column, type text, size, modifier, format.
                body.extend([&name[..], b"\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"].concat());
            }
            (b'T', body)
        }
        ("Row", columns) => (b'D', values(columns)),
        ("Complete", [tag]) => (b'C', cstr(std::slice::from_ref(tag))),
        ("Ready", [status]) => (b'Z', status.clone()),
        ("Error" | "Fatal", [code, message, routine @ ..]) => {
            let severity: &[u8] = if name == "Error" { b"ERROR" } else { b"FATAL" };
            let mut body = [b"S", severity, b"\0V", severity, b"\0C", code, b"\0M", message, b"\0"].concat();
            for routine in routine {
                body.extend([b"R", &routine[..], b"\0"].concat());
            }
            body.push(0);
            (b'E', body)
        }
        ("Notice", [message]) => (b'N', [b"SNOTICE\0M", &message[..], b"\0\0"].concat()),
        ("Notify", [channel, payload]) => {
            let names = cstr(&[channel.clone(), payload.clone()]);
            (b'A', [&7i32.to_be_bytes()[..], &names].concat())
        }
        ("Parameter", [name, value]) => (b'S', cstr(&[name.clone(), value.clone()])),
        ("Parameters", types) => (b't', numbers(types)),
        ("CopyIn", []) => (b'G', vec![0, 0, 0]),
        ("CopyOut", []) => (b'H', vec![0, 0, 0]),
        ("CopyBoth", []) => (b'W', vec![0, 0, 0]),
        ("Result", [result]) => (b'V', value(result)),
        _ => return None,
    })
}

/// Cuts a stream into frames; what is left over comes last, as it is.
pub fn cut(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let size = match pgweir::wire::head(bytes) {
            Ok(Some(head)) => head.size.min(bytes.len()),
            _ => bytes.len(),
        };
        let (frame, rest) = bytes.split_at(size);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// Frames for human eyes: tag and body, long ones shortened.
pub fn show(bytes: &[u8]) -> String {
    let lines: Vec<String> = cut(bytes)
        .into_iter()
        .map(|frame| {
            let body = frame.get(5..).unwrap_or_default();
            let shown = &body[..body.len().min(200)];
            let more =
                if body.len() > shown.len() { format!("… {} bytes", body.len()) } else { String::new() };
            format!("    {} {}{more}", frame[..1].escape_ascii(), shown.escape_ascii())
        })
        .collect();
    if lines.is_empty() { "    (nothing)".to_owned() } else { lines.join("\n") }
}
