//! Which library wrote a statement, told from its style: how it quotes, names and breaks lines. Meant for
//! a hint to people, so it says nothing where two libraries write alike. Reads the text as it was sent, since
//! a canonical text has lost its style. Pure.

/// Libraries whose style is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Library {
    Django,
    ActiveRecord,
    SqlAlchemy,
    Prisma,
    TypeOrm,
    Sequelize,
    Drizzle,
    Hibernate,
    Ecto,
    Gorm,
    EfCore,
}

impl Library {
    pub const ALL: [Library; 11] = [
        Library::Django,
        Library::ActiveRecord,
        Library::SqlAlchemy,
        Library::Prisma,
        Library::TypeOrm,
        Library::Sequelize,
        Library::Drizzle,
        Library::Hibernate,
        Library::Ecto,
        Library::Gorm,
        Library::EfCore,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Library::Django => "Django",
            Library::ActiveRecord => "Rails ActiveRecord",
            Library::SqlAlchemy => "SQLAlchemy",
            Library::Prisma => "Prisma",
            Library::TypeOrm => "TypeORM",
            Library::Sequelize => "Sequelize",
            Library::Drizzle => "Drizzle",
            Library::Hibernate => "Hibernate",
            Library::Ecto => "Ecto",
            Library::Gorm => "GORM",
            Library::EfCore => "EF Core",
        }
    }
}

/// Longer texts are judged by their beginning; the style does not change behind it.
const LOOKED_AT: usize = 2 * 1024;

/// The library, from a statement as it was sent.
pub fn of(text: &[u8]) -> Option<Library> {
    let text = super::skip_blank(text);
    let text = String::from_utf8_lossy(&text[..text.len().min(LOOKED_AT)]);
    let text = text.as_ref();
    let first = text.split(|c: char| !c.is_ascii_alphabetic()).next()?;
    match first {
        "SELECT" | "INSERT" | "UPDATE" | "DELETE" if text.contains('"') => quoted(text, first),
        "SELECT" | "INSERT" | "UPDATE" | "DELETE" => unquoted(text, first),
        "select" | "insert" | "update" | "delete" => lower_case(text),
        _ => None,
    }
}

/// Upper-case keywords, quoted names.
fn quoted(text: &str, first: &str) -> Option<Library> {
    // Names that only one library makes up.
    let made_up = [
        ("\"_count$_", Library::Prisma),
        ("\"distinctAlias\"", Library::TypeOrm),
        ("\"dummy_column\"", Library::TypeOrm),
    ];
    if let Some((_, library)) = made_up.into_iter().find(|(name, _)| text.contains(name)) {
        return Some(library);
    }
    let table = after(text, " FROM ").or_else(|| after(text, " INTO ")).or_else(|| after(text, "UPDATE "))?;
    let (name, rest) = names(table)?;
    // "public"."author"."id"
    if name.matches("\".\"").count() == 1 && text.contains(&format!("{name}.\"")) {
        return Some(Library::Prisma);
    }
    if let Some(alias) = rest.strip_prefix(" AS ") {
        return match alias.starts_with('"') {
            true => Some(Library::Sequelize),
            false if is_letter_and_digits(alias) => Some(Library::Ecto),
            false => Some(Library::EfCore),
        };
    }
    // FROM "author" "Author", with columns AS "Author_id"
    if let Some(alias) = rest.strip_prefix(" \"").and_then(|alias| alias.split('"').next())
        && (text.contains(&format!(" AS \"{alias}_")) || text.contains(&format!("(\"{alias}\".")))
    {
        return Some(Library::TypeOrm);
    }
    match first {
        "SELECT" => select(text, name),
        "INSERT" => insert(text, name, rest),
        "UPDATE" if text.contains("\"updated_at\" = $") => Some(Library::ActiveRecord),
        _ => None,
    }
}

fn select(text: &str, table: &str) -> Option<Library> {
    let list = text.strip_prefix("SELECT ")?;
    let list = list.strip_prefix("DISTINCT ").unwrap_or(list);
    if list.starts_with(&format!("{table}.*")) || list.starts_with("1 AS one") {
        return Some(Library::ActiveRecord);
    }
    if list.starts_with("* FROM") || list.starts_with("count(*) FROM") {
        return Some(Library::Gorm);
    }
    if list.starts_with("COUNT(*) FROM") {
        return Some(Library::ActiveRecord);
    }
    if list.starts_with("COUNT(1) AS \"cnt\"") || list.starts_with("COUNT(DISTINCT(\"") {
        return Some(Library::TypeOrm);
    }
    let counted = list.contains("AS \"__count\"") || list.contains(" AS \"a\" FROM");
    (counted || list.starts_with(&format!("{table}.\""))).then_some(Library::Django)
}

/// Libraries differ in what they ask back, and in where they put the bracket.
fn insert(text: &str, table: &str, rest: &str) -> Option<Library> {
    if rest.starts_with('(') {
        return Some(Library::TypeOrm);
    }
    let returned = after(text, " RETURNING ").unwrap_or_default();
    if returned.starts_with(&format!("{table}.\"")) {
        return Some(Library::Django);
    }
    if rest.starts_with(" (\"id\",") && text.contains("VALUES (DEFAULT,") {
        return Some(Library::Sequelize);
    }
    match returned {
        "\"id\"" if text.contains("\", \"") => Some(Library::ActiveRecord),
        "\"id\"" if text.contains("\",\"") => Some(Library::Gorm),
        _ => None,
    }
}

/// Upper-case keywords, plain names.
fn unquoted(text: &str, first: &str) -> Option<Library> {
    match first {
        "SELECT" if text.contains(" \nFROM ") => Some(Library::SqlAlchemy),
        "INSERT" => {
            let table = after(text, "INSERT INTO ")?.split(' ').next()?;
            text.contains(&format!(" RETURNING {table}.")).then_some(Library::SqlAlchemy)
        }
        "UPDATE" => {
            let table = after(text, "UPDATE ")?.split(' ').next()?;
            // SET name=…, without blanks around the sign.
            let set = after(text, " SET ")?;
            let tight = set.find('=').is_some_and(|at| !set[..at].ends_with(' '));
            (tight && text.contains(&format!(" WHERE {table}."))).then_some(Library::SqlAlchemy)
        }
        "DELETE" => {
            let table = after(text, "DELETE FROM ")?.split(' ').next()?;
            text.contains(&format!(" WHERE {table}.")).then_some(Library::SqlAlchemy)
        }
        _ => None,
    }
}

/// Lower-case keywords: Drizzle quotes every name, Hibernate none, and numbers its aliases.
fn lower_case(text: &str) -> Option<Library> {
    let name = ["from ", "into ", "update "].iter().find_map(|word| after(text, word))?;
    if name.starts_with('"') {
        return Some(Library::Drizzle);
    }
    let alias = name.split(' ').nth(1)?;
    let (letters, number) = alias.split_once('_')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_alias = letters.starts_with(|c: char| c.is_ascii_lowercase())
        && digits(letters.trim_start_matches(|c: char| c.is_ascii_lowercase()))
        && digits(number.trim_end_matches(|c: char| !c.is_ascii_digit()));
    is_alias.then_some(Library::Hibernate)
}

/// As Ecto names its sources: a0, b1.
fn is_letter_and_digits(alias: &str) -> bool {
    let alias = alias.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let digits = alias.trim_start_matches(|c: char| c.is_ascii_lowercase());
    alias.len() == digits.len() + 1 && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.find(word).map(|at| &text[at + word.len()..])
}

/// A quoted name with its qualifiers, and what follows it.
fn names(text: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    loop {
        let rest = text[at..].strip_prefix('"')?;
        at += rest.find('"')? + 2;
        if text[at..].starts_with(".\"") {
            at += 1;
        } else {
            return Some(text.split_at(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the clients of §1.1 of the project's notes on N+1 were captured to write.
    const STYLES: [(Library, &[&str]); 11] = [
        (
            Library::Django,
            &[
                r#"SELECT "author"."id", "author"."name" FROM "author" WHERE "author"."id" = 2 LIMIT 21"#,
                r#"SELECT "author"."id", "author"."name" FROM "author" WHERE "author"."id" = $1 LIMIT 21"#,
                r#"SELECT COUNT(*) AS "__count" FROM "book" WHERE "book"."author_id" = 1"#,
                r#"SELECT 1 AS "a" FROM "book" WHERE "book"."author_id" = 1 LIMIT 1"#,
                r#"INSERT INTO "author" ("name") VALUES ('x') RETURNING "author"."id""#,
            ],
        ),
        (
            Library::ActiveRecord,
            &[
                r#"SELECT "author".* FROM "author" WHERE "author"."id" = $1 LIMIT $2"#,
                r#"SELECT COUNT(*) FROM "book" WHERE "book"."author_id" = $1"#,
                r#"SELECT 1 AS one FROM "book" WHERE "book"."author_id" = $1 LIMIT $2"#,
                r#"INSERT INTO "users" ("name", "created_at") VALUES ($1, $2) RETURNING "id""#,
                r#"UPDATE "users" SET "name" = $1, "updated_at" = $2 WHERE "users"."id" = $3"#,
            ],
        ),
        (
            Library::SqlAlchemy,
            &[
                "SELECT author.id, author.name \nFROM author \nWHERE author.id = 2",
                "SELECT author.id AS author_id \nFROM author \nWHERE author.id = $1::INTEGER",
                "INSERT INTO author (name) VALUES ('x') RETURNING author.id",
                "UPDATE author SET name='x' WHERE author.id = 1",
            ],
        ),
        (
            Library::Prisma,
            &[
                r#"SELECT "public"."author"."id" FROM "public"."author" WHERE ("public"."author"."id" = $1 AND 1=1) LIMIT $2 OFFSET $3"#,
                r#"INSERT INTO "public"."Author" ("name") VALUES ($1) RETURNING "public"."Author"."id""#,
                r#"SELECT COUNT(*) AS "_count$_all" FROM (SELECT "public"."B"."id" FROM "public"."B") AS "sub""#,
                r#"SELECT COUNT(*) AS "_count$_all", "public"."Book"."authorId" FROM "public"."Book" WHERE 1=1"#,
            ],
        ),
        (
            Library::TypeOrm,
            &[
                r#"SELECT "Author"."id" AS "Author_id", "Author"."name" AS "Author_name" FROM "author" "Author" WHERE (("Author"."id" = $1)) LIMIT 1"#,
                r#"INSERT INTO "author"("name") VALUES ($1) RETURNING "id""#,
            ],
        ),
        (
            Library::Sequelize,
            &[
                r#"SELECT "id", "name" FROM "author" AS "Author" WHERE "Author"."id" = 2;"#,
                r#"SELECT count("Book"."id") AS "count" FROM "Books" AS "Book" WHERE "Book"."AuthorId" = 1;"#,
                r#"INSERT INTO "Authors" ("id","name") VALUES (DEFAULT,$1) RETURNING "id","name";"#,
            ],
        ),
        (
            Library::Drizzle,
            &[
                r#"select "id", "name" from "author" where "author"."id" = $1 limit $2"#,
                r#"insert into "b" ("id", "aid") values (default, $1)"#,
                r#"update "a" set "n" = $1 where "a"."id" = $2"#,
            ],
        ),
        (
            Library::Hibernate,
            &[
                "select a1_0.id,a1_0.name from author a1_0 where a1_0.id=$1",
                "select b1_0.author_id,b1_0.id from book b1_0 where b1_0.author_id=$1",
            ],
        ),
        (Library::Ecto, &[r#"SELECT a0."id", a0."name" FROM "author" AS a0 WHERE (a0."id" = $1)"#]),
        (
            Library::Gorm,
            &[
                r#"SELECT * FROM "authors" WHERE "authors"."id" = $1 ORDER BY "authors"."id" LIMIT $2"#,
                r#"INSERT INTO "authors" ("name","age") VALUES ($1,$2) RETURNING "id""#,
            ],
        ),
        (Library::EfCore, &[r#"SELECT a."Id", a."Name" FROM "Authors" AS a WHERE a."Id" = $1 LIMIT 1"#]),
    ];

    #[test]
    fn a_style_names_its_library() {
        for (library, texts) in STYLES {
            for text in texts {
                assert_eq!(of(text.as_bytes()), Some(library), "{text}");
            }
        }
    }

    #[test]
    fn sql_by_hand_is_nobodys() {
        for text in [
            "select * from t where id=$1",
            "SELECT id, name FROM author WHERE id = $1",
            "insert into t(a,b) values($1,$2)",
            "SELECT a.x_1 FROM a WHERE b = 1",
            "select a_1 from t a_1x where a = 1",
            "UPDATE t SET a = 1 WHERE t.id = 2",
            // Django and Rails alike.
            r#"UPDATE "t" SET "a" = 1 WHERE "t"."id" = 2"#,
            "BEGIN",
            "",
            "WITH x AS (SELECT 1) SELECT * FROM x",
        ] {
            assert_eq!(of(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_style_or_none(text: Vec<u8>, tail in "[\"a-z0-9_. ()]{0,40}") {
            of(&text);
            for start in ["SELECT ", "select a from ", "INSERT INTO ", "UPDATE \"", "DELETE FROM \"a\"."] {
                of((start.to_owned() + &tail).as_bytes());
            }
        }
    }
}
