//! Sixty-four bits that stand for a canonical text. They are kept in files and named in rules, so they are the
//! same in every process, on every machine and in every version of pgweir; the tests pin them. Pure.
//!
//! Sixteen bytes at a time, as two little-endian words `a` and `b`: `state = fold((a ^ M1) × (b ^ state))`, where
//! `fold` is the exclusive or of the upper and lower half of the 128-bit product. The rest of fewer than
//! sixteen bytes is filled up with zeros; the length is part of the start, so that the filling shows.

pub type Fingerprint = u64;

/// Odd, with half of their bits set, without a pattern: digits of the golden ratio and of the square root of 3.
const M1: u64 = 0x9e37_79b9_7f4a_7c15;
const M2: u64 = 0xbb67_ae85_84ca_a73b;

/// Never 0, which means that there is none.
pub fn of(text: &[u8]) -> Fingerprint {
    let mut state = fold(text.len() as u64 ^ M2, M1);
    let mut pairs = text.chunks_exact(16);
    for pair in &mut pairs {
        let (a, b) = pair.split_at(8);
        state = fold(word(a) ^ M1, word(b) ^ state);
    }
    let rest = pairs.remainder();
    if !rest.is_empty() {
        let mut pair = [0; 16];
        pair[..rest.len()].copy_from_slice(rest);
        let (a, b) = pair.split_at(8);
        state = fold(word(a) ^ M1, word(b) ^ state);
    }
    fold(state ^ M2, M1).max(1)
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_stay_as_they_are() {
        let pinned: [(&str, u64); 4] = [
            ("", 0x46d7_0bb4_7393_a4a1),
            ("select $1", 0x9cb7_2263_5b01_9982),
            ("begin", 0x1cec_76cb_c700_ab73),
            (
                "select author.id, author.name from author where author.id = $1 limit $2",
                0xb190_a1d9_9114_5e59,
            ),
        ];
        for (text, expected) in pinned {
            assert_eq!(of(text.as_bytes()), expected, "{text}: {:#x}", of(text.as_bytes()));
        }
    }

    #[test]
    fn every_bit_of_a_text_counts() {
        let text = b"select book.id, book.title from book where book.author_id = $1 order by 1";
        let mut seen = std::collections::HashSet::from([of(text)]);
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut other = *text;
                other[at] ^= 1 << bit;
                assert!(seen.insert(of(&other)));
            }
            assert!(seen.insert(of(&text[..at])));
            // A zero at the end is not the filling.
            assert!(seen.insert(of(&[&text[..at], b"\0"].concat())));
        }
    }
}
