//! The name of a result's column, as the select list of the canonical text gives it: some clients ask for a
//! result's description once and never again. It must not know what a result is. Pure.

/// The name of the column at this place, counted from 0. `None` if the text does not tell, as `*` does not.
pub fn name(canonical: &str, column: usize) -> Option<String> {
    let list = canonical.strip_prefix("select ")?;
    let list = list.strip_prefix("distinct ").unwrap_or(list);
    let (mut depth, mut quoted, mut place, mut begin) = (0_i32, false, 0, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' | ' ' if depth == 0 => {
                let ends = letter == ',' || list[at..].starts_with(" from ");
                let item = list[begin..at].trim();
                if ends && item.ends_with('*') {
                    return None;
                }
                if ends && place == column {
                    return last_word(item);
                }
                if letter == ',' {
                    (place, begin) = (place + 1, at + 1);
                } else if ends {
                    return None;
                }
            }
            _ => {}
        }
    }
    None
}

/// What a select list's item is called: its alias, or the column itself.
fn last_word(item: &str) -> Option<String> {
    let begin = match item.strip_suffix('"') {
        Some(rest) => rest.rfind('"')?,
        None => item.rfind([' ', '.', ')', '(']).map_or(0, |at| at + 1),
    };
    let word = item[begin..].trim_matches('"');
    (!word.is_empty() && !word.starts_with('$')).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_of_columns() {
        let text = "select a.id, \"B\".\"Key, of\" , count(x, y) as many, a.\"Name\" \"Alias\", $1 from a where c = $2";
        let names: Vec<_> = (0..6).map(|column| name(text, column)).collect();
        let expected = [Some("id"), Some("Key, of"), Some("many"), Some("Alias"), None, None];
        assert_eq!(names, expected.map(|name| name.map(str::to_owned)));
        assert_eq!(name("select a.*, b from t", 1), None);
        assert_eq!(name("select distinct id from t", 0).as_deref(), Some("id"));
        assert_eq!(name("insert into t values ($1)", 0), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text: String, column in 0_usize..9) {
            name(&("select ".to_owned() + &text), column);
        }
    }
}
