//! The rules by which candidates are made, their order, and what people are told of each.

/// By which rule a candidate was made. The order is that of preference where the planner sees no difference
/// that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Equality, then the sort order.
    PointsOrder,
    /// Equality, then one range.
    PointsRange,
    Points,
    Join,
    Order,
    Range,
    /// GROUP BY, DISTINCT, min() and max().
    Group,
    Alternative,
    ForeignKey,
    Expression,
    Prefix,
    Gin,
    Trigram,
    Brin,
}

impl Rule {
    /// It holds whatever the values are: a value with many rows does not make them be sorted or read in vain.
    pub fn is_preferred(self) -> bool {
        matches!(self, Rule::PointsOrder | Rule::PointsRange)
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Rule::PointsOrder => {
                "Columns that are looked up by value come first, then the order that is asked for, so the rows \
                 are found sorted."
            }
            Rule::PointsRange => {
                "Columns that are looked up by value come before the range; the other way round, the index would \
                 be read over the whole range."
            }
            Rule::Points => "Its columns are looked up by value.",
            Rule::Join => "Rows are looked up by the values of another table's rows.",
            Rule::Order => "The rows are found in the order that is asked for, and the rest is not read.",
            Rule::Range => "A range of its first column is read.",
            Rule::Group => {
                "The rows come in the order in which they are grouped, or the least or greatest comes first."
            }
            Rule::Alternative => "Each alternative of an OR is looked up, and the finds are put together.",
            Rule::ForeignKey => {
                "Each row that is removed from the parent is looked for in this table, row by row, which no plan shows."
            }
            Rule::Expression => {
                "The condition is on an expression, which only an index on the same expression serves. ANALYZE the \
                 table afterwards, so that the planner knows its values."
            }
            Rule::Prefix => {
                "The beginning of a text is looked up; the operator class compares it byte by byte."
            }
            Rule::Gin => "Documents or arrays are searched by what they contain.",
            Rule::Trigram => "A pattern may begin anywhere, so pieces of three characters are indexed.",
            Rule::Brin => "Rows lie in the order of the column, so a summary per range of pages is enough.",
        }
    }
}
