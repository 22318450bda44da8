//! Spans in attributes: a whole number and a unit.

/// Milliseconds of a text such as `30s`, or what is wrong with it.
pub(crate) fn parse_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no span; write a whole number and ms, s, m, h or d");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).ok_or_else(|| format!("\"{text}\" is too long a span"))
}

#[cfg(test)]
mod tests {
    use super::parse_ms;

    #[test]
    fn spans() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1d", 86_400_000)] {
            assert_eq!(parse_ms(text), Ok(ms));
        }
        for text in ["", "s", "5", "5 s", "-1s", "5parsecs", "99999999999999999999s"] {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }
}
