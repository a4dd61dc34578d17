//! Names of `patternProperties`: the part of regular expressions that names of fields need.
//!
//! Shape: literals, `.`, classes, `\d \w \s` and their opposites, groups, `|`, `* + ? {n,m}`, `^` and `$`. A pattern matches
//! anywhere in a name. Everything else is refused: a pattern that cannot be read must not count as "no match".

use alloc::{boxed::Box, vec, vec::Vec};

/// Steps that a pattern may compile to.
const MAX_STEPS: usize = 4096;
/// Repetitions that a counted quantifier may ask for.
const MAX_REPEAT: usize = 128;

/// A pattern that was read.
pub(crate) struct NamePattern {
    program: Vec<Step>,
}

enum Step {
    One(Class),
    Either(usize, usize),
    Go(usize),
    AtStart,
    AtEnd,
    Done,
}

/// Ranges of characters, or everything but them.
#[derive(Clone, Default)]
struct Class {
    ranges: Vec<(char, char)>,
    is_negated: bool,
}

impl Class {
    fn has(&self, found: char) -> bool {
        let within = self
            .ranges
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&found));
        within != self.is_negated
    }
}

#[derive(Clone)]
enum Part {
    One(Class),
    Sequence(Vec<Part>),
    Choice(Vec<Part>),
    Repeat(Box<Part>, usize, Option<usize>),
    AtStart,
    AtEnd,
}

impl NamePattern {
    /// Reads a pattern; `None` where it uses what is not supported.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser {
            rest: text.chars().collect(),
            at: 0,
            depth: 0,
        };
        let part = parser.choice()?;
        if parser.at != parser.rest.len() {
            return None;
        }
        let mut program = Vec::new();
        compile(&part, &mut program)?;
        program.push(Step::Done);
        Some(Self { program })
    }

    /// Whether the pattern matches anywhere in a name. Linear in the name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let length = name.chars().count();
        // `$` is also before a newline that ends the name, as in PCRE.
        let ends = |at| at == length || (at + 1 == length && name.ends_with('\n'));
        let mut current = Threads::new(self.program.len());
        let mut next = Threads::new(self.program.len());
        for (at, found) in name.chars().map(Some).chain([None]).enumerate() {
            if self.enter(&mut current, 0, at == 0, ends(at)) {
                return true;
            }
            let Some(found) = found else { break };
            next.clear();
            let is_end = ends(at + 1);
            for index in 0..current.list.len() {
                let step = current.list[index];
                if let Step::One(class) = &self.program[step]
                    && class.has(found)
                    && self.enter(&mut next, step + 1, false, is_end)
                {
                    return true;
                }
            }
            core::mem::swap(&mut current, &mut next);
        }
        false
    }

    /// Adds a step and all that it leads to without a character. Says whether the end is among them.
    fn enter(&self, threads: &mut Threads, from: usize, is_start: bool, is_end: bool) -> bool {
        let mut open = vec![from];
        while let Some(step) = open.pop() {
            if core::mem::replace(&mut threads.seen[step], true) {
                continue;
            }
            match &self.program[step] {
                Step::Done => return true,
                Step::Go(to) => open.push(*to),
                Step::Either(one, other) => open.extend([*one, *other]),
                Step::AtStart if is_start => open.push(step + 1),
                Step::AtEnd if is_end => open.push(step + 1),
                Step::AtStart | Step::AtEnd => {}
                Step::One(_) => threads.list.push(step),
            }
        }
        false
    }
}

struct Threads {
    list: Vec<usize>,
    seen: Vec<bool>,
}

impl Threads {
    fn new(steps: usize) -> Self {
        Self {
            list: Vec::new(),
            seen: vec![false; steps],
        }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.seen.fill(false);
    }
}

struct Parser {
    rest: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let found = self.peek();
        self.at += 1;
        found
    }

    fn takes(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn choice(&mut self) -> Option<Part> {
        self.depth += 1;
        if self.depth > 50 {
            return None;
        }
        let mut choices = vec![self.sequence()?];
        while self.takes('|') {
            choices.push(self.sequence()?);
        }
        self.depth -= 1;
        Some(Part::Choice(choices))
    }

    fn sequence(&mut self) -> Option<Part> {
        let mut parts = Vec::new();
        while let Some(next) = self.peek() {
            if next == '|' || next == ')' {
                break;
            }
            let part = self.one()?;
            parts.push(self.repeated(part)?);
        }
        Some(Part::Sequence(parts))
    }

    fn one(&mut self) -> Option<Part> {
        Some(match self.take()? {
            '^' => Part::AtStart,
            '$' => Part::AtEnd,
            '.' => Part::One(Class {
                ranges: vec![('\n', '\n')],
                is_negated: true,
            }),
            '(' => {
                if self.takes('?') && !self.takes(':') {
                    return None;
                }
                let inner = self.choice()?;
                if !self.takes(')') {
                    return None;
                }
                inner
            }
            '[' => Part::One(self.class()?),
            '\\' => Part::One(self.escape()?),
            '*' | '+' | '?' | '{' | '}' | ']' | ')' => return None,
            literal => Part::One(single(literal)),
        })
    }

    fn repeated(&mut self, part: Part) -> Option<Part> {
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(part),
            _ => return Some(part),
        };
        self.at += 1;
        self.no_suffix()?;
        Some(Part::Repeat(Box::new(part), least, most))
    }

    fn counted(&mut self, part: Part) -> Option<Part> {
        self.at += 1;
        let least = self.number()?;
        let most = match self.takes(',') {
            false => Some(least),
            true if self.peek() == Some('}') => None,
            true => Some(self.number()?),
        };
        if !self.takes('}') || least > MAX_REPEAT || most.is_some_and(|most| most < least) {
            return None;
        }
        self.no_suffix()?;
        Some(Part::Repeat(Box::new(part), least, most))
    }

    /// Lazy quantifiers match the same names; possessive ones do not, and `a**` is an error.
    fn no_suffix(&mut self) -> Option<()> {
        self.takes('?');
        match self.peek() {
            Some('*' | '+' | '?' | '{') => None,
            _ => Some(()),
        }
    }

    fn number(&mut self) -> Option<usize> {
        let mut value = None;
        while let Some(digit) = self.peek().and_then(|found| found.to_digit(10)) {
            value = Some(value.unwrap_or(0) * 10 + digit as usize);
            self.at += 1;
            if value > Some(MAX_REPEAT) {
                return None;
            }
        }
        value
    }

    fn class(&mut self) -> Option<Class> {
        let mut class = Class {
            ranges: Vec::new(),
            is_negated: self.takes('^'),
        };
        let mut is_first = true;
        loop {
            let low = match self.take()? {
                ']' if !is_first => return Some(class),
                '[' if matches!(self.peek(), Some(':' | '.' | '=')) => return None,
                '\\' => {
                    let escaped = self.escape()?;
                    if escaped.is_negated {
                        return None;
                    }
                    match escaped.ranges[..] {
                        [(low, high)] if low == high => low,
                        _ => {
                            class.ranges.extend(escaped.ranges);
                            is_first = false;
                            continue;
                        }
                    }
                }
                literal => literal,
            };
            is_first = false;
            let is_range =
                self.peek() == Some('-') && self.rest.get(self.at + 1).is_some_and(|c| *c != ']');
            let high = match is_range {
                false => low,
                true => {
                    self.at += 1;
                    match self.take()? {
                        '\\' | '[' => return None,
                        high => high,
                    }
                }
            };
            if high < low {
                return None;
            }
            class.ranges.push((low, high));
        }
    }

    fn escape(&mut self) -> Option<Class> {
        let found = self.take()?;
        let ranges = match found.to_ascii_lowercase() {
            'd' => vec![('0', '9')],
            'w' => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
            's' => vec![('\t', '\r'), (' ', ' ')],
            _ if found.is_ascii_alphanumeric() => return None,
            _ => return Some(single(found)),
        };
        Some(Class {
            ranges,
            is_negated: found.is_ascii_uppercase(),
        })
    }
}

fn single(literal: char) -> Class {
    Class {
        ranges: vec![(literal, literal)],
        is_negated: false,
    }
}

fn compile(part: &Part, program: &mut Vec<Step>) -> Option<()> {
    if program.len() > MAX_STEPS {
        return None;
    }
    match part {
        Part::One(class) => program.push(Step::One(class.clone())),
        Part::AtStart => program.push(Step::AtStart),
        Part::AtEnd => program.push(Step::AtEnd),
        Part::Sequence(parts) => parts.iter().try_for_each(|part| compile(part, program))?,
        Part::Choice(choices) => {
            let mut ends = Vec::new();
            for (index, choice) in choices.iter().enumerate() {
                let split = program.len();
                let is_last = index + 1 == choices.len();
                if !is_last {
                    program.push(Step::Done);
                }
                compile(choice, program)?;
                if !is_last {
                    ends.push(program.len());
                    program.push(Step::Done);
                    program[split] = Step::Either(split + 1, program.len());
                }
            }
            let end = program.len();
            for at in ends {
                program[at] = Step::Go(end);
            }
        }
        Part::Repeat(inner, least, most) => {
            for _ in 0..*least {
                compile(inner, program)?;
            }
            match most {
                None => {
                    let split = program.len();
                    program.push(Step::Done);
                    compile(inner, program)?;
                    program.push(Step::Go(split));
                    program[split] = Step::Either(split + 1, program.len());
                }
                Some(most) => {
                    for _ in *least..*most {
                        let split = program.len();
                        program.push(Step::Done);
                        compile(inner, program)?;
                        program[split] = Step::Either(split + 1, program.len());
                    }
                }
            }
        }
    }
    Some(())
}
