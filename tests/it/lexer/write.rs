//! Texts for the judge, by dice: literals in every spelling, statements that hide semicolons, operators,
//! queries over one table. The dice are seeded, so each run of the tests throws the same.

pub const TABLE: &str = "create table t (a int, b int, s text, d date, \"order\" int, \"Mixed\" int); \
     insert into t select n, n % 3, 's' || n, date '2020-01-01' + n, n, 10 - n from generate_series(1, 9) n";

/// Variants of one query each. Lists of one length: before version 18 the server counts their elements. One
/// precision of a type only: the server takes it for a constant, and we do not.
pub const GROUPS: &[&[&str]] = &[
    &[
        "select a from t where b = 1",
        "SELECT \"a\"\nFROM /* x */ \"t\" WHERE b=22 -- y",
        "select a from t where b = -4",
    ],
    &["select a from t where b <> 1", "select a from t where b != 2"],
    &["select a from t where b < 1"],
    &["select a from t where b <= 1"],
    &["select b from t where b = 1"],
    &["select \"order\" from t where b = 1"],
    &["select \"Mixed\" from t where b = 1"],
    &[
        "select a from t where s = 'x'",
        "select a from t where s = E'\\'y'",
        "select a from t where s = $$z$$",
    ],
    &["select a from t where s like 'x%'"],
    &[
        "select a from t where b in (1, 2)",
        "select a from t where b in (3,4)",
        "select a from t where b in (-3,4)",
    ],
    &["select a from t where b in (1, 2) order by 1", "select a from t where b in (7, 8) ORDER BY 1"],
    &["select a from t where b in (1, 2) order by 1 desc"],
    &["select a, b from t order by 1"],
    &["select a, b from t order by 2"],
    &["select a from t limit 1", "select a from t limit 2"],
    &["select a from t limit 1 offset 3"],
    &["select a from t where d = date '2020-01-05'", "select a from t where d = date '2020-01-06'"],
    &["select a::numeric(10,2) from t", "select a :: numeric ( 10 , 2 ) from t"],
    &["select a from t where b is null"],
    &["select a from t where b is not null"],
    &["select a from t for update"],
    &["insert into t (a, s) values (1, 'x')", "insert into t (a, s) values (2, 'y')"],
    &["insert into t (a, s) values (1, 'x') returning a", "INSERT INTO t(a,s) VALUES (3,'') RETURNING a"],
    &["update t set b = 1 where a = 2", "update t set b = 7 where a = 8"],
    &["delete from t where a = 2", "delete from t where a = -3"],
    &["select count(*) from t where a between 1 and 2", "select count ( * ) from t where a between 5 and -2"],
    &[
        "select case when a = 1 then 'x' else 'y' end from t",
        "select case when a = 2 then '' else '' end from t",
    ],
];

/// The same to us. The server does not turn comparisons round and takes a plus for an operator, so it has two
/// identifiers for each.
pub const TURNED: &[(&str, &str)] = &[
    ("select a from t where b = 1", "select a from t where 3 = b"),
    ("select a from t where b <> 1", "select a from t where 2 != b"),
    ("select a from t where b < 1", "select a from t where 5 > b"),
    ("delete from t where a = 2", "delete from t where a = +3"),
    ("update t set b = 1 where a = 2", "update t set b = 1 where 2 = a"),
];

pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.roll(choices.len())]
    }

    fn blank(&mut self) -> &'static str {
        self.pick(&[
            " ",
            "\n",
            "\t",
            "/* ; ' */",
            "/* /* */ ' $$ */",
            "-- ; '\n",
            " --\n ",
            "\r\n",
            "\x0c",
            "/**/",
            "/***/",
        ])
    }

    fn gap(&mut self) -> &'static str {
        if self.roll(2) == 0 { "" } else { self.blank() }
    }

    /// The inside of a string in plain quotes.
    fn inside(&mut self) -> String {
        (0..self.roll(5))
            .map(|_| {
                self.pick(&[
                    "a", "''", "\\", "\"", "$$", "$a$", "--", "/*", "*/", ";", "\n", "\u{e9}", "\\\\", "''''",
                ])
            })
            .collect()
    }

    fn literal(&mut self, standard: bool) -> String {
        let inside = self.inside();
        // What continues a string is read like its start.
        let more = match self.roll(4) {
            0 => {
                let between = self.pick(&["\n", " \n ", "--'\n", " -- x\n -- y\n\t", "\r", "\n\n"]);
                format!("{between}'{}'", self.inside())
            }
            _ => String::new(),
        };
        match self.roll(12) {
            0 => format!("E'{inside}'{more}"),
            1 => format!("n'{inside}'"),
            2 if standard => format!("U&'{}'", inside.replace('\\', "!")),
            3 if standard => {
                format!("u&'{}'{} uescape{}'!'", inside.replace('\\', "x"), self.blank(), self.gap())
            }
            4 => format!("$${}$$", inside.replace('$', "")),
            5 => {
                let tag = self.pick(&["a", "_1", "\u{e9}", "ab"]);
                format!("${tag}${}${tag}$", inside.replace(&format!("${tag}$"), ""))
            }
            6 => self.pick(&["B'0101'", "x'1F'", "b''", "X'0'\n'1'"]).to_owned(),
            7 => self
                .pick(&["1", "1.5", ".5", "5.", "1e5", "1E-5", "1.e+3", "007", "12345678901234567890"])
                .to_owned(),
            8 => self.pick(&["-1", "- 1", "+2.5", "-/* - */.5"]).to_owned(),
            _ => format!("'{inside}'{more}"),
        }
    }

    /// `select literal, literal; select literal`.
    pub fn literals(&mut self, standard: bool) -> String {
        let mut text = String::new();
        for _ in 0..=self.roll(2) {
            text += "select";
            for at in 0..=self.roll(3) {
                text += if at > 0 { "," } else { self.blank() };
                text += self.gap();
                text += &self.literal(standard);
                text += self.blank();
            }
            text += ";";
            text += self.gap();
        }
        text
    }

    pub fn statements(&mut self, standard: bool) -> String {
        let mut text = String::new();
        for _ in 0..self.roll(6) {
            let statement = match self.roll(12) {
                0 => {
                    "create or replace function f() returns int begin atomic select 1; select case 1 when 1 then 2 end; end"
                }
                1 => {
                    "create or replace procedure p() begin atomic insert into t values (1); delete from t; end"
                }
                2 => "create or replace function f() returns int language sql as $$ select 1; $$",
                3 => "create or replace rule r as on delete to t do also (select 1; select 2)",
                4 => "do $x$ begin perform 1; end $x$",
                5 => "select case when a = 1 then 2 end from t",
                6 => "select 1 as begin, 2 as atomic",
                7 => "select 1 as \"a;b\"",
                8 => "",
                _ => &format!(
                    "select {} as {} ",
                    self.literal(standard),
                    self.pick(&["x", "a$1", "e", "\"u&\""])
                ),
            };
            text += self.gap();
            text += statement;
            text += self.gap();
            text += ";";
        }
        text + self.gap()
    }

    pub fn operator(&mut self) -> String {
        (0..=self.roll(5))
            .map(|_| {
                self.pick(&[
                    "+", "-", "*", "/", "<", ">", "=", "~", "!", "@", "#", "%", "^", "&", "|", "`", "?",
                ])
            })
            .collect()
    }

    fn value(&mut self) -> String {
        match self.roll(8) {
            0 => format!("-{}", self.roll(9)),
            1 => format!("{}::int", self.roll(9)),
            2 => format!("'{}'", self.roll(9)),
            3 => format!("{}.0", self.roll(9)),
            _ => self.roll(9).to_string(),
        }
    }

    fn column(&mut self) -> &'static str {
        self.pick(&["a", "b", "\"a\"", "T.B", "\"order\"", "t . \"Mixed\"", "public.t.a"])
    }

    fn operand(&mut self, depth: usize) -> String {
        match self.roll(if depth > 2 { 8 } else { 11 }) {
            0..=3 => self.value(),
            4..=7 => self.column().to_owned(),
            8 => format!(
                "({}{}{})",
                self.operand(depth + 1),
                self.pick(&["+", " -", "*", "% "]),
                self.operand(depth + 1)
            ),
            9 => format!("- {}", self.operand(depth + 1)),
            _ => format!(
                "case when {} then {} else {} end",
                self.condition(depth + 1),
                self.value(),
                self.operand(depth + 1)
            ),
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        let operator = self.pick(&["=", "<", ">", "<=", ">=", "<>", "!="]);
        match self.roll(if depth > 2 { 7 } else { 13 }) {
            0 | 1 => format!("{}{operator}{}", self.value(), self.column()),
            2 => {
                format!("{}{}{operator}{}{}", self.value(), self.blank(), self.gap(), self.operand(depth + 1))
            }
            3 => format!("{} {operator} {}", self.operand(depth + 1), self.operand(depth + 1)),
            4 => format!(
                "{} between {} and {}",
                self.operand(depth + 1),
                self.operand(depth + 1),
                self.operand(depth + 1)
            ),
            5 => format!("{} in ({}, {})", self.column(), self.value(), self.operand(depth + 1)),
            6 => format!("s {} 's{}'", self.pick(&["=", "like", "<", "is distinct from"]), self.roll(9)),
            7 => format!("not {}", self.condition(depth + 1)),
            8 => format!("({})", self.condition(depth + 1)),
            9 => format!(
                "({}) is {}",
                self.condition(depth + 1),
                self.pick(&["true", "not null", "not false", "unknown"])
            ),
            10 => format!("date '2020-01-0{}' {operator} d", 1 + self.roll(8)),
            11 => format!("({}) = {}", self.condition(depth + 1), self.pick(&["true", "false", "null"])),
            _ => format!(
                "{}{}{}{}{}",
                self.condition(depth + 1),
                self.blank(),
                self.pick(&["and", "or", "AND"]),
                self.blank(),
                self.condition(depth + 1)
            ),
        }
    }

    /// A query over `TABLE`; not all are ones that the server takes.
    pub fn query(&mut self) -> String {
        let mut text = format!("SELECT a,{}b, {} FROM t", self.gap(), self.operand(0));
        text += &format!("{}where{}{}", self.blank(), self.blank(), self.condition(0));
        if self.roll(3) == 0 {
            text += &format!(" {} {}", self.pick(&["and", "or"]), self.condition(1));
        }
        text += self.pick(&[
            " order by 1, 2",
            "\nORDER BY a,2,3",
            " order by 1 desc limit 3",
            " order by a offset 2",
        ]);
        text
    }
}
