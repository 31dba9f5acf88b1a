//! Writes the answer to a look-up that no server of its own has answered, frame by frame as PostgreSQL would have
//! for the messages that asked. Where its rows come from is not known here. Pure.

use super::lookup::Form;
use crate::coalesce::split::write_complete;
use crate::wire::server::TxStatus;
use crate::wire::{self, HEADER, reply};

/// What PostgreSQL says of a statement's parameters and rows.
#[derive(Debug, Default)]
pub struct Described {
    /// A ParameterDescription frame.
    pub parameters: Box<[u8]>,
    /// A RowDescription frame that says text for all columns.
    pub row: Box<[u8]>,
}

/// What a look-up found.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Whole DataRow frames.
    pub frames: &'a [u8],
    pub count: u32,
    /// How the transaction stands.
    pub status: TxStatus,
}

/// Writes the answer to a look-up. `formats` is what its Bind said of the result's formats.
pub fn write(form: Form, described: &Described, formats: &[u8], found: Rows<'_>, out: &mut Vec<u8>) {
    let Rows { frames: rows, count, status } = found;
    if form.simple {
        out.extend_from_slice(&described.row);
        out.extend_from_slice(rows);
        write_complete(count.into(), out);
        return out.extend_from_slice(&reply::ready(status));
    }
    if form.parse {
        out.extend_from_slice(&reply::PARSE_COMPLETE);
    }
    if form.describe_statement {
        out.extend_from_slice(&described.parameters);
        out.extend_from_slice(&described.row);
    }
    out.extend_from_slice(&reply::BIND_COMPLETE);
    if form.describe_portal {
        let at = out.len();
        out.extend_from_slice(&described.row);
        set_formats(&mut out[at..], formats);
    }
    if form.rows_max > 0 && count >= form.rows_max {
        // PostgreSQL stops at the limit without a look at whether more would come.
        let mut end = 0;
        for _ in 0..form.rows_max {
            end += wire::head(&rows[end..]).ok().flatten().map_or(0, |head| head.size);
        }
        out.extend_from_slice(&rows[..end]);
        out.extend_from_slice(&reply::PORTAL_SUSPENDED);
    } else {
        out.extend_from_slice(rows);
        write_complete(count.into(), out);
    }
    out.extend_from_slice(&reply::ready(status));
}

/// Puts the formats of a Bind into a RowDescription frame that says text for all.
pub fn set_formats(frame: &mut [u8], formats: &[u8]) {
    let Some(codes) = formats.get(2..).filter(|codes| !codes.is_empty()) else {
        return;
    };
    let mut at = HEADER + 2;
    let mut column = 0;
    // Name and NUL; table, column, type, length, modifier: 16 bytes; format.
    while let Some(name) = frame.get(at..).and_then(wire::cstr).map(|(name, _)| name.len()) {
        at += name + 1 + 16;
        let code = if codes.len() == 2 { 0 } else { column * 2 };
        if let (Some(place), Some(code)) = (frame.get_mut(at..at + 2), codes.get(code..code + 2)) {
            place.copy_from_slice(code);
        }
        at += 2;
        column += 1;
    }
}
