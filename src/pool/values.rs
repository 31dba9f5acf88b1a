//! Values of a statement as text, for people, where the settings allow to keep them. Pure.

use crate::wire::client::Bind;

/// `None` is NULL.
pub type Values = Vec<Option<Box<str>>>;

/// Bytes kept of one value.
const VALUE_MAX: usize = 1024;

/// Values kept of one statement, and bytes of all of them.
const VALUES_MAX: usize = 100;
const ALL_MAX: usize = 16 * 1024;

/// Bytes of a description.
const DESCRIPTION_MAX: usize = 2 * 1024;

/// Adds the parameters of a Bind. Text is kept as it is; what is in binary form as `\x` and digits, because its
/// type is not known here.
pub fn add_parameters(values: &mut Values, bind: Bind<'_>) {
    // A message that is cut or wrong is the server's to refuse.
    let _ = bind.each_value(|value, binary| match value {
        None => add(values, None),
        Some(value) if binary => add(values, Some(hex(value))),
        Some(value) => add_text(values, value),
    });
}

/// Adds a value in its text form.
pub fn add_text(values: &mut Values, value: &[u8]) {
    let kept = &value[..value.len().min(VALUE_MAX)];
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if kept.len() < value.len() {
        text.push('…');
    }
    add(values, Some(text));
}

fn add(values: &mut Values, value: Option<String>) {
    let bytes: usize = values.iter().flatten().map(|value| value.len()).sum();
    if values.len() < VALUES_MAX && bytes < ALL_MAX {
        values.push(value.map(String::into_boxed_str));
    }
}

fn hex(value: &[u8]) -> String {
    let kept = &value[..value.len().min(VALUE_MAX / 2)];
    let mut text: String = "\\x".to_owned();
    kept.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    if kept.len() < value.len() {
        text.push('…');
    }
    text
}

/// All values in one line, such as `'5', NULL, 'it''s'`.
pub fn describe(values: &Values) -> String {
    let quote = |value: &Option<Box<str>>| match value {
        None => "NULL".to_owned(),
        Some(value) => format!("'{}'", value.replace('\'', "''")),
    };
    let mut text = values.iter().map(quote).collect::<Vec<_>>().join(", ");
    if text.len() > DESCRIPTION_MAX {
        let end = (0..=DESCRIPTION_MAX).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_for_people() {
        let body = b"\0s\0\0\x03\0\0\0\x01\0\0\0\x03\0\0\0\x04it's\0\0\0\x02\0\x07\xff\xff\xff\xff\0\0";
        let (mut values, bind) = (Vec::new(), Bind::read(body).expect("names are whole"));
        add_text(&mut values, b"5");
        add_parameters(&mut values, bind);
        assert_eq!(describe(&values), "'5', 'it''s', '\\x0007', NULL");
    }

    #[test]
    fn values_are_bounded() {
        let mut values = Vec::new();
        (0..1000).for_each(|_| add_text(&mut values, "ö".repeat(5000).as_bytes()));
        let bytes: usize = values.iter().flatten().map(|value| value.len()).sum();
        assert!(bytes <= ALL_MAX + VALUE_MAX + 8, "{bytes}");
        assert!(values[0].as_ref().is_some_and(|value| value.ends_with('…')));
        assert!(describe(&values).len() <= DESCRIPTION_MAX + 3);
        let mut many = Vec::new();
        (0..1000).for_each(|_| add_text(&mut many, b""));
        assert_eq!(many.len(), VALUES_MAX);
    }
}
