//! PostgreSQL's dialect for the parser, with a bound on its work. Pure.
//!
//! The parser tries one reading after another, and within each reading of an outer call all readings of the
//! inner ones: `position(position(…` thirty deep takes it years. Every term that it tries passes here, so the
//! terms are counted, and when there were too many each further one fails, which ends the parse at once.

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::Expr;
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};

/// Terms that may be tried. The longest statement that is parsed has 8,000, most of which are tried once or
/// twice; at a microsecond or two each the bound is reached in a tenth of a second.
pub const TRIES_MAX: u32 = 50_000;

#[derive(Debug, Default)]
pub struct Bounded {
    tries: Cell<u32>,
}

impl Bounded {
    pub fn is_exhausted(&self) -> bool {
        self.tries.get() > TRIES_MAX
    }
}

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// What PostgreSQL's dialect answers.
macro_rules! as_postgres {
    ($($question:ident)*) => {
        $(fn $question(&self) -> bool {
            POSTGRES.$question()
        })*
    };
}

impl Dialect for Bounded {
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        self.tries.set(self.tries.get().saturating_add(1));
        // The one error after which the parser tries nothing else.
        if self.is_exhausted() {
            return Some(Err(ParserError::RecursionLimitExceeded));
        }
        POSTGRES.parse_prefix(parser)
    }

    fn dialect(&self) -> TypeId {
        POSTGRES.dialect()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRES.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        POSTGRES.is_custom_operator_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        POSTGRES.is_reserved_for_identifier(keyword)
    }

    fn is_table_alias(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        POSTGRES.is_table_alias(keyword, parser)
    }

    /// ON cannot name an output without AS, as in `insert … select f($1) on conflict …`.
    fn is_select_item_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        (explicit || *keyword != Keyword::ON) && POSTGRES.is_select_item_alias(explicit, keyword, parser)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        POSTGRES.prec_value(precedence)
    }

    as_postgres! {
        supports_unicode_string_literal
        supports_filter_during_aggregation
        supports_group_by_expr
        supports_alter_user_as_alter_role
        allow_extract_custom
        allow_extract_single_quotes
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_listen_notify
        supports_exclude_constraint
        supports_factorial_operator
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_colon_operator
        supports_named_fn_args_with_expr_name
        supports_empty_projections
        supports_nested_comments
        supports_string_escape_constant
        supports_numeric_literal_underscores
        supports_array_typedef_with_brackets
        supports_geometric_types
        supports_order_by_using_operator
        supports_set_names
        supports_alter_column_type_using
        supports_left_associative_joins_without_parens
        supports_notnull_operator
        supports_interval_options
        supports_insert_table_alias
        supports_create_table_like_parenthesized
        supports_select_wildcard_with_alias
        supports_comma_separated_trim
        supports_xml_expressions
        supports_aliased_function_args
        supports_comment_optimizer_hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A method that is missing above would show as another reading.
    #[test]
    fn it_reads_as_the_dialect_it_bounds() {
        for text in [
            "select a -> 'b', c @> d, e || f, 5 !, a << 2, a::int[] from only t as x where not a isnull",
            "select count(*) filter (where a), f(x => 1), f(x := 1), trim(both 'x' from a), a.* from t",
            "select a from t tablesample bernoulli (1) order by a using < nulls first",
            "select extract('year' from a), interval '1' day, e'\\n', u&'\\0041', 1_000 /* a /* b */ */",
            "select cube, rollup from t group by grouping sets ((a), ()), (a, b)",
            "select from t",
            "select a from a join b join c on b.i = c.i on a.i = b.i",
            "insert into t as x (a) values (default) on conflict (a) do update set a = excluded.a returning *",
            "create index i on t using gist (a) with (fillfactor = 70)",
            "create table t (like u including defaults, exclude using gist (c with &&))",
            "alter table t alter column a type int using a::int",
            "alter user u with password 'x'",
            "explain (analyze, verbose off) select 1",
            "listen a",
            "notify a, 'b'",
            "set names 'utf8'",
            "comment on table t is 'x'",
            "load 'x'",
            "select xmlelement(name a, b), point '(1,2)', a[1:2] from t view",
            "select a b c",
        ] {
            let told = |dialect: &dyn Dialect| {
                let parser = Parser::new(dialect).try_with_sql(text);
                format!("{:?}", parser.and_then(|mut parser| parser.parse_statements()))
            };
            assert_eq!(told(&Bounded::default()), told(&POSTGRES), "{text}");
        }
    }
}
