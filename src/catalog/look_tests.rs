//! Look-ups in a catalog made by hand.

use std::collections::BTreeMap;

use super::*;

fn table(oid: Oid, schema: &str, name: &str) -> Table {
    Table { oid, schema: schema.into(), name: name.into(), ..Table::default() }
}

fn function(schema: &str, name: &str, volatility: Volatility) -> Function {
    let (schema, name) = (schema.to_owned(), name.to_owned());
    Function { schema, name, volatility, ..Function::default() }
}

fn catalog(tables: Vec<Table>, functions: Vec<Function>) -> Catalog {
    let builtins =
        [("now", Volatility::Stable), ("random", Volatility::Volatile), ("lower", Volatility::Immutable)];
    let builtins = builtins.map(|(name, volatility)| (name.to_owned(), volatility));
    Catalog::new(Facts::default(), tables, functions, BTreeMap::from(builtins), BTreeMap::new())
}

#[test]
fn names_are_found_along_the_search_path() {
    let catalog = catalog(vec![table(9, "b", "t"), table(3, "a", "t"), table(4, "a", "T")], Vec::new());
    let oid = |path: &[&str], schema, name| catalog.table(path, schema, name).map(|table| table.oid);
    assert_eq!(oid(&["a", "b"], None, "t"), Some(3));
    assert_eq!(oid(&["missing", "b", "a"], None, "t"), Some(9));
    assert_eq!(oid(&["b"], None, "T"), None);
    assert_eq!(oid(&[], Some("a"), "T"), Some(4));
    assert_eq!(oid(&["a"], Some("b"), "T"), None);
    assert_eq!(oid(&[], None, "t"), None);
    assert_eq!(catalog.table_by_oid(9).map(|table| table.schema.as_str()), Some("b"));
    assert_eq!(catalog.table_by_oid(5), None);
}

#[test]
fn foreign_keys_are_found_from_both_ends() {
    let key = |name: &str, to| ForeignKey { name: name.into(), to, ..ForeignKey::default() };
    let mut child = table(2, "a", "child");
    child.foreign_keys = vec![key("up", 1), key("other", 7), key("self", 2)];
    let catalog = catalog(vec![child, table(1, "a", "parent")], Vec::new());
    let to = |oid| -> Vec<(Oid, &str)> {
        catalog.foreign_keys_to(oid).map(|(table, key)| (table.oid, key.name.as_str())).collect()
    };
    assert_eq!(to(1), [(2, "up")]);
    assert_eq!(to(2), [(2, "self")]);
    assert_eq!(to(7), [(2, "other")]);
    assert_eq!(catalog.foreign_keys_from(2).len(), 3);
    assert!(catalog.foreign_keys_from(1).is_empty() && catalog.foreign_keys_from(99).is_empty());
}

#[test]
fn views_lead_to_their_tables() {
    let view = |oid, reads: &[Oid]| Table {
        kind: TableKind::View,
        reads: reads.to_vec(),
        ..table(oid, "a", &format!("v{oid}"))
    };
    let kept = Table { kind: TableKind::MaterializedView, reads: vec![1], ..table(5, "a", "kept") };
    let tables = vec![table(1, "a", "t"), table(2, "a", "u"), view(3, &[1]), view(4, &[3, 2, 1, 5]), kept];
    let catalog = catalog([tables, vec![view(6, &[77])]].concat(), Vec::new());
    let bases =
        |oid| -> Option<Vec<Oid>> { Some(catalog.base_tables(oid)?.iter().map(|table| table.oid).collect()) };
    assert_eq!(bases(4), Some(vec![1, 2, 5]));
    assert_eq!(bases(1), Some(vec![1]));
    assert_eq!(bases(6), None, "it reads a table that is not known");
    assert_eq!(catalog.views_on(1).map(|table| table.oid).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn partitions_and_heirs_are_children() {
    let mut part = table(2, "a", "part");
    part.partition_of = Some(PartitionOf { parent: 1, bound: "DEFAULT".into() });
    let heir = Table { inherits: vec![1], ..table(3, "a", "heir") };
    let catalog = catalog(vec![table(1, "a", "t"), part, heir], Vec::new());
    assert_eq!(catalog.children_of(1).map(|table| table.oid).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(catalog.children_of(2).count(), 0);
}

#[test]
fn of_overloads_the_worst_counts() {
    let functions = vec![
        function("b", "f", Volatility::Volatile),
        function("a", "f", Volatility::Immutable),
        function("a", "f", Volatility::Stable),
        function("a", "lower", Volatility::Volatile),
    ];
    let catalog = catalog(Vec::new(), functions);
    let of = |path: &[&str], schema, name| catalog.volatility(path, schema, name);
    assert_eq!(of(&["a"], None, "f"), Some(Volatility::Stable));
    assert_eq!(of(&["a", "b"], None, "f"), Some(Volatility::Volatile));
    assert_eq!(of(&[], Some("b"), "f"), Some(Volatility::Volatile));
    assert_eq!(of(&["b"], None, "lower"), Some(Volatility::Immutable));
    assert_eq!(of(&["a"], None, "lower"), Some(Volatility::Volatile));
    assert_eq!(of(&["a"], Some("pg_catalog"), "lower"), Some(Volatility::Immutable));
    assert_eq!(of(&["a"], None, "now"), Some(Volatility::Stable));
    assert_eq!(of(&["a"], None, "unknown"), None);
}

#[test]
fn only_what_holds_for_every_row_is_unique() {
    let part = |number| IndexColumn { column: Some(number), ..IndexColumn::default() };
    let unique = |columns: Vec<IndexColumn>| Index {
        unique: true,
        valid: true,
        immediate: true,
        columns,
        ..Index::default()
    };
    let holds = |index: Index| Table { indexes: vec![index], ..Table::default() }.is_unique(&[1, 2]);
    assert!(holds(unique(vec![part(2)])));
    assert!(holds(unique(vec![part(2), part(1)])));
    assert!(!holds(unique(vec![part(2), part(3)])));
    assert!(!holds(unique(vec![IndexColumn::default()])), "an expression says nothing of the columns");
    assert!(!holds(Index { predicate: Some("x".into()), ..unique(vec![part(1)]) }));
    assert!(!holds(Index { valid: false, ..unique(vec![part(1)]) }));
    assert!(!holds(Index { immediate: false, ..unique(vec![part(1)]) }));
    assert!(!holds(Index { unique: false, ..unique(vec![part(1)]) }));
}

#[test]
fn domains_end_in_a_type_and_circles_end_too() {
    let domain = |base| Type { kind: TypeKind::Domain, base: Some(base), ..Type::default() };
    let types = BTreeMap::from([(100, domain(101)), (101, domain(23)), (200, domain(200))]);
    let catalog = Catalog::new(Facts::default(), Vec::new(), Vec::new(), BTreeMap::new(), types);
    assert_eq!(catalog.base_type(100), 23);
    assert_eq!(catalog.base_type(25), 25);
    assert_eq!(catalog.base_type(200), 200);
}
