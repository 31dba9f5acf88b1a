//! The language on the cable: cuts bytes into tagged frames and never copies a row.
//! Pure: knows bytes, lengths and tags, and nothing of sockets or sessions.
//!
//! Every frame after start-up is a tag byte and a big-endian length that counts itself but not the tag
//! (PostgreSQL documentation, "Message Formats").

pub mod client;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod reply;
pub mod server;

/// Bytes of a tag and its length.
pub const HEADER: usize = 5;

/// PostgreSQL's own upper bound for a message (`MaxAllocSize`, 1 GiB - 1).
pub const FRAME_MAX: usize = 0x3fff_ffff;

/// A frame's tag and its whole size on the cable, tag included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub tag: u8,
    pub size: usize,
}

/// A length that no frame can have. The stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLength {
    pub tag: u8,
    pub length: i32,
}

/// Reads the header at the start of `bytes`; `None` while fewer than five bytes are there.
#[inline]
pub fn head(bytes: &[u8]) -> Result<Option<Head>, BadLength> {
    let [tag, a, b, c, d, ..] = *bytes else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    if length < 4 || length as usize > FRAME_MAX {
        return Err(BadLength { tag, length });
    }
    Ok(Some(Head { tag, size: 1 + length as usize }))
}

/// Bytes of the whole frames of type `tag` at the front of `bytes`.
#[inline]
pub fn run(bytes: &[u8], tag: u8) -> usize {
    let mut at = 0;
    while let Some(&[first, a, b, c, d]) = bytes[at..].first_chunk() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let end = at + 1 + length;
        if first != tag || !(4..=FRAME_MAX).contains(&length) || end > bytes.len() {
            break;
        }
        at = end;
    }
    at
}

/// Splits a NUL-terminated string off the front of `bytes`; `None` when no NUL is there.
#[inline]
pub fn cstr(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Big-endian integer off the front of `bytes`.
pub fn int32(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((i32::from_be_bytes(*head), rest))
}

/// Big-endian short integer off the front of `bytes`.
pub fn int16(bytes: &[u8]) -> Option<(i16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((i16::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_only_when_whole_and_sane() {
        assert_eq!(head(b"Z\0\0\0"), Ok(None));
        assert_eq!(head(b"Z\0\0\0\x05I"), Ok(Some(Head { tag: b'Z', size: 6 })));
        assert_eq!(head(b"Q\0\0\0\x03"), Err(BadLength { tag: b'Q', length: 3 }));
        assert_eq!(head(b"Q\xff\xff\xff\xff"), Err(BadLength { tag: b'Q', length: -1 }));
        assert_eq!(run(b"d\0\0\0\x05ad\0\0\0\x04d\0\0\0\x05", b'd'), 11);
        assert_eq!(run(b"d\0\0\0\x03", b'd'), 0);
        assert_eq!(run(b"Z\0\0\0\x05I", b'd'), 0);
        assert_eq!(head(b"Q\x40\0\0\0"), Err(BadLength { tag: b'Q', length: 0x4000_0000 }));
    }
}
