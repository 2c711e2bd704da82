//! The longest evaluations of random expressions over events of 1 MiB and of many headers (promised: at most 2 ms each).
//!
//! `cargo bench --bench expressions` evaluates 10,000 of them, each over every event, and prints the slowest. The reading
//! of a body is measured with it: an event that is read for one expression is read once for all.
#![expect(clippy::print_stdout, reason = "it prints what it found")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use sidehook::domain::{EventId, KeptHeader, Timestamp};
use sidehook::matching::{Expression, Facts, Headers};

const EXPRESSIONS: usize = 10_000;
/// Of the slowest, so many are measured again, so that what else the machine does is not counted.
const AGAIN: usize = 40;

const LEAVES: [&str; 32] = [
    "1",
    "-2",
    "2.5",
    "'abc'",
    "''",
    "true",
    "null",
    "[1, 2, 3]",
    "{'a': 1, 'b': 'x'}",
    "data",
    "data.list",
    "data.list[0]",
    "data.text",
    "data.few",
    "data.few[3]",
    "data.texts",
    "data.texts[1]",
    "data.map",
    "data.map.k7",
    "data.deep",
    "data.none",
    "data.objects",
    "data.objects[1].p",
    "headers",
    "headers['x-1']",
    "headers['x-many']",
    "type",
    "subject",
    "x",
    "x",
    "x",
    "y",
];
const OPERATORS: [&str; 14] = [
    "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
];
const METHODS: [&str; 3] = ["contains", "startsWith", "endsWith"];
const FUNCTIONS: [&str; 8] = ["size", "int", "uint", "double", "string", "type", "!", "-"];
const MACROS: [&str; 6] = ["all", "exists", "exists_one", "map", "filter", "all"];
const PATTERNS: [&str; 8] = [
    "y",
    "^[01]+$",
    "[01]*1[01]{30}x",
    "(a?){30}(a|b|ab|ba){60}c$",
    "(?i)foo.*bar",
    "[^x]*y",
    "(x+x+)+y",
    "\\\\pL+1",
];
const FIELDS: [&str; 4] = ["p", "q", "k7", "none"];

/// Numbers that are the same in every run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap_or(1)).unwrap_or_default()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.get(self.below(of.len())).copied().unwrap_or_default()
    }

    fn expression(&mut self, depth: usize) -> String {
        if depth == 0 || self.below(8) == 0 {
            return self.one(&LEAVES).to_owned();
        }
        let kind = self.below(14);
        let left = self.expression(depth - 1);
        let right = self.expression(depth - 1);
        match kind {
            0..4 => format!("({left} {} {right})", self.one(&OPERATORS)),
            4 => format!("{left}.{}({right})", self.one(&METHODS)),
            5 | 6 => format!("{}({left})", self.one(&FUNCTIONS)),
            7..11 => {
                let local = self.one(&["x", "y"]);
                format!("{left}.{}({local}, {right})", self.one(&MACROS))
            }
            11 => format!("{left}.matches('{}')", self.one(&PATTERNS)),
            12 => format!("{left}[{right}]"),
            _ => format!("{left}.{}", self.one(&FIELDS)),
        }
    }
}

fn bodies() -> [String; 3] {
    let list = |item: &str, count: usize| vec![item; count].join(",");
    let map = |count: usize| {
        (0..count)
            .map(|key| format!("\"k{key}\":{key}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let small = "\"few\":[1,2,3,4,5,6],\"objects\":[{\"p\":1},{\"p\":5,\"q\":\"z\"}],\"deep\":[[[[[[[[]]]]]]]]";
    [
        format!(
            "{{{small},\"list\":[{}],\"text\":\"{}\"}}",
            list("1", 20_000),
            "x".repeat(1 << 20)
        ),
        format!(
            "{{{small},\"map\":{{{}}},\"text\":\"{}\"}}",
            map(20_000),
            "01".repeat(400_000)
        ),
        format!(
            "{{{small},\"texts\":[{}],\"text\":\"é\",\"list\":[{}]}}",
            list(&format!("\"{}\"", "ab".repeat(500)), 1000),
            list("[1,2]", 5_000)
        ),
    ]
}

fn headers() -> Vec<KeptHeader> {
    let header = |name: String, value: String| KeptHeader {
        name: name.into(),
        value: Bytes::from(value),
    };
    let single = (0..32).map(|number| header(format!("x-{number}"), "v".repeat(200)));
    let many = (0..32).map(|_| header("x-many".to_owned(), "v".repeat(200)));
    single.chain(many).collect()
}

fn main() {
    let (bodies, kept) = (bodies(), headers());
    let facts = bodies.each_ref().map(|body| Facts {
        event_type: "invoice.paid",
        event_id: EventId::new(Timestamp::from_millis(1), [7; 10]),
        given_id: None,
        source: None,
        subject: Some("acme"),
        key: None,
        headers: Headers {
            content_type: "application/json",
            kept: &kept,
        },
        body: body.as_bytes(),
    });
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut slowest: Vec<(Duration, Expression, usize)> = Vec::new();
    let mut evaluated = 0;
    while evaluated < EXPRESSIONS {
        let depth = 2 + random.below(4);
        let Ok(expression) = Expression::compile(&random.expression(depth)) else {
            continue;
        };
        evaluated += 1;
        for (number, facts) in facts.iter().enumerate() {
            slowest.push((time(&expression, facts, 1), expression.clone(), number));
        }
        slowest.sort_by_key(|(taken, ..)| std::cmp::Reverse(*taken));
        slowest.truncate(AGAIN);
    }
    for (taken, expression, number) in &mut slowest {
        *taken = facts
            .get(*number)
            .map_or(*taken, |facts| time(expression, facts, 9));
    }
    slowest.sort_by_key(|(taken, ..)| std::cmp::Reverse(*taken));
    for (taken, expression, number) in slowest.iter().take(5) {
        let outcome = facts.get(*number).map(|facts| expression.evaluate(facts));
        println!(
            "{taken:.1?} over body {number}: {} -> {outcome:?}",
            expression.text()
        );
    }
}

/// The shortest of so many evaluations.
fn time(expression: &Expression, facts: &Facts<'_>, times: usize) -> Duration {
    let one = |_| {
        let began = Instant::now();
        std::hint::black_box(expression.evaluate(facts)).ok();
        began.elapsed()
    };
    (0..times).map(one).min().unwrap_or_default()
}
