//! Parameters of the query, checked against what the route knows.

use std::borrow::Cow;

use super::code::Code;
use super::refusal::Refusal;
use super::route::{Parameter, Route};
use super::text::{closest, percent_decode, quoted, shorten};
use crate::api::DurationText;

/// The parameters that a request gave.
#[derive(Debug, Default)]
pub(crate) struct Query<'q>(Vec<(&'static str, Cow<'q, str>)>);

impl<'q> Query<'q> {
    /// Reads the query of a request to `route`.
    pub(crate) fn parse(route: &Route, text: Option<&'q str>) -> Result<Self, Refusal> {
        let mut given: Vec<(&'static str, Cow<'q, str>)> = Vec::new();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let malformed = || {
                let allowed = "percent-encoded UTF-8";
                Refusal::value("the query", quoted(pair), allowed)
            };
            let name = percent_decode(name, true).ok_or_else(malformed)?;
            let value = percent_decode(value, true).ok_or_else(malformed)?;
            let known = route.parameters.iter().find(|known| known.name == name);
            let Some(Parameter { name, .. }) = known else { return Err(unknown(route, &name)) };
            if given.iter().any(|(other, _)| other == name) {
                return Err(super::json::repeated(name, &format!("?{name}")));
            }
            given.push((*name, value));
        }
        Ok(Self(given))
    }

    /// The value of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Whether a flag is set.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => Err(Refusal::value(name, quoted(other), "true or false")),
        }
    }

    /// A duration of at most `max_ms`.
    pub(crate) fn duration_ms(&self, name: &str, max_ms: u64) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<DurationText>() {
            Ok(duration) if duration.0 <= max_ms => Ok(Some(duration.0)),
            Ok(_) => {
                let allowed = format!("at most {}", DurationText(max_ms));
                Err(Refusal::value(name, text, allowed))
            }
            Err(_) => Err(Refusal::value(name, quoted(text), crate::api::DURATION_EXPECTED)),
        }
    }

    /// A number between 1 and `max`.
    pub(crate) fn count(&self, name: &str, default: usize, max: usize) -> Result<usize, Refusal> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(count) if plain && (1..=max).contains(&count) => Ok(count),
            _ => Err(Refusal::value(name, quoted(text), format!("a whole number from 1 to {max}"))),
        }
    }
}

fn unknown(route: &Route, name: &str) -> Refusal {
    let known = || route.parameters.iter().map(|known| known.name);
    let meant = closest(name, known());
    let hint = meant.map(|meant| format!("; did you mean ?{meant}?")).unwrap_or_default();
    let allowed = match route.parameters {
        [] => "no parameters".to_owned(),
        _ => known().collect::<Vec<_>>().join(", "),
    };
    let detail = format!("?{} is not known here{hint}", shorten(name));
    Refusal::new(Code::ParameterUnknown, detail).about(&shorten(name), quoted(name), allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::ROUTES;

    fn list() -> &'static Route {
        ROUTES.iter().find(|route| route.path == "/jobs").unwrap()
    }

    #[test]
    fn parameters_are_read() {
        let query = Query::parse(list(), Some("queue=a+b%2Fc&limit=5&state=dead&")).unwrap();
        assert_eq!(query.text("queue"), Some("a b/c"));
        assert_eq!(query.count("limit", 100, 1000).unwrap(), 5);
        assert_eq!(query.text("kind"), None);
        assert!(Query::parse(list(), None).is_ok());
    }

    #[test]
    fn bad_parameters_are_named() {
        let refused = |text| Query::parse(list(), Some(text)).unwrap_err();
        assert_eq!(refused("stat=dead").code(), Code::ParameterUnknown);
        assert!(refused("stat=dead").problem().detail.ends_with("did you mean ?state?"));
        assert_eq!(refused("queue=a&queue=b").code(), Code::FieldRepeated);
        assert_eq!(refused("queue=%ff").code(), Code::ValueRefused);
        for limit in ["0", "1001", "-1", "+5", "x", "", "99999999999999999999999"] {
            let text = format!("limit={}", limit.replace('+', "%2B"));
            let query = Query::parse(list(), Some(&text)).unwrap();
            assert!(query.count("limit", 100, 1000).is_err(), "{limit}");
        }
    }
}
