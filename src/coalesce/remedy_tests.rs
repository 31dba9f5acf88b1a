//! Every library has its words for every kind of loop.

use super::episode::Class;
use super::*;
use crate::sql::facts;

const TO_ONE: Looked<'_> = Looked {
    wants: Wants::One,
    table: "facilities",
    key: "id",
    parent: Some(From { table: "emission_sources", column: "facility_id" }),
};

const TO_MANY: Looked<'_> = Looked {
    wants: Wants::Many,
    table: "emission_sources",
    key: "facility_id",
    parent: Some(From { table: "facilities", column: "id" }),
};

#[test]
fn a_relation_is_named_in_the_librarys_words() {
    for (library, looked, words) in [
        (Library::Django, TO_ONE, "select_related('facility') on the EmissionSource query"),
        (Library::Django, TO_MANY, "prefetch_related('emission_source_set') on the Facility query"),
        (Library::ActiveRecord, TO_ONE, "EmissionSource.includes(:facility)"),
        (Library::ActiveRecord, TO_MANY, "Facility.includes(:emission_sources)"),
        (Library::SqlAlchemy, TO_ONE, "joinedload(EmissionSource.facility)"),
        (Library::SqlAlchemy, TO_MANY, "selectinload(Facility.emission_sources)"),
        (Library::Prisma, TO_MANY, "include: { emissionSources: true }"),
        (Library::TypeOrm, TO_ONE, "relations: { facility: true }"),
        (Library::Sequelize, TO_ONE, "include: [Facility]"),
        (Library::Drizzle, TO_MANY, "with: { emissionSources: true }"),
        (Library::Hibernate, TO_ONE, "@BatchSize(size = 50)"),
        (Library::Ecto, TO_ONE, "Repo.preload(:facility)"),
        (Library::Gorm, TO_ONE, "Preload(\"Facility\")"),
        (Library::EfCore, TO_ONE, "Include(x => x.Facility)"),
    ] {
        let remedy = of(Some(library), Class::Proved, &looked);
        assert!(remedy.contains(words), "{library:?}: {remedy}");
    }
    let remedy = of(None, Class::Proved, &TO_MANY);
    assert!(
        remedy.contains("JOIN emission_sources ON emission_sources.facility_id = facilities.id"),
        "{remedy}"
    );
}

#[test]
fn every_library_has_a_word_for_every_loop() {
    let wants = [Wants::One, Wants::Many, Wants::Count, Wants::Exists, Wants::Latest, Wants::Write];
    for library in Library::ALL.into_iter().map(Some).chain([None]) {
        for class in Class::ALL {
            for wants in wants {
                for parent in [None, TO_MANY.parent] {
                    let remedy = of(library, class, &Looked { wants, parent, ..TO_MANY });
                    assert!(remedy.len() > 30, "{library:?} {class:?} {wants:?}: {remedy}");
                }
            }
        }
    }
    assert!(of(Some(Library::Django), Class::WriteLoop, &TO_ONE).contains("Facility.objects.bulk_create"));
    assert!(of(Some(Library::ActiveRecord), Class::Redundant, &TO_ONE).contains("||="));
}

#[test]
fn what_is_looked_for_stands_in_the_facts() {
    for (text, wants, table, key) in [
        ("select id, name from facilities where id = $1 limit $2", Wants::One, "facilities", "id"),
        ("select a.id, a.b from books as a where a.author_id = $1", Wants::Many, "books", "author_id"),
        ("select count(*) from books where author_id = $1", Wants::Count, "books", "author_id"),
        ("select $1 as a from books where author_id = $2 limit $3", Wants::Exists, "books", "author_id"),
        (
            "select id, at from messages where conversation_id = $1 order by at desc limit $2",
            Wants::Latest,
            "messages",
            "conversation_id",
        ),
        ("insert into books (a) values ($1)", Wants::Write, "books", "id"),
    ] {
        let facts = facts::read(text).unwrap();
        let looked = Looked::by(&facts, None).unwrap();
        assert_eq!((looked.wants, looked.table, looked.key), (wants, table, key), "{text}");
    }
}

#[test]
fn names_follow_the_conventions() {
    assert_eq!(singular("categories"), "category");
    assert_eq!(singular("boxes"), "box");
    assert_eq!(singular("address"), "address");
    assert_eq!(singular("emissions_data"), "emissions_data");
    assert_eq!(camel("emission_source", true), "EmissionSource");
    assert_eq!(camel("Author", false), "author");
    assert_eq!(camel("", true), "");
}
