//! Frames that pgweir authors. Rare server messages are built with pgwire's message structs; what is sent
//! on the data path is written by hand into a buffer that exists already.

use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use super::server::TxStatus;
use crate::error::ClientError;

pub const PARSE_COMPLETE: [u8; 5] = *b"1\0\0\0\x04";
pub const BIND_COMPLETE: [u8; 5] = *b"2\0\0\0\x04";
pub const PORTAL_SUSPENDED: [u8; 5] = *b"s\0\0\0\x04";
pub const CLOSE_COMPLETE: [u8; 5] = *b"3\0\0\0\x04";
pub const DESCRIBE_PORTAL: [u8; 7] = *b"D\0\0\0\x06P\0";
/// Of the unnamed portal, without a limit.
pub const EXECUTE_ALL: [u8; 10] = *b"E\0\0\0\x09\0\0\0\0\0";
pub const FLUSH: [u8; 5] = *b"H\0\0\0\x04";
pub const SYNC: [u8; 5] = *b"S\0\0\0\x04";
pub const TERMINATE: [u8; 5] = *b"X\0\0\0\x04";

/// ReadyForQuery with its status byte.
pub fn ready(status: TxStatus) -> [u8; 6] {
    [b'Z', 0, 0, 0, 5, status.byte()]
}

/// Appends a frame whose body `write` fills in.
pub fn frame(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends `text` and its NUL.
pub fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

/// Parse under another name; `types` as `wire::client::Parse` gives it.
pub fn parse(out: &mut Vec<u8>, name: &[u8], text: &[u8], types: &[u8]) {
    frame(out, b'P', |out| {
        cstr(out, name);
        cstr(out, text);
        out.extend_from_slice(types);
    });
}

/// The head of a Bind under another statement name; `rest` bytes of the client's own follow it.
pub fn bind_head(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest: usize) {
    out.push(b'B');
    let length = (4 + portal.len() + 1 + statement.len() + 1 + rest) as u32;
    out.extend_from_slice(&length.to_be_bytes());
    cstr(out, portal);
    cstr(out, statement);
}

/// Describe (`tag` D) or Close (`tag` C) of a statement.
pub fn statement_target(out: &mut Vec<u8>, tag: u8, name: &[u8]) {
    frame(out, tag, |out| {
        out.push(b'S');
        cstr(out, name);
    });
}

/// A simple query.
pub fn query(out: &mut Vec<u8>, text: &str) {
    frame(out, b'Q', |out| cstr(out, text.as_bytes()));
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    frame(out, b'C', |out| cstr(out, tag.as_bytes()));
}

pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    frame(out, b'S', |out| {
        cstr(out, name.as_bytes());
        cstr(out, value.as_bytes());
    });
}

pub fn backend_key(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    frame(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// An Authentication request: its code and what follows it.
pub fn authentication(out: &mut Vec<u8>, code: i32, rest: &[u8]) {
    frame(out, b'R', |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(rest);
    });
}

/// NegotiateProtocolVersion: the newest minor version served, and the `_pq_.` options not known.
pub fn negotiate(out: &mut Vec<u8>, version: i32, unknown: &[&[u8]]) {
    frame(out, b'v', |out| {
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&(unknown.len() as i32).to_be_bytes());
        for name in unknown {
            cstr(out, name);
        }
    });
}

/// ErrorResponse as PostgreSQL orders its fields.
pub fn error(out: &mut Vec<u8>, error: &ClientError) {
    let word = error.severity.word().to_owned();
    let mut fields = vec![
        (b'S', word.clone()),
        (b'V', word),
        (b'C', error.sqlstate.to_owned()),
        (b'M', error.message.clone()),
    ];
    if let Some(hint) = &error.hint {
        fields.push((b'H', hint.clone()));
    }
    encode(out, &ErrorResponse::new(fields));
}

/// NoticeResponse with severity WARNING.
pub fn warning(out: &mut Vec<u8>, sqlstate: &str, message: &str) {
    let fields = vec![
        (b'S', "WARNING".to_owned()),
        (b'V', "WARNING".to_owned()),
        (b'C', sqlstate.to_owned()),
        (b'M', message.to_owned()),
    ];
    encode(out, &NoticeResponse::new(fields));
}

fn encode(out: &mut Vec<u8>, message: &impl Message) {
    let mut bytes = bytes::BytesMut::new();
    if message.encode(&mut bytes).is_ok() {
        out.extend_from_slice(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_length_of_their_body() {
        let mut out = Vec::new();
        parse(&mut out, b"n", b"select 1", b"\0\0");
        assert_eq!(crate::wire::head(&out), Ok(Some(crate::wire::Head { tag: b'P', size: out.len() })));
        out.clear();
        bind_head(&mut out, b"", b"s", 7);
        assert_eq!(crate::wire::head(&out), Ok(Some(crate::wire::Head { tag: b'B', size: out.len() + 7 })));
    }

    #[test]
    fn an_error_carries_its_fields() {
        let mut out = Vec::new();
        error(&mut out, &ClientError::fatal("53300", "full").hint("wait"));
        let body = &out[5..];
        assert_eq!(crate::wire::server::sqlstate(body), *b"53300");
        assert_eq!(crate::wire::server::error_field(body, b'H'), Some(&b"wait"[..]));
        assert_eq!(crate::wire::head(&out).ok().flatten().map(|head| head.size), Some(out.len()));
    }
}
