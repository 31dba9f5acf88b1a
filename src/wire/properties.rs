//! What must hold for any bytes from the cable. The fuzz targets run these functions with coverage to guide
//! them, and the tests below run them a bounded number of times. Pure.

use super::client::{Bind, Opening, Parse, Target, opening, query_text};
use super::server::{TxStatus, columns, error_field, parameter, sqlstate};
use super::{FRAME_MAX, HEADER, cstr, head, int16, int32};

/// Cuts the input as a reader would, and looks at each body through every view.
pub fn cut(input: &[u8]) {
    let mut rest = input;
    loop {
        match head(rest) {
            Ok(None) => return assert!(rest.len() < HEADER, "a whole header was not read"),
            Err(bad) => return assert!(bad.length < 4 || bad.length as usize > FRAME_MAX),
            Ok(Some(head)) => {
                assert_eq!(head.tag, rest[0]);
                assert!((HEADER..=FRAME_MAX + 1).contains(&head.size));
                let Some(body) = rest.get(HEADER..head.size) else {
                    return views(&rest[HEADER..]);
                };
                views(body);
                rest = &rest[head.size..];
            }
        }
    }
}

/// A view borrows from the body or says that it does not fit; it never reads on and never panics.
fn views(body: &[u8]) {
    if let Some(parse) = Parse::read(body) {
        let total = parse.name.len() + 1 + parse.text.len() + 1 + parse.types.len();
        assert_eq!(total, body.len());
    }
    if let Some(bind) = Bind::read(body) {
        let total = bind.portal.len() + 1 + bind.statement.len() + 1 + bind.rest.len();
        assert_eq!(total, body.len());
        let held: usize = bind.values().iter().flatten().map(|value| value.len()).sum();
        assert!(held <= bind.rest.len());
    }
    if let Some(target) = Target::read(body) {
        assert_eq!(target.name.len() + 2, body.len());
    }
    if let Some(text) = query_text(body) {
        assert!(text.len() + 1 == body.len() && !text.contains(&0));
    }
    if let Some(columns) = columns(body) {
        let held: usize = columns.iter().flatten().map(|column| column.len()).sum();
        assert!(held + 2 + 4 * columns.len() <= body.len());
    }
    if let Some((name, value)) = parameter(body) {
        assert!(name.len() + value.len() + 2 <= body.len());
    }
    assert!(!error_field(body, b'M').is_some_and(|message| message.contains(&0)));
    assert_eq!(sqlstate(body).len(), 5);
    let _ = (TxStatus::read(body), int16(body), int32(body), cstr(body));
    start(body);
}

/// The body of a connection's first packet.
pub fn start(body: &[u8]) {
    match opening(body) {
        Some(Opening::Cancel { secret, .. }) => assert!((4..=256).contains(&secret.len())),
        Some(Opening::Startup { parameters, .. }) => {
            let pairs = parameters.iter().map(|(name, value)| name.len() + value.len() + 2);
            assert_eq!(pairs.sum::<usize>() + 5, body.len());
            assert!(parameters.iter().all(|(name, _)| !name.is_empty()));
        }
        Some(Opening::Ssl | Opening::Gss) => assert_eq!(body.len(), 4),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{client::tag, reply};

    fn text() -> impl Strategy<Value = Vec<u8>> {
        vec(1u8.., 0..20)
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_or_refused(input in vec(any::<u8>(), 0..300)) {
            cut(&input);
        }

        #[test]
        fn any_body_is_viewed_or_refused(
            tag: u8, bodies in vec(vec(prop_oneof![Just(0u8), any::<u8>()], 0..40), 0..6),
        ) {
            let mut input = Vec::new();
            for body in bodies {
                reply::frame(&mut input, tag, |out| out.extend_from_slice(&body));
            }
            cut(&input);
        }

        #[test]
        fn any_start_is_read_or_refused(
            code in prop_oneof![
                Just(0x0003_0000), Just(0x0003_0002), 80_877_102..80_877_105i32, any::<i32>()
            ],
            rest in vec(prop_oneof![Just(0u8), any::<u8>()], 0..60),
        ) {
            start(&[&code.to_be_bytes()[..], &rest].concat());
        }

        #[test]
        fn what_is_written_is_read_back(
            name in text(), sql in text(), types in vec(any::<i32>(), 0..4), rest in vec(any::<u8>(), 0..30),
        ) {
            let mut tail = (types.len() as i16).to_be_bytes().to_vec();
            types.iter().for_each(|oid| tail.extend(oid.to_be_bytes()));
            let mut out = Vec::new();
            reply::parse(&mut out, &name, &sql, &tail);
            cut(&out);
            let expected = Parse { name: &name, text: &sql, types: &tail };
            prop_assert_eq!(Parse::read(&out[HEADER..]), Some(expected));
            out.clear();
            reply::bind_head(&mut out, &name, &sql, rest.len());
            out.extend_from_slice(&rest);
            let head = head(&out).ok().flatten();
            prop_assert_eq!(head.map(|head| (head.tag, head.size)), Some((tag::BIND, out.len())));
            let expected = Bind { portal: &name, statement: &sql, rest: &rest };
            prop_assert_eq!(Bind::read(&out[HEADER..]), Some(expected));
        }
    }
}
