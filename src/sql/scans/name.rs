//! Names of relations and outputs, and what stands for what. Pure.

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, OrderByExpr, Value,
};

use super::term::{expression, ident};
use super::{Relation, Sort};

pub(super) fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(ident).collect()
}

pub(super) fn relation(name: &ObjectName, alias: Option<String>) -> Option<Relation> {
    let mut parts = parts(name);
    let own = parts.pop()?;
    let alias = alias.unwrap_or_else(|| own.clone());
    Some(Relation { schema: parts.pop(), name: own, alias, derived: false })
}

pub(super) fn assigned(target: &sqlparser::ast::AssignmentTarget) -> Vec<String> {
    use sqlparser::ast::AssignmentTarget::{ColumnName, Tuple};
    let last = |name: &ObjectName| parts(name).pop();
    match target {
        ColumnName(name) => last(name).into_iter().collect(),
        Tuple(names) => names.iter().filter_map(last).collect(),
    }
}

/// An output's name or place stands for the output.
pub(super) fn meant<'a>(by: &'a Expr, named: &[(String, &'a Expr)]) -> &'a Expr {
    match by {
        Expr::Identifier(Ident { value, .. }) => {
            named.iter().find(|(name, _)| name == value).map_or(by, |(_, expr)| expr)
        }
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => {
                let place = number.to_string().parse::<usize>().ok().and_then(|at| at.checked_sub(1));
                place.and_then(|at| named.get(at)).map_or(by, |(_, expr)| expr)
            }
            _ => by,
        },
        _ => by,
    }
}

pub(super) fn sort(order: &OrderByExpr, by: &Expr) -> Sort {
    let descending = matches!(order.options.sort, Some(sqlparser::ast::OrderBySort::Desc));
    Sort { by: expression(by), descending, nulls_first: order.options.nulls_first.unwrap_or(descending) }
}

pub(super) fn extreme(expr: &Expr) -> Option<Sort> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let name = parts(&function.name).pop()?;
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(by))] = list.args.as_slice() else {
        return None;
    };
    let descending = match name.as_str() {
        "max" => true,
        "min" => false,
        _ => return None,
    };
    (function.over.is_none() && function.filter.is_none()).then(|| Sort {
        by: expression(by),
        descending,
        // NULLs are left out, so both ends serve.
        nulls_first: descending,
    })
}
