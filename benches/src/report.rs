//! What was measured: every sample to a file of JSON lines, medians and ratios to a table.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Beyond so much of a core used by others a sample says little.
const OTHER_CPU_PERCENT_MAX: f64 = 40.0;

/// Something that can be measured on both sides.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Measure {
    /// Its name in the raw results and in the series.
    pub(crate) name: &'static str,
    /// The same for people.
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
}

/// What ours shall reach. Hundredths, so that it can be compared and stays exact.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    AtLeast(u32),
    AtMost(u32),
    /// Of ours to the peer's.
    RatioAtLeast(u32),
    RatioAtLeastPercent {
        percent: u32,
    },
    RatioAtMost {
        percent: u32,
    },
}

impl Target {
    fn is_met(self, ours: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(ours >= f64::from(least)),
            Self::AtMost(most) => Some(ours <= f64::from(most)),
            Self::RatioAtLeast(least) => ratio.map(|it| it >= f64::from(least)),
            Self::RatioAtLeastPercent { percent } => {
                ratio.map(|it| it * 100.0 >= f64::from(percent))
            }
            Self::RatioAtMost { percent } => ratio.map(|it| it * 100.0 <= f64::from(percent)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {}", show(f64::from(*least))),
            Self::AtMost(most) => write!(f, "<= {}", show(f64::from(*most))),
            Self::RatioAtLeast(least) => write!(f, ">= {least} x"),
            Self::RatioAtLeastPercent { percent } => {
                write!(f, ">= {} x", f64::from(*percent) / 100.0)
            }
            Self::RatioAtMost { percent } => write!(f, "<= {} x", f64::from(*percent) / 100.0),
        }
    }
}

/// One figure, and what belongs to it (processor use, quantiles).
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) measure: &'static Measure,
    pub(crate) value: f64,
    pub(crate) details: Vec<(&'static str, f64)>,
}

impl Figure {
    pub(crate) fn new(
        measure: &'static Measure,
        value: f64,
        details: impl Into<Vec<(&'static str, f64)>>,
    ) -> Self {
        Self { measure, value, details: details.into() }
    }
}

/// Who was measured; `None` is Longshore.
pub(crate) type Side = Option<&'static str>;

#[derive(Debug)]
struct Sample {
    measure: &'static Measure,
    side: Side,
    value: f64,
}

/// One line of the table and of the series.
#[derive(Debug, Serialize)]
struct Row {
    measure: &'static str,
    #[serde(skip)]
    what: &'static str,
    unit: &'static str,
    ours: Option<f64>,
    peer: Side,
    theirs: Option<f64>,
    ratio: Option<f64>,
    target: String,
    met: Option<bool>,
}

/// Everything measured so far.
#[derive(Debug)]
pub(crate) struct Report {
    samples: Vec<Sample>,
    /// Samples taken while something else used the processors.
    disturbed: usize,
    raw: File,
    raw_path: PathBuf,
}

impl Report {
    /// Opens the file of raw results and writes what was measured with which settings.
    pub(crate) fn create(settings: &Value) -> Result<Self> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let folder = results();
        std::fs::create_dir_all(&folder)?;
        let raw_path = folder.join(format!("raw-{now_s}.jsonl"));
        let mut raw = File::create(&raw_path)
            .with_context(|| format!("cannot write {}", raw_path.display()))?;
        writeln!(raw, "{settings}")?;
        Ok(Self { samples: Vec::new(), disturbed: 0, raw, raw_path })
    }

    /// Keeps what one run of one side showed, and says it.
    pub(crate) fn add(&mut self, side: Side, pair: u32, figures: Vec<Figure>) -> Result<()> {
        for Figure { measure, value, details } in figures {
            let name = side.unwrap_or("Longshore");
            let mut line = Map::new();
            line.insert("measure".into(), measure.name.into());
            line.insert("side".into(), name.into());
            line.insert("pair".into(), pair.into());
            line.insert("value".into(), json!(value));
            line.insert("unit".into(), measure.unit.into());
            let shown = details.iter().map(|(key, value)| format!("{key} {}", show(*value)));
            let shown = shown.collect::<Vec<_>>().join(", ");
            line.extend(details.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
            writeln!(self.raw, "{}", Value::Object(line))?;
            let value_shown = show(value);
            say(&format!(
                "  {pair}: {name} {value_shown} {} {} ({shown})",
                measure.unit, measure.name
            ));
            self.samples.push(Sample { measure, side, value });
            let other = |(key, value): &(&str, f64)| {
                matches!(*key, "other_cpu_percent" | "stolen_cpu_percent")
                    && *value > OTHER_CPU_PERCENT_MAX
            };
            self.disturbed += usize::from(details.iter().any(other));
        }
        Ok(())
    }

    /// Prints the table; with `record`, adds it to the series in git.
    pub(crate) fn finish(&self, record: bool) -> Result<()> {
        let rows = self.rows();
        say("\n| what | Longshore | peer | ratio | target | |\n|---|---|---|---|---|---|");
        for row in &rows {
            let theirs = row.theirs.zip(row.peer);
            let theirs =
                theirs.map_or_else(|| "-".to_owned(), |(it, name)| format!("{} {name}", show(it)));
            let ratio = row.ratio.map_or_else(|| "-".to_owned(), |it| format!("{it:.2}"));
            let met = row.met.map_or("", |met| if met { "met" } else { "MISSED" });
            let Row { what, ours, unit, target, .. } = row;
            let ours = ours.map_or_else(|| "-".to_owned(), |it| format!("{} {unit}", show(it)));
            say(&format!("| {what} | {ours} | {theirs} | {ratio} | {target} | {met} |"));
        }
        if self.disturbed > 0 {
            say(&format!(
                "\nNOT QUIET: during {} of {} samples others used more than {OTHER_CPU_PERCENT_MAX} \
                 % of a core; neither figures nor ratios hold for this machine at rest",
                self.disturbed,
                self.samples.len()
            ));
        }
        say(&format!("\nraw results: {}", self.raw_path.display()));
        if record {
            let path = results().join("series.jsonl");
            let mut series = OpenOptions::new().create(true).append(true).open(&path)?;
            let line = json!({
                "commit": commit(),
                "disturbed_samples": self.disturbed,
                "rows": rows,
            });
            writeln!(series, "{line}")?;
            say(&format!("added to {}", path.display()));
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let mut measures: Vec<&'static Measure> = Vec::new();
        for sample in &self.samples {
            if !measures.contains(&sample.measure) {
                measures.push(sample.measure);
            }
        }
        measures.into_iter().flat_map(|measure| self.rows_of(measure)).collect()
    }

    /// One beside each peer, or one alone.
    fn rows_of(&self, measure: &'static Measure) -> Vec<Row> {
        let mut peers: Vec<Side> = Vec::new();
        for sample in self.samples.iter().filter(|it| it.measure == measure) {
            if sample.side.is_some() && !peers.contains(&sample.side) {
                peers.push(sample.side);
            }
        }
        if peers.is_empty() {
            peers.push(None);
        }
        peers.into_iter().map(|peer| self.row(measure, peer)).collect()
    }

    fn row(&self, measure: &'static Measure, peer: Side) -> Row {
        let of = |side: Side| {
            let samples = self.samples.iter();
            let samples = samples.filter(|it| it.measure == measure && it.side == side);
            median(samples.map(|it| it.value).collect())
        };
        let ours = of(None);
        let theirs = peer.and_then(|peer| of(Some(peer)));
        let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
        Row {
            measure: measure.name,
            what: measure.what,
            unit: measure.unit,
            ours,
            peer,
            theirs,
            ratio,
            target: measure.target.to_string(),
            met: ours.and_then(|ours| measure.target.is_met(ours, ratio)),
        }
    }
}

/// The middle value; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// A number as people read it: three digits that count, thousands apart.
fn show(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.1}").trim_end_matches(".0").to_owned();
    }
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Says something to the person who waits.
#[expect(clippy::print_stdout, reason = "the table on standard output is what this is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = git.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn numbers_for_people() {
        for (value, shown) in
            [(0.0, "0"), (57.25, "57.2"), (123.4, "123"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(show(value), shown);
        }
    }

    #[test]
    fn targets() {
        assert_eq!(Target::AtLeast(150_000).is_met(150_000.0, None), Some(true));
        assert_eq!(Target::RatioAtLeast(3).is_met(1.0, Some(2.9)), Some(false));
        assert_eq!(Target::RatioAtLeast(3).is_met(1.0, None), None);
        let most = Target::RatioAtMost { percent: 150 };
        assert_eq!(most.is_met(1.0, Some(1.5)), Some(true));
        assert_eq!(most.to_string(), "<= 1.5 x");
    }
}
