//! Look-ups that nobody has sent yet, as their client would have sent them: the values of an order's member
//! in the statement's text, and in a Bind. Each value has the form in which the client sends that one. Pure.

use super::keys::{Form, Key, Slot};
use super::plan::{Order, What};
use crate::sql::shape::HoleKind;

/// A member of an order with all its values.
struct Values<'a> {
    order: &'a Order,
    member: &'a [Key],
}

impl<'a> Values<'a> {
    fn get(&self, at: usize) -> Option<(&'a Key, Form, Slot)> {
        let varies = self.order.varying.iter().position(|&varying| usize::from(varying) == at);
        let key = match varies {
            Some(place) => self.member.get(place)?,
            None => self.order.constants.get(at)?,
        };
        Some((key, *self.order.forms.get(at)?, *self.order.child.slots.get(at)?))
    }
}

impl Order {
    /// Appends what stands behind the names in the Bind of this member: formats, values, result formats.
    /// `None`: a value has no such form, and the member has to be left out.
    pub fn write_bind(&self, member: &[Key], out: &mut Vec<u8>) -> Option<()> {
        let values = Values { order: self, member };
        let is_parameter = |form: &Form| !matches!(form, Form::Literal(_));
        let places: Vec<usize> = (0..self.forms.len()).filter(|&at| is_parameter(&self.forms[at])).collect();
        let count = i16::try_from(places.len()).ok()?.to_be_bytes();
        out.extend_from_slice(&count);
        for &at in &places {
            out.extend_from_slice(&i16::from(self.forms[at] == Form::Binary).to_be_bytes());
        }
        out.extend_from_slice(&count);
        for &at in &places {
            let (key, form, slot) = values.get(at)?;
            let begin = out.len();
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            if !key.is_null() {
                key.write(slot.type_oid, form == Form::Binary, out)?;
                let length = i32::try_from(out.len() - begin - 4).ok()?;
                out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&i16::try_from(self.child.result_formats.len()).ok()?.to_be_bytes());
        self.child.result_formats.iter().for_each(|code| out.extend_from_slice(&code.to_be_bytes()));
        Some(())
    }

    /// Appends the text of this member: `text` with its values in the places of the `literals`, byte offsets
    /// in the order of the text. Returns where they stand now. `None`: a value has no such form, and the
    /// member has to be left out.
    pub fn write_text(
        &self,
        member: &[Key],
        text: &[u8],
        literals: &[(u32, u32)],
        out: &mut Vec<u8>,
    ) -> Option<Vec<(u32, u32)>> {
        let values = Values { order: self, member };
        let (mut done, mut places) = (0, Vec::with_capacity(literals.len()));
        for (at, &(start, end)) in literals.iter().enumerate() {
            let (key, form, _) = values.get(at)?;
            let Form::Literal(kind) = form else { return None };
            out.extend_from_slice(text.get(done..start as usize)?);
            let begin = out.len() as u32;
            // What does not vary is what the text says already.
            if self.varying.contains(&(at as u16)) {
                write_literal(key, kind, out)?;
            } else {
                out.extend_from_slice(text.get(start as usize..end as usize)?);
            }
            places.push((begin, out.len() as u32));
            done = end as usize;
        }
        out.extend_from_slice(text.get(done..)?);
        Some(places)
    }

    /// Leaves out members that cannot be sent. The first one is the client's own and stays.
    pub fn retain(&mut self, mut can: impl FnMut(&Order, &[Key]) -> bool) {
        let What::Keys(members) = std::mem::replace(&mut self.what, What::Keys(Vec::new())) else { return };
        let kept = members.into_iter().enumerate().filter(|(at, member)| *at == 0 || can(self, member));
        let kept = kept.map(|(_, member)| member).collect();
        self.what = What::Keys(kept);
    }
}

/// A value as a token of this kind.
fn write_literal(key: &Key, kind: HoleKind, out: &mut Vec<u8>) -> Option<()> {
    match (kind, key) {
        (HoleKind::Integer, Key::Integer(number)) => out.extend_from_slice(number.to_string().as_bytes()),
        (HoleKind::Number, Key::Bytes { binary: false, bytes }) => {
            let digits = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
            (bytes.first()?.is_ascii_digit() && bytes.contains(&b'.') && bytes.iter().all(digits))
                .then_some(())?;
            out.extend_from_slice(bytes);
        }
        (HoleKind::Boolean, Key::Boolean(is)) => out.extend_from_slice(if *is { b"true" } else { b"false" }),
        (HoleKind::String, key) => {
            let mut plain = Vec::new();
            key.write(0, false, &mut plain)?;
            // With a backslash it would depend on a setting what it is.
            (!plain.contains(&b'\\') && !plain.contains(&0)).then_some(())?;
            out.push(b'\'');
            for byte in plain {
                out.extend(std::iter::repeat_n(byte, if byte == b'\'' { 2 } else { 1 }));
            }
            out.push(b'\'');
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::keys::{Value, oid};
    use super::super::level::Level;
    use super::super::{Child, Episode};
    use super::*;
    use crate::wire::client::Bind;

    fn order(slots: &[Slot], forms: &[Form], constants: Vec<Key>, varying: &[u16]) -> Order {
        let child = Child {
            shape: 1,
            statement: 1,
            formats: 0,
            context: 0,
            slots: slots.into(),
            types: Box::default(),
            result_formats: [1].into(),
            tables: Box::default(),
            level: Level::Fenced,
            serializable: false,
            small: None,
        };
        let (episode, what) = (Episode { template: 1, serial: 1 }, What::Keys(Vec::new()));
        let (constants, varying, forms) = (constants.into(), varying.into(), forms.into());
        Order { child: Rc::new(child), episode, constants, varying, forms, what }
    }

    fn slot(type_oid: u32) -> Slot {
        Slot { type_oid, by_value: true }
    }

    #[test]
    fn a_bind_as_the_client_would_send_it() {
        let slots = [slot(oid::INT4), slot(oid::UUID), slot(oid::TEXT)];
        let forms = [Form::Binary, Form::Text, Form::Text];
        let text = |text: &str| Key::Bytes { binary: false, bytes: text.as_bytes().into() };
        let order = order(&slots, &forms, vec![Key::Null, Key::Null, text("a")], &[0, 1]);
        let mut out = b"\0s\0".to_vec();
        let member = [Key::Integer(7), Key::Uuid([0x11; 16])];
        order.write_bind(&member, &mut out).expect("all have their forms");
        let bind = Bind::read(&out).expect("names are whole");
        let mut values = Vec::new();
        bind.each_value(|value, binary| values.push((value, binary))).expect("it is whole");
        assert_eq!(values[0], (Some(&[0, 0, 0, 7][..]), true));
        assert_eq!(values[1], (Some(&b"11111111-1111-1111-1111-111111111111"[..]), false));
        assert_eq!(values[2], (Some(&b"a"[..]), false));
        assert!(out.ends_with(&[0, 1, 0, 1]));
        assert!(order.write_bind(&[Key::Integer(1 << 40), Key::Null], &mut out).is_none());
    }

    #[test]
    fn a_text_as_the_client_would_send_it() {
        let kinds = [HoleKind::Integer, HoleKind::String, HoleKind::Integer];
        let slots = [slot(oid::INT4), slot(oid::TEXT), slot(oid::INT8)];
        let forms = kinds.map(Form::Literal);
        let order = order(&slots, &forms, vec![Key::Null, Key::Null, Key::Integer(21)], &[0, 1]);
        let sent = b"select 1 from t where a = 5 and b = 'x' limit 21;";
        let at = |part: &str| {
            let begin =
                sent.windows(part.len()).position(|own| own == part.as_bytes()).expect("it is there") as u32;
            (begin, begin + part.len() as u32)
        };
        let literals = [at("5"), at("'x'"), at("21")];
        let name = Key::Bytes { binary: false, bytes: b"it's"[..].into() };
        let mut out = Vec::new();
        let places =
            order.write_text(&[Key::Integer(-40), name], sent, &literals, &mut out).expect("they fit");
        assert_eq!(out, b"select 1 from t where a = -40 and b = 'it''s' limit 21;");
        let (begin, end) = places[1];
        assert_eq!(&out[begin as usize..end as usize], b"'it''s'");
        let odd = Key::Bytes { binary: false, bytes: b"a\\"[..].into() };
        assert!(order.write_text(&[Key::Integer(1), odd], sent, &literals, &mut out).is_none());
    }

    proptest::proptest! {
        #[test]
        fn a_literal_means_its_key(bytes: String, number: i64, is: bool) {
            let text = Key::Bytes { binary: false, bytes: bytes.as_bytes().into() };
            let cases = [
                (text, HoleKind::String, oid::TEXT),
                (Key::Integer(number), HoleKind::Integer, oid::INT8),
                (Key::Integer(number), HoleKind::String, oid::INT8),
                (Key::Boolean(is), HoleKind::Boolean, oid::BOOL),
            ];
            for (key, kind, type_oid) in cases {
                let mut out = Vec::new();
                if write_literal(&key, kind, &mut out).is_some() {
                    let value = Value { form: Form::Literal(kind), bytes: Some(&out) };
                    assert!(Key::of(value, slot(type_oid)) == key);
                }
            }
        }
    }
}
