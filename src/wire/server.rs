//! Typed views of the server frames that must be understood. Rows are not among them, except those of
//! pgweir's own questions.

use super::{cstr, int16, int32};

/// Tags that a server may send once a client is logged in.
pub mod tag {
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_BOTH: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN: u8 = b'G';
    pub const COPY_OUT: u8 = b'H';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY: u8 = b'I';
    pub const ERROR: u8 = b'E';
    pub const FUNCTION_RESULT: u8 = b'V';
    pub const NEGOTIATE: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE: u8 = b'N';
    pub const NOTIFICATION: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// Where a server stands between statements: the byte of ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TxStatus {
    #[default]
    Idle,
    InTransaction,
    Failed,
}

impl TxStatus {
    pub fn read(body: &[u8]) -> Option<Self> {
        match body {
            b"I" => Some(TxStatus::Idle),
            b"T" => Some(TxStatus::InTransaction),
            b"E" => Some(TxStatus::Failed),
            _ => None,
        }
    }

    pub fn byte(self) -> u8 {
        match self {
            TxStatus::Idle => b'I',
            TxStatus::InTransaction => b'T',
            TxStatus::Failed => b'E',
        }
    }
}

/// One field of an ErrorResponse or NoticeResponse, by its type byte (`C` SQLSTATE, `M` message, …).
pub fn error_field(body: &[u8], field: u8) -> Option<&[u8]> {
    let mut rest = body;
    loop {
        let (&kind, tail) = rest.split_first()?;
        if kind == 0 {
            return None;
        }
        let (value, tail) = cstr(tail)?;
        if kind == field {
            return Some(value);
        }
        rest = tail;
    }
}

/// The SQLSTATE of an error's body; `XX000` when the server left it out.
pub fn sqlstate(body: &[u8]) -> [u8; 5] {
    error_field(body, b'C').and_then(|code| code.try_into().ok()).unwrap_or(*b"XX000")
}

/// ParameterStatus: name and value.
pub fn parameter(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = cstr(body)?;
    let (value, _) = cstr(rest)?;
    Some((name, value))
}

/// The columns of a DataRow, `None` for NULL. `None` in all when the row lies about its lengths.
pub fn columns(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = int16(body)?;
    let mut columns = Vec::with_capacity(usize::try_from(count).ok()?.min(64));
    for _ in 0..count {
        let (length, tail) = int32(rest)?;
        match usize::try_from(length) {
            Err(_) => {
                columns.push(None);
                rest = tail;
            }
            Ok(length) => {
                columns.push(Some(tail.get(..length)?));
                rest = &tail[length..];
            }
        }
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_fields_are_found_by_type() {
        let body = b"SERROR\0C42P01\0Mno such table\0\0";
        assert_eq!(sqlstate(body), *b"42P01");
        assert_eq!(error_field(body, b'M'), Some(&b"no such table"[..]));
        assert_eq!(error_field(body, b'H'), None);
        assert_eq!(sqlstate(b"Mno code\0\0"), *b"XX000");
        assert_eq!(sqlstate(b"Munterminated"), *b"XX000");
    }

    #[test]
    fn columns_of_a_row() {
        assert_eq!(columns(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff"), Some(vec![Some(&b"a"[..]), None]));
        assert_eq!(columns(b"\0\x01\0\0\0\x05a"), None);
    }
}
