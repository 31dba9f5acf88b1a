//! What to change in an application so that a loop goes away, in the words of the library that wrote its
//! statements. Advice for people: it names relations as the library would by its conventions. Pure.

use super::episode;
use crate::sql::class::Class;
use crate::sql::dialect::Library;
use crate::sql::facts::{Facts, Operand, Predicate};

/// What a repeated statement asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wants {
    /// The one row that a key names.
    #[default]
    One,
    /// The rows that belong to a key.
    Many,
    /// How many there are, or whether there is one.
    Count,
    Exists,
    /// The first few in some order.
    Latest,
    /// It writes.
    Write,
}

/// A repeated statement, as far as advice needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked<'a> {
    pub wants: Wants,
    /// The table that it asks, and the column that its varying value is compared with.
    pub table: &'a str,
    pub key: &'a str,
    /// Where the values came from, if that is proved.
    pub parent: Option<From<'a>>,
}

/// A column of an earlier result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct From<'a> {
    pub table: &'a str,
    pub column: &'a str,
}

impl<'a> Looked<'a> {
    /// What a statement looks for, by its facts; `None` where they name no table.
    pub fn by(facts: &'a Facts, parent: Option<From<'a>>) -> Option<Self> {
        let table = &*facts.tables.first()?.name;
        let key = |predicate: &&'a Predicate| {
            let varies = matches!(predicate.operand, Operand::Hole { .. } | Operand::Holes(_));
            predicate.top && predicate.operator.is_lookup() && varies
        };
        let key = facts.predicates.iter().find(key).map_or("id", |predicate| &*predicate.column.column);
        let foreign = |column: &str| column.ends_with("_id") || (column.len() > 2 && column.ends_with("Id"));
        let wants = match facts.class {
            Class::Write => Wants::Write,
            _ if facts.functions.iter().any(|name| name == "count") => Wants::Count,
            _ if facts.columns.len() <= 1 && facts.limit.is_some() => Wants::Exists,
            _ if facts.limit.is_some() && !facts.order.is_empty() && foreign(key) => Wants::Latest,
            _ if foreign(key) => Wants::Many,
            _ => Wants::One,
        };
        Some(Looked { wants, table, key, parent })
    }
}

/// One or two sentences on what to change.
pub fn of(library: Option<Library>, class: episode::Class, looked: &Looked<'_>) -> String {
    match (class, looked.wants) {
        (episode::Class::WriteLoop, _) | (_, Wants::Write) => writes(library, looked.table),
        (episode::Class::Redundant, _) => redundant(library),
        (episode::Class::Concurrent, _) => concurrent(library, looked),
        (_, Wants::Count | Wants::Exists) => per_parent(library, looked),
        (_, Wants::Latest) => latest(library, looked),
        (_, Wants::One | Wants::Many) => relation(library, looked),
    }
}

/// Load the relation together with its parents.
fn relation(library: Option<Library>, looked: &Looked<'_>) -> String {
    let one = looked.wants == Wants::One;
    let name = relation_name(looked);
    let (field, model) = (camel(&name, false), camel(&name, true));
    let parent = looked.parent.map_or("Parent".to_owned(), |parent| camel(&singular(parent.table), true));
    match library {
        Some(Library::Django) if one => {
            format!("load it with its parents: .select_related('{name}') on the {parent} query")
        }
        Some(Library::Django) => format!(
            "load them with their parents: .prefetch_related('{}_set') on the {parent} query (or its related_name)",
            singular(looked.table).to_lowercase()
        ),
        Some(Library::ActiveRecord) => format!("load it with its parents: {parent}.includes(:{name})"),
        Some(Library::SqlAlchemy) if one => {
            format!("load it with its parents: .options(joinedload({parent}.{name}))")
        }
        Some(Library::SqlAlchemy) => {
            format!("load them with their parents: .options(selectinload({parent}.{name}))")
        }
        Some(Library::Prisma) => format!("load it with its parents: include: {{ {field}: true }}"),
        Some(Library::TypeOrm) => {
            format!("load it with its parents: find({{ relations: {{ {field}: true }} }})")
        }
        Some(Library::Sequelize) => format!("load it with its parents: findAll({{ include: [{model}] }})"),
        Some(Library::Drizzle) => {
            format!("load it with its parents: db.query.….findMany({{ with: {{ {field}: true }} }})")
        }
        Some(Library::Hibernate) => {
            format!(
                "load it with its parents: JOIN FETCH {field}, an @EntityGraph, or @BatchSize(size = 50) on it"
            )
        }
        Some(Library::Ecto) => format!("load it with its parents: Repo.preload(:{name})"),
        Some(Library::Gorm) => format!("load it with its parents: db.Preload(\"{model}\")"),
        Some(Library::EfCore) => format!("load it with its parents: .Include(x => x.{model})"),
        None => by_hand(looked),
    }
}

/// A number per parent: ask for all of them at once.
fn per_parent(library: Option<Library>, looked: &Looked<'_>) -> String {
    let (table, key) = (looked.table, looked.key);
    let model = camel(&singular(table), true);
    let exists = looked.wants == Wants::Exists;
    match library {
        Some(Library::Django) if exists => {
            format!("ask once: .annotate(found=Exists({model}.objects.filter({key}=OuterRef('pk'))))")
        }
        Some(Library::Django) => {
            format!("count once: .annotate(n=Count('{}'))", singular(table).to_lowercase())
        }
        Some(Library::ActiveRecord) if exists => {
            format!("ask once: {model}.where({key}: ids).distinct.pluck(:{key})")
        }
        Some(Library::ActiveRecord) => {
            format!("count once: {model}.where({key}: ids).group(:{key}).count, or a counter_cache")
        }
        Some(Library::SqlAlchemy) => {
            format!("count once: select({model}.{key}, func.count()).group_by({model}.{key})")
        }
        Some(Library::Prisma) => {
            format!("count once: include: {{ _count: {{ select: {{ {}: true }} }} }}", camel(table, false))
        }
        Some(Library::TypeOrm) => {
            format!("count once: .loadRelationCountAndMap(…) or a query with groupBy(\"{key}\")")
        }
        Some(Library::Sequelize) => format!("count once: {model}.count({{ group: ['{key}'] }})"),
        Some(Library::Ecto) => {
            format!("count once: from x in {model}, group_by: x.{key}, select: {{x.{key}, count()}}")
        }
        _ => format!("ask once: SELECT {key}, count(*) FROM {table} WHERE {key} = ANY($1) GROUP BY {key}"),
    }
}

/// The first few per parent.
fn latest(library: Option<Library>, looked: &Looked<'_>) -> String {
    let (table, key) = (looked.table, looked.key);
    let model = camel(&singular(table), true);
    match library {
        Some(Library::Django) => {
            format!(
                "fetch them once: Prefetch('{}_set', {model}.objects.order_by(…)[:n]) (Django 4.2 and later)",
                singular(table).to_lowercase()
            )
        }
        Some(Library::Prisma) => {
            format!("fetch them once: include: {{ {}: {{ orderBy: …, take: n }} }}", camel(table, false))
        }
        Some(Library::ActiveRecord) => {
            format!(
                "fetch them once: {model}.where({key}: ids).select(\"DISTINCT ON ({key}) *\").order(:{key}, …)"
            )
        }
        _ => format!(
            "fetch them once: SELECT l.* FROM unnest($1) AS k(key) CROSS JOIN LATERAL (SELECT * FROM {table} \
             WHERE {key} = k.key ORDER BY … LIMIT n) AS l"
        ),
    }
}

fn redundant(library: Option<Library>) -> String {
    match library {
        Some(Library::Django) => "the same row is asked for again and again: keep it, as with @cached_property",
        Some(Library::ActiveRecord) => {
            "the same row is asked for again and again: keep it (@record ||= …), or use the query cache"
        }
        Some(Library::SqlAlchemy) => {
            "the same row is asked for again and again: session.get(Model, id) asks once per session"
        }
        Some(Library::Hibernate) => {
            "the same row is asked for again and again: find it by its id within one session, or cache it"
        }
        _ => "the same statement with the same values is asked again and again: ask once and pass the answer on",
    }
    .to_owned()
}

fn writes(library: Option<Library>, table: &str) -> String {
    let model = camel(&singular(table), true);
    match library {
        Some(Library::Django) => {
            format!(
                "write many rows at once: {model}.objects.bulk_create([…]), bulk_update(…) or .filter(…).update(…)"
            )
        }
        Some(Library::ActiveRecord) => {
            format!(
                "write many rows at once: {model}.insert_all([…]), upsert_all([…]) or where(…).update_all(…)"
            )
        }
        Some(Library::SqlAlchemy) => {
            format!(
                "write many rows at once: session.execute(insert({model}), [{{…}}, …]) or update({model}), [{{…}}, …]"
            )
        }
        Some(Library::Prisma) => {
            format!("write many rows at once: {}.createMany({{ data: […] }})", camel(&model, false))
        }
        Some(Library::TypeOrm) => {
            "write many rows at once: repository.insert([…]) or save([…], { chunk })".to_owned()
        }
        Some(Library::Sequelize) => format!("write many rows at once: {model}.bulkCreate([…])"),
        Some(Library::Drizzle) => {
            format!("write many rows at once: db.insert({}).values([…])", camel(table, false))
        }
        Some(Library::Hibernate) => {
            "write many rows at once: hibernate.jdbc.batch_size=50 and order_inserts=true".to_owned()
        }
        Some(Library::Ecto) => format!("write many rows at once: Repo.insert_all({model}, rows)"),
        Some(Library::Gorm) => "write many rows at once: db.CreateInBatches(rows, 100)".to_owned(),
        Some(Library::EfCore) => {
            "write many rows at once: AddRange(…) and one SaveChanges, or ExecuteUpdate".to_owned()
        }
        None => format!(
            "write many rows at once: one INSERT INTO {table} … VALUES (…), (…), or the driver's batch"
        ),
    }
}

fn concurrent(library: Option<Library>, looked: &Looked<'_>) -> String {
    match library {
        Some(Library::Prisma) => {
            "gather what is asked at the same moment: findUnique is batched by Prisma, findFirst is not"
                .to_owned()
        }
        _ => format!(
            "gather what is asked at the same moment (a DataLoader): one statement with {} = ANY($1)",
            if looked.key.is_empty() { "key" } else { looked.key }
        ),
    }
}

fn by_hand(looked: &Looked<'_>) -> String {
    match looked.parent {
        Some(parent) if parent.table != looked.table && !parent.table.is_empty() => format!(
            "ask once: JOIN {} ON {}.{} = {}.{} in the statement before, or one statement with {} = ANY($1)",
            looked.table, looked.table, looked.key, parent.table, parent.column, looked.key
        ),
        _ => format!("ask once for all values: … FROM {} WHERE {} = ANY($1)", looked.table, looked.key),
    }
}

/// What the relation is called by convention: the foreign key without its ending, or the table that is
/// asked.
fn relation_name(looked: &Looked<'_>) -> String {
    let foreign_key = looked.parent.map(|parent| parent.column).filter(|_| looked.wants == Wants::One);
    let stem = foreign_key.and_then(|column| {
        column.strip_suffix("_id").or_else(|| column.strip_suffix("Id")).filter(|stem| !stem.is_empty())
    });
    match (stem, looked.wants) {
        (Some(stem), _) => stem.to_owned(),
        (None, Wants::One) => singular(looked.table),
        (None, _) => looked.table.to_owned(),
    }
}

/// Good enough for the names of tables: categories, boxes, statuses, books.
fn singular(table: &str) -> String {
    let cut = |ending: &str, to: &str| table.strip_suffix(ending).map(|stem| format!("{stem}{to}"));
    if table.ends_with("ss") || table.ends_with("data") {
        return table.to_owned();
    }
    cut("ies", "y")
        .or_else(|| cut("xes", "x"))
        .or_else(|| cut("uses", "us"))
        .or_else(|| cut("s", ""))
        .unwrap_or_else(|| table.to_owned())
}

/// `emission_source` as emissionSource or EmissionSource.
fn camel(name: &str, mut upper: bool) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                text.extend(letter.to_uppercase());
                upper = false;
            }
            _ if text.is_empty() => text.extend(letter.to_lowercase()),
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
#[path = "remedy_tests.rs"]
mod tests;
