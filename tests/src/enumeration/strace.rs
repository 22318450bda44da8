//! Reads what `strace -f -y -xx` wrote: system calls in the order in which they returned. It knows
//! nothing of what they mean.

use anyhow::{Context, Result, bail};

/// A system call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments, as `strace` shows them.
    pub arguments: String,
    /// What it returned; `None` where the process ended before it did.
    pub result: Option<String>,
    /// How many calls had returned when it began.
    pub before: usize,
}

impl Call {
    /// Whether it returned an error.
    pub fn failed(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result.starts_with('-'))
    }

    /// The texts among its arguments.
    pub fn texts(&self) -> Result<Vec<Vec<u8>>> {
        self.arguments.split('"').skip(1).step_by(2).map(unescape).collect()
    }

    /// The file behind the descriptor that it has as its first argument, unless that was removed.
    pub fn file(&self) -> Result<Option<String>> {
        let Some((_, rest)) = self.arguments.split_once('<') else { return Ok(None) };
        let (path, rest) = rest.split_once('>').context("a path without an end")?;
        if rest.starts_with("(deleted)") {
            return Ok(None);
        }
        Ok(Some(String::from_utf8(unescape(path)?)?))
    }

    /// Its last arguments, as numbers.
    pub fn numbers<const N: usize>(&self) -> Result<[u64; N]> {
        let mut numbers = [0; N];
        let mut last = self.arguments.rsplit(", ");
        for number in numbers.iter_mut().rev() {
            *number =
                last.next().unwrap_or_default().parse().with_context(|| format!("{self:?}"))?;
        }
        Ok(numbers)
    }
}

/// All calls of a trace; those that never returned come last.
pub fn read(trace: &str) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    // In the order in which they began.
    let mut begun: Vec<(&str, Call)> = Vec::new();
    for (index, line) in trace.lines().enumerate() {
        let (thread, rest) = line.split_once(' ').with_context(|| format!("line {index}"))?;
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(rest) = rest.strip_prefix("<... ") {
            let (_, rest) = rest.split_once(" resumed>").context("a call that is not resumed")?;
            let Some(place) = begun.iter().position(|(of, _)| *of == thread) else {
                bail!("line {index}: never begun")
            };
            let (_, mut call) = begun.remove(place);
            let (arguments, result) = end_of(rest);
            call.arguments.push_str(arguments);
            call.result = result;
            calls.push(call);
            continue;
        }
        let (name, rest) = rest.split_once('(').with_context(|| format!("line {index}"))?;
        let unfinished = rest.split_once(" <unfinished ...>").map(|(before, _)| (before, None));
        let (arguments, result) = unfinished.unwrap_or_else(|| end_of(rest));
        let call = Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result,
            before: calls.len(),
        };
        if call.result.is_some() {
            calls.push(call);
        } else {
            begun.push((thread, call));
        }
    }
    calls.extend(begun.into_iter().map(|(_, call)| call));
    Ok(calls)
}

/// The rest of the arguments, and the result.
fn end_of(rest: &str) -> (&str, Option<String>) {
    let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
    let arguments = arguments.trim_end();
    // Where the process ended before the call did, it says `?`, and sometimes why.
    let result = (!result.starts_with('?')).then(|| result.to_owned());
    (arguments.strip_suffix(')').unwrap_or(arguments), result)
}

/// The bytes of a text in which each stands as `\xNN`.
fn unescape(text: &str) -> Result<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).context("no hexadecimal digit");
    let (bytes, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        bail!("no text of -xx: {text:?}");
    }
    let byte = |[_, _, high, low]: &[u8; 4]| Ok((digit(*high)? * 16 + digit(*low)?) as u8);
    bytes.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_in_the_order_in_which_they_returned() {
        let trace = "7 write(3<\\x2f\\x61>, \"\\x62\\x00\", 2 <unfinished ...>\n\
            8 fsync(4<\\x2f>(deleted))   = 0\n\
            9 rename(\"\\x61\", \"\\x62\") = -1 ENOENT (No such file or directory)\n\
            8 --- SIGTERM {si_signo=SIGTERM} ---\n\
            7 <... write resumed>) = 2\n\
            8 pwrite64(4<\\x2f\\x62>, \"\\x63\", 1, 4096 <unfinished ...>) = ?\n\
            8 +++ killed by SIGKILL +++\n\
            7 write(3<\\x2f>, \"\\x62\", 1) = ? <unavailable>\n";
        let calls = read(trace).unwrap();
        let names: Vec<_> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["fsync", "rename", "write", "pwrite64", "write"]);
        assert_eq!(calls[0].file().unwrap(), None);
        assert!(calls[1].failed() && !calls[2].failed() && !calls[3].failed());
        assert_eq!(calls[1].texts().unwrap(), [b"a", b"b"]);
        assert_eq!(calls[2].file().unwrap().unwrap(), "/a");
        assert_eq!(calls[2].texts().unwrap(), [b"b\0"]);
        assert_eq!(calls.iter().map(|call| call.before).collect::<Vec<_>>(), [0, 1, 0, 3, 3]);
        assert_eq!((&calls[3].result, &calls[4].result), (&None, &None));
        assert_eq!(calls[3].numbers().unwrap(), [1, 4096]);
    }

    #[test]
    fn what_strace_does_not_write_is_refused() {
        assert!(read("7 <... write resumed>) = 2\n").is_err());
        assert!(read("nothing\n").is_err());
        assert!(unescape("\\x6").is_err() && unescape("\\xzz").is_err());
    }
}
