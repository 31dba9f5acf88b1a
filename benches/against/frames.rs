//! The few frames of PostgreSQL's protocol that the load generator speaks: cutting what arrives,
//! writing what is asked. Written apart from `pgweir::wire` on purpose, so that a mistake there
//! cannot hide itself here. Must not know sockets.

/// Cuts one frame off the front: its tag, its body, and how many bytes it took in all.
/// `None` means that more bytes are needed.
pub fn cut(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let length = be_u32(bytes.get(1..5)?) as usize;
    let end = length.max(4) + 1;
    Some((bytes[0], bytes.get(5..end)?, end))
}

/// Reads four bytes as a big-endian number; shorter input counts as zero.
pub fn be_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

/// Appends one frame whose body `fill` writes.
pub fn put(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a zero-terminated string.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Appends a simple query.
pub fn put_query(out: &mut Vec<u8>, sql: &str) {
    put(out, b'Q', |b| put_text(b, sql));
}

/// Appends a Sync.
pub fn put_sync(out: &mut Vec<u8>) {
    put(out, b'S', |_| {});
}

/// Appends a Parse that leaves the parameter types to the server, as libpq does.
pub fn put_parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    put(out, b'P', |b| {
        put_text(b, name);
        put_text(b, sql);
        b.extend_from_slice(&0u16.to_be_bytes());
    });
}

/// Appends Bind (one text parameter), Describe of the portal and Execute: what libpq sends for
/// `PQexecPrepared`.
pub fn put_bind_execute(out: &mut Vec<u8>, statement: &str, parameter: &str) {
    put(out, b'B', |b| {
        put_text(b, "");
        put_text(b, statement);
        b.extend_from_slice(&0u16.to_be_bytes());
        b.extend_from_slice(&1u16.to_be_bytes());
        b.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
        b.extend_from_slice(parameter.as_bytes());
        b.extend_from_slice(&1u16.to_be_bytes());
        b.extend_from_slice(&0u16.to_be_bytes());
    });
    put(out, b'D', |b| {
        b.push(b'P');
        put_text(b, "");
    });
    put(out, b'E', |b| {
        put_text(b, "");
        b.extend_from_slice(&0u32.to_be_bytes());
    });
}

/// The bytes of one column of a DataRow; `None` for NULL, or when there is no such column.
pub fn column(row: &[u8], wanted: usize) -> Option<&[u8]> {
    let mut at = 2;
    for index in 0.. {
        let length = be_u32(row.get(at..at + 4)?) as i32;
        at += 4;
        let end = at + usize::try_from(length).unwrap_or(0);
        if index == wanted {
            return if length < 0 { None } else { row.get(at..end) };
        }
        at = end;
    }
    None
}

/// One column of a DataRow as a number in text form.
pub fn number(row: &[u8], wanted: usize) -> Option<i64> {
    std::str::from_utf8(column(row, wanted)?).ok()?.parse().ok()
}

/// What an ErrorResponse says, as `severity code message`.
pub fn error_text(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter(|f| f.len() > 1);
    let wanted = fields.filter(|f| matches!(f[0], b'S' | b'C' | b'M'));
    let texts: Vec<_> = wanted.map(|f| String::from_utf8_lossy(&f[1..])).collect();
    texts.join(" ")
}
