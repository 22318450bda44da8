//! Patterns of names, as policies have them: regular expressions without what makes them slow. All
//! ways through a pattern are followed at once, so a name costs its length times the pattern's.

use crate::rejection::Rejection;

/// Bytes of a pattern, and groups within each other.
const BYTES_MAX: usize = 255;
const DEPTH_MAX: usize = 16;

/// What one character is compared with.
#[derive(Clone, Debug, PartialEq)]
enum Class {
    Any,
    One(char),
    /// Ranges, and whether what is in none of them is meant.
    Set(Vec<(char, char)>, bool),
}

impl Class {
    fn has(&self, one: char) -> bool {
        match self {
            Self::Any => true,
            Self::One(this) => *this == one,
            Self::Set(ranges, negated) => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&one)) != *negated
            }
        }
    }
}

/// A step of a pattern. Numbers are those of steps.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Take(Class, usize),
    /// Both.
    Fork(usize, usize),
    Start(usize),
    End(usize),
    Found,
}

/// A pattern that names are compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    steps: Vec<Step>,
    begin: usize,
}

impl Pattern {
    /// Reads a pattern.
    pub(crate) fn of(text: &str) -> Result<Self, Rejection> {
        let refused = |allowed: &str| {
            let (value, allowed) = (format!("{text:?}"), allowed.to_owned());
            Rejection::ValueRefused { field: "pattern", value, allowed }
        };
        if text.len() > BYTES_MAX {
            return Err(refused("at most 255 bytes"));
        }
        let chars = text.chars().collect();
        let mut reader = Reader { chars, at: 0, steps: vec![Step::Found], depth: 0 };
        let begin = reader.either(0);
        match begin {
            Some(begin) if reader.at == reader.chars.len() => {
                Ok(Self { steps: reader.steps, begin })
            }
            _ => Err(refused(
                "a regular expression of characters, ., [], (), |, *, +, ?, ^, $, \\d, \\w, \\s",
            )),
        }
    }

    /// Whether it is found anywhere in a name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut now = vec![false; self.steps.len()];
        let mut rest = name.chars();
        let mut at_start = true;
        loop {
            let next = rest.next();
            let place = (at_start, next.is_none());
            if self.reach(self.begin, place, &mut now) {
                return true;
            }
            let Some(one) = next else { return false };
            let after_is_end = rest.as_str().is_empty();
            let mut then = vec![false; self.steps.len()];
            for (number, step) in self.steps.iter().enumerate() {
                if let Step::Take(class, to) = step
                    && now.get(number) == Some(&true)
                    && class.has(one)
                    && self.reach(*to, (false, after_is_end), &mut then)
                {
                    return true;
                }
            }
            (now, at_start) = (then, false);
        }
    }

    /// Marks what is reached without taking a character; whether that is the end.
    fn reach(&self, from: usize, (at_start, at_end): (bool, bool), marks: &mut [bool]) -> bool {
        let mut open = vec![from];
        while let Some(number) = open.pop() {
            match marks.get_mut(number) {
                Some(mark) if !*mark => *mark = true,
                _ => continue,
            }
            match self.steps.get(number) {
                Some(Step::Found) => return true,
                Some(Step::Fork(one, other)) => open.extend([*other, *one]),
                Some(Step::Start(to)) if at_start => open.push(*to),
                Some(Step::End(to)) if at_end => open.push(*to),
                _ => {}
            }
        }
        false
    }
}

/// Reads from left to right what is built from right to left: each part is told where it leads, and
/// says where it begins. Parts are read again for that, so they are few.
struct Reader {
    chars: Vec<char>,
    at: usize,
    steps: Vec<Step>,
    depth: usize,
}

/// A part of a pattern that was read and is not built yet.
enum Part {
    One(Class),
    Start,
    End,
    Row(Vec<Part>),
    Either(Vec<Part>),
    Repeated(Box<Part>, char),
}

impl Reader {
    fn either(&mut self, to: usize) -> Option<usize> {
        let part = self.choices()?;
        Some(self.build(&part, to))
    }

    fn choices(&mut self) -> Option<Part> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let mut choices = vec![self.row()?];
        while self.chars.get(self.at) == Some(&'|') {
            self.at += 1;
            choices.push(self.row()?);
        }
        self.depth -= 1;
        Some(Part::Either(choices))
    }

    fn row(&mut self) -> Option<Part> {
        let mut row = Vec::new();
        while let Some(one) = self.chars.get(self.at).copied() {
            if matches!(one, '|' | ')') {
                break;
            }
            self.at += 1;
            let mut part = match one {
                '.' => Part::One(Class::Any),
                '^' => Part::Start,
                '$' => Part::End,
                '[' => Part::One(self.set()?),
                '\\' => Part::One(self.escaped()?),
                '(' => {
                    if self.chars.get(self.at..self.at + 2) == Some(&['?', ':']) {
                        self.at += 2;
                    }
                    let inner = self.choices()?;
                    if self.chars.get(self.at) != Some(&')') {
                        return None;
                    }
                    self.at += 1;
                    inner
                }
                '*' | '+' | '?' | '{' => return None,
                plain => Part::One(Class::One(plain)),
            };
            if let Some(again @ ('*' | '+' | '?')) = self.chars.get(self.at).copied() {
                self.at += 1;
                part = Part::Repeated(Box::new(part), again);
            }
            if self.chars.get(self.at) == Some(&'{') {
                return None;
            }
            row.push(part);
        }
        Some(Part::Row(row))
    }

    fn escaped(&mut self) -> Option<Class> {
        let one = self.chars.get(self.at).copied()?;
        self.at += 1;
        let digits = ('0', '9');
        let words = || vec![digits, ('a', 'z'), ('A', 'Z'), ('_', '_')];
        let spaces = || vec![(' ', ' '), ('\t', '\r')];
        Some(match one {
            'd' | 'D' => Class::Set(vec![digits], one == 'D'),
            'w' | 'W' => Class::Set(words(), one == 'W'),
            's' | 'S' => Class::Set(spaces(), one == 'S'),
            other if other.is_alphanumeric() => return None,
            other => Class::One(other),
        })
    }

    fn set(&mut self) -> Option<Class> {
        let negated = self.chars.get(self.at) == Some(&'^');
        self.at += usize::from(negated);
        let mut ranges = Vec::new();
        loop {
            let mut one = self.chars.get(self.at).copied()?;
            self.at += 1;
            if one == ']' && !ranges.is_empty() {
                return Some(Class::Set(ranges, negated));
            }
            if one == '\\' {
                match self.escaped()? {
                    Class::One(plain) => one = plain,
                    Class::Set(more, false) => {
                        ranges.extend(more);
                        continue;
                    }
                    _ => return None,
                }
            }
            let mut last = one;
            let follows = (self.chars.get(self.at), self.chars.get(self.at + 1));
            if let (Some('-'), Some(to)) = follows
                && *to != ']'
            {
                last = *to;
                self.at += 2;
            }
            if last < one || last == '\\' {
                return None;
            }
            ranges.push((one, last));
        }
    }

    fn add(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn build(&mut self, part: &Part, to: usize) -> usize {
        match part {
            Part::One(class) => self.add(Step::Take(class.clone(), to)),
            Part::Start => self.add(Step::Start(to)),
            Part::End => self.add(Step::End(to)),
            Part::Row(row) => row.iter().rev().fold(to, |to, part| self.build(part, to)),
            Part::Either(choices) => {
                let mut begins = choices.iter().map(|one| self.build(one, to)).collect::<Vec<_>>();
                let mut begin = begins.pop().unwrap_or(to);
                while let Some(other) = begins.pop() {
                    begin = self.add(Step::Fork(other, begin));
                }
                begin
            }
            Part::Repeated(inner, '?') => {
                let begin = self.build(inner, to);
                self.add(Step::Fork(begin, to))
            }
            Part::Repeated(inner, again) => {
                let fork = self.add(Step::Found);
                let begin = self.build(inner, fork);
                if let Some(step) = self.steps.get_mut(fork) {
                    *step = Step::Fork(begin, to);
                }
                if *again == '+' { begin } else { fork }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_regular_expressions_say() {
        for (pattern, good, bad) in [
            ("", &["", "x"][..], &[][..]),
            (".*", &["", "x"], &[]),
            ("^amq\\.", &["amq.x"], &["xamq.x", "amqx"]),
            ("mail", &["mail", "a.mail.b"], &["mai"]),
            ("^mail$", &["mail"], &["mails", "email"]),
            ("^(a|bc)+$", &["a", "bcabc"], &["", "b", "abb"]),
            ("^[a-c]*[^x]$", &["abcd", "y"], &["abcx", "dd"]),
            ("^q\\d\\w?$", &["q1", "q1_"], &["q", "qq", "q12_"]),
            ("^(?!amq\\.).*", &[], &[]),
            ("a{2}", &[], &[]),
            ("^a.c$", &["abc", "a\u{e9}c"], &["ac"]),
            ("(a*)*$", &["aaa", "b"], &[]),
            ("^(a?)+b$", &["aab", "b"], &["ac"]),
        ] {
            let read = Pattern::of(pattern);
            if good.is_empty() && bad.is_empty() {
                read.unwrap_err();
                continue;
            }
            let read = read.unwrap();
            for name in good {
                assert!(read.matches(name), "{pattern} and {name}");
            }
            for name in bad {
                assert!(!read.matches(name), "{pattern} and {name}");
            }
        }
        for bad in [
            "(",
            ")",
            "a)",
            "[",
            "[]",
            "[b-a]",
            "*",
            "a**",
            "\\",
            "\\p",
            "(?=a)",
            &"(".repeat(200),
            &"a".repeat(256),
        ] {
            Pattern::of(bad).unwrap_err();
        }
        // What other engines follow one way after the other, for ever.
        let slow = Pattern::of("^(a*)*(a*)*(a+)+$").unwrap();
        assert!(!slow.matches(&format!("{}b", "a".repeat(200))));
    }
}
