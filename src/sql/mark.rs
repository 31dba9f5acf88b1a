//! A value in four bytes, so that values can be compared without being kept: equal values have equal marks,
//! whether they came as text or binary, as a parameter or in a row. Different values may share a mark, once
//! in four thousand million. Pure.

/// Marks of a statement's first values, and of all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// How many values there are in all.
    pub count: u16,
    /// Changes when any value changes.
    pub all: u32,
    /// Of each of the first values.
    pub first: [u32; FIRST],
}

/// A look-up has one key, or a key of a few columns, and perhaps a limit and some constants.
pub const FIRST: usize = 8;

impl Marks {
    #[inline]
    pub fn add(&mut self, mark: u32) {
        if let Some(place) = self.first.get_mut(usize::from(self.count)) {
            *place = mark;
        }
        self.count = self.count.saturating_add(1);
        self.all = (self.all.rotate_left(5) ^ mark).wrapping_mul(0x9e37_79b1);
    }

    /// Puts other values behind these.
    #[inline]
    pub fn append(&mut self, other: &Marks) {
        if other.count == 0 {
            return;
        }
        other.each().iter().for_each(|&mark| self.add(mark));
        // Values that are not kept count all the same.
        self.count = self.count.saturating_add(other.count - other.each().len() as u16);
        self.all = (self.all.rotate_left(5) ^ other.all).wrapping_mul(0x9e37_79b1);
    }

    /// Marks of single values, as far as they are kept.
    pub fn each(&self) -> &[u32] {
        &self.first[..usize::from(self.count).min(FIRST)]
    }
}

/// NULL is like no value.
pub const NULL: u32 = 0;

/// A value in its text form. Whole numbers and UUIDs are marked by what they mean.
#[inline]
pub fn text(value: &[u8]) -> u32 {
    if value.len() <= 19
        && let Some(number) = integer(value)
    {
        return of_integer(number);
    }
    if matches!(value.len(), 36 | 32)
        && let Some(uuid) = uuid(value)
    {
        return of_bytes(&uuid);
    }
    of_bytes(value)
}

/// A value in its binary form: two, four or eight bytes are taken for a whole number.
#[inline]
pub fn binary(value: &[u8]) -> u32 {
    match *value {
        [a, b] => of_integer(i64::from(i16::from_be_bytes([a, b]))),
        [a, b, c, d] => of_integer(i64::from(i32::from_be_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => of_integer(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => of_bytes(value),
    }
}

fn of_integer(number: i64) -> u32 {
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as u32).max(1)
}

fn of_bytes(bytes: &[u8]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    for &byte in chunks.remainder() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    ((hash ^ hash >> 32) as u32).max(1)
}

/// As PostgreSQL prints whole numbers; what is written otherwise is marked by its bytes.
fn integer(value: &[u8]) -> Option<i64> {
    let (negative, digits) = match value {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let lead = *digits.first()?;
    if (lead == b'0' && (digits.len() > 1 || negative)) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_add(i64::from(digit - b'0')))?;
    Some(if negative { -number } else { number })
}

/// With dashes, or without as psycopg writes it.
fn uuid(value: &[u8]) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let with_dashes = value.len() == 36;
    let dashed = |at: usize| with_dashes && matches!(at, 8 | 13 | 18 | 23);
    let mut digits = value.iter().enumerate().filter(|&(at, _)| !dashed(at));
    for byte in &mut bytes {
        let high = (*digits.next()?.1 as char).to_digit(16)?;
        let low = (*digits.next()?.1 as char).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    let right = value.iter().enumerate().all(|(at, &byte)| !dashed(at) || byte == b'-');
    right.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_mark_in_every_form() {
        for number in [0_i64, 1, -1, 42, 32_767, -32_768] {
            let mark = text(number.to_string().as_bytes());
            assert_eq!(binary(&(number as i16).to_be_bytes()), mark);
            assert_eq!(binary(&(number as i32).to_be_bytes()), mark);
            assert_eq!(binary(&number.to_be_bytes()), mark);
        }
        assert_ne!(text(b"042"), text(b"42"));
        assert_ne!(text(b"-0"), text(b"0"));
        assert_ne!(text(b"1"), text(b"2"));
    }

    #[test]
    fn a_uuid_has_one_mark_in_every_form() {
        let bytes: [u8; 16] = std::array::from_fn(|at| at as u8 * 17);
        assert_eq!(text(b"00112233-4455-6677-8899-aabbccddeeff"), binary(&bytes));
        assert_eq!(text(b"00112233-4455-6677-8899-AABBCCDDEEFF"), binary(&bytes));
        assert_eq!(text(b"00112233445566778899aabbccddeeff"), binary(&bytes));
        assert_ne!(text(b"00112233-4455-6677-8899_aabbccddeeff"), binary(&bytes));
    }

    #[test]
    fn marks_of_several_values() {
        let (mut one, mut two) = (Marks::default(), Marks::default());
        [1, 2].into_iter().for_each(|mark| one.add(mark));
        [2, 1].into_iter().for_each(|mark| two.add(mark));
        assert_ne!(one.all, two.all);
        assert_eq!(one.each(), [1, 2]);
        let mut many = Marks::default();
        (0..40).for_each(|mark| many.add(mark));
        one.append(&many);
        assert_eq!((one.count, one.each()), (42, &[1, 2, 0, 1, 2, 3, 4, 5][..]));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_mark(value: Vec<u8>) {
            assert_ne!(text(&value), NULL);
            assert_ne!(binary(&value), NULL);
        }
    }
}
