//! Takes the answer of a batch apart: which member a row belongs to, and the row as that member gets it. A row is
//! shortened by its first field, the number of the set; no other field is looked at. Knows frames and nothing
//! of what the fields mean.

use crate::wire::int16;

/// The answer is not as a batch's answer must be. Nothing of it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// One answer while it is read.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    members: usize,
    /// Number of the set that the last row belonged to; from 1.
    last: usize,
}

/// A row without the number of its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// How many fields are left.
    fields: u16,
    rest: &'a [u8],
}

impl Split {
    pub fn new(members: usize) -> Split {
        Split { members, last: 0 }
    }

    /// The index of the member that a DataRow (its body) belongs to, and what the member gets of it. Members that
    /// are passed over have no rows; those at the end neither.
    ///
    /// # Errors
    /// The row has no number, or one out of order.
    #[inline]
    pub fn row<'a>(&mut self, body: &'a [u8]) -> Result<(usize, Row<'a>), Broken> {
        let (count, rest) = int16(body).ok_or(Broken)?;
        let fields = (count as u16).checked_sub(1).ok_or(Broken)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Broken)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Broken)?;
        let (number, rest) = rest.split_at_checked(length).ok_or(Broken)?;
        let set = set(number).ok_or(Broken)?;
        if set < self.last || set == 0 || set > self.members {
            return Err(Broken);
        }
        self.last = set;
        Ok((set - 1, Row { fields, rest }))
    }
}

/// PostgreSQL's `int8` in its binary form, which has eight bytes; or as digits, of which a batch needs fewer.
#[inline]
fn set(number: &[u8]) -> Option<usize> {
    if let Ok(bytes) = <[u8; 8]>::try_from(number) {
        return usize::try_from(i64::from_be_bytes(bytes)).ok();
    }
    if number.is_empty() || number.len() > 7 {
        return None;
    }
    number
        .iter()
        .try_fold(0, |set, digit| digit.is_ascii_digit().then(|| set * 10 + usize::from(digit - b'0')))
}

impl<'a> Row<'a> {
    /// Bytes of its frame.
    #[inline]
    pub fn size(&self) -> usize {
        7 + self.rest.len()
    }

    /// Its first so many fields, and the same number behind them. `None`: it has not so many, or others.
    pub fn halves(self, columns: usize) -> Option<(Row<'a>, Row<'a>)> {
        let fields = u16::try_from(columns).ok()?;
        if self.fields != fields.checked_mul(2)? {
            return None;
        }
        let mut at = 0;
        for _ in 0..columns {
            let (length, _) = crate::wire::int32(self.rest.get(at..)?)?;
            at += 4 + usize::try_from(length).unwrap_or(0);
        }
        let (first, second) = self.rest.split_at_checked(at)?;
        Some((Row { fields, rest: first }, Row { fields, rest: second }))
    }

    /// Its DataRow frame.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let [a, b, c, d] = (self.size() as u32 - 1).to_be_bytes();
        let [e, f] = self.fields.to_be_bytes();
        out.extend_from_slice(&[b'D', a, b, c, d, e, f]);
        out.extend_from_slice(self.rest);
    }
}

/// CommandComplete of a query with so many rows.
pub fn write_complete(rows: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, rows);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = &digits[at..];
    out.push(b'C');
    out.extend_from_slice(&(4 + 7 + digits.len() as u32 + 1).to_be_bytes());
    out.extend_from_slice(b"SELECT ");
    out.extend_from_slice(digits);
    out.push(0);
}

/// Whether a RowDescription's body is that of `original` with one field in front.
pub fn is_described(batch: &[u8], original: &[u8]) -> bool {
    let fields = |body| int16(body).map(|(count, rest)| (count as u16, rest));
    let (Some((count, rest)), Some((original_count, original_rest))) = (fields(batch), fields(original))
    else {
        return false;
    };
    // Behind a field's name there are its table, column, type, length, modifier and format.
    let without_name = rest.iter().position(|&byte| byte == 0).and_then(|end| rest.get(end + 1 + 18..));
    count.checked_sub(1) == Some(original_count) && without_name == Some(original_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_with_each_column_twice_is_two_rows() {
        let rest = b"\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x02bb\0\0\0\0";
        let row = Row { fields: 4, rest };
        let (first, second) = row.halves(2).expect("twice two");
        assert_eq!((first.rest, second.rest), (&rest[..9], &rest[9..]));
        assert_eq!((first.fields, second.fields), (2, 2));
        assert!(row.halves(1).is_none() && Row { fields: 4, rest: &rest[..7] }.halves(2).is_none());
    }

    #[test]
    fn rows_lose_their_number() {
        let mut split = Split::new(12);
        let mut out = Vec::new();
        let (member, row) =
            split.row(b"\0\x03\0\0\0\x011\0\0\0\x01a\xff\xff\xff\xff").expect("a row of the first");
        row.write(&mut out);
        assert_eq!((member, &out[..]), (0, &b"D\0\0\0\x0f\0\x02\0\0\0\x01a\xff\xff\xff\xff"[..]));
        assert_eq!(row.size(), out.len());
        let mut member = |body| split.row(body).map(|(member, _)| member);
        assert_eq!(member(b"\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x02"), Ok(1));
        assert_eq!(member(b"\0\x01\0\0\0\x0212"), Ok(11));
    }

    #[test]
    fn what_is_out_of_order_is_broken() {
        for body in [
            &b""[..],
            b"\0\0",
            b"\0\x01",
            b"\0\x01\xff\xff\xff\xff",
            b"\0\x01\0\0\0\0",
            b"\0\x01\0\0\0\x03",
            b"\0\x01\0\0\0\x010",
            b"\0\x01\0\0\0\x011",
            b"\0\x01\0\0\0\x014",
            b"\0\x01\0\0\0\x02-2",
            b"\0\x01\0\0\0\x08\xff\0\0\0\0\0\0\x02",
        ] {
            let mut split = Split { members: 3, last: 2 };
            assert_eq!(split.row(body), Err(Broken), "{body:?}");
        }
    }

    #[test]
    fn tags_count_rows() {
        for rows in [0, 9, 10, 12_345, u64::MAX] {
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            write_complete(rows, &mut out);
            crate::wire::reply::command_complete(&mut expected, &format!("SELECT {rows}"));
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn descriptions_differ_by_one_field() {
        let field = |name: &str| [name.as_bytes(), &[0; 19]].concat();
        let body = |count: u8, fields: &[&str]| {
            let fields: Vec<u8> = fields.iter().flat_map(|name| field(name)).collect();
            [&[0, count][..], &fields].concat()
        };
        assert!(is_described(&body(3, &["o", "a", "b"]), &body(2, &["a", "b"])));
        assert!(is_described(&body(1, &["o"]), &body(0, &[])));
        assert!(!is_described(&body(3, &["o", "a", "c"]), &body(2, &["a", "b"])));
        assert!(!is_described(&body(2, &["o", "a"]), &body(2, &["o", "a"])));
        assert!(!is_described(&body(0, &[]), &body(0, &[])));
        assert!(!is_described(b"\0\x01o\0", b"\0\0"));
    }
}
