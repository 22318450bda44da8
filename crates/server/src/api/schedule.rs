//! Schedules as they are set and told.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use longshore_derive::sparse;
use serde::de;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::{DurationText, InstantText, JobIdText, NewJob};

/// What may be given as `missed`.
pub const MISSED_EXPECTED: &str = "\"skip\", \"one\", \"all\" or \"within\" with a duration, as in \
                                   \"within 1h\"";

/// What becomes of slots that passed while nobody could fire them: `skip`, `one` (one job stands
/// for all), `all` (each is made up for, up to 1000), or `within 1h` (as `all`, but for older
/// ones).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MissedText {
    /// They are passed over.
    Skip,
    /// One job stands for all of them.
    #[default]
    One,
    /// Each is made up for.
    All,
    /// Each that is not older.
    Within(DurationText),
}

impl FromStr for MissedText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let within = || text.strip_prefix("within ")?.trim().parse().ok().map(Self::Within);
        match text {
            "skip" => Ok(Self::Skip),
            "one" => Ok(Self::One),
            "all" => Ok(Self::All),
            _ => within().ok_or_else(|| format!("\"{text}\" is not {MISSED_EXPECTED}")),
        }
    }
}

impl fmt::Display for MissedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.write_str("skip"),
            Self::One => f.write_str("one"),
            Self::All => f.write_str("all"),
            Self::Within(span) => write!(f, "within {span}"),
        }
    }
}

impl Serialize for MissedText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MissedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = MissedText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(MISSED_EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MissedText, E> {
                let malformed = |_| E::invalid_value(de::Unexpected::Str(text), &self);
                text.parse().map_err(malformed)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl utoipa::PartialSchema for MissedText {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        super::id::string_schema(
            "What becomes of slots that passed while nobody could fire them: `skip`, `one` (one \
             job stands for all), `all` (each, up to 1000 in a row), `within 1h` (as `all`, but \
             for older ones).",
            "^(skip|one|all|within [0-9]+(ms|s|m|h|d))$",
            "within 1h",
        )
    }
}

impl ToSchema for MissedText {
    fn name() -> Cow<'static, str> {
        "Missed".into()
    }
}

/// What a slot does while jobs of earlier ones have not ended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum OverlapText {
    /// It enqueues its job all the same.
    #[default]
    Allow,
    /// It passes.
    Skip,
    /// Its job waits for the end of the one before; where one waits so already, it passes.
    QueueOne,
    /// It cancels them and enqueues its job.
    CancelPrevious,
}

impl OverlapText {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Skip => "skip",
            Self::QueueOne => "queue_one",
            Self::CancelPrevious => "cancel_previous",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Skip, Self::QueueOne, Self::CancelPrevious];
}

/// A schedule as its owner wants it. What is left out is reset, but for `paused`.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody<'a> {
    /// At the wall times that it names: five fields, six with seconds first, or `@daily` and the
    /// like. Not together with `every`.
    pub cron: Option<String>,
    /// Again and again, so long after the slot before: at least `1s`. Not together with `cron`.
    pub every: Option<DurationText>,
    /// The time zone of `cron` by its IANA name; `UTC` where left out.
    pub time_zone: Option<String>,
    /// What each slot enqueues, with its `queue`. An `id`, `run_at`, `delay`, `expires_at`,
    /// `traceparent` or `cursor` can only be of one job.
    #[serde(borrow)]
    pub job: NewJob<'a>,
    /// Each slot is put off by up to so much, always the same for the same slot, and never as far
    /// as the slot after it.
    pub jitter: Option<DurationText>,
    /// No slot before this instant. With `every` it is the first one.
    pub starts_at: Option<InstantText>,
    /// No slot after this instant.
    pub ends_at: Option<InstantText>,
    /// What becomes of slots that passed; `one` where left out.
    pub missed: Option<MissedText>,
    /// What a slot does while earlier jobs have not ended; `allow` where left out.
    pub overlap: Option<OverlapText>,
    /// For people.
    pub description: Option<String>,
    /// Where it comes from, such as the file that it was imported from.
    pub source: Option<String>,
    /// Whether it is paused; left out, that stays as it is.
    pub paused: Option<bool>,
}

/// One time at which a schedule fires.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SlotRecord {
    /// The instant of the wall time that it stands for.
    pub at: InstantText,
    /// The same in the schedule's time zone, with its distance from UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// When it is due: later than that by its jitter.
    pub due: InstantText,
}

/// The last tick of a schedule.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TickRecord {
    /// Its slot.
    pub slot: InstantText,
    /// When it happened.
    pub at: InstantText,
    /// `enqueued`, `skipped` (earlier jobs had not ended), `missed` or `refused`.
    pub outcome: String,
    /// Why its job was refused: a problem code.
    pub code: Option<String>,
    /// The job that it enqueued.
    pub job: Option<JobIdText>,
    /// Somebody asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

/// A schedule at one moment.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ScheduleRecord<'a> {
    /// Its name.
    pub name: String,
    /// What its owner set.
    #[serde(borrow)]
    pub settings: ScheduleBody<'a>,
    /// Nothing comes until it is resumed.
    pub paused: bool,
    /// The slot that comes next.
    pub next: Option<SlotRecord>,
    /// The last tick.
    pub last: Option<TickRecord>,
    /// Slots that enqueued a job since it was created.
    pub enqueued_total: u64,
    /// Slots that were passed over as missed since then; of more than 100 at once, 100 are counted.
    pub missed_total: u64,
    /// Slots that passed since earlier jobs had not ended.
    pub skipped_total: u64,
    /// Slots whose job was refused.
    pub refused_total: u64,
    /// When it was created.
    pub created_at: InstantText,
    /// When its owner changed it last.
    pub changed_at: InstantText,
    /// Only in the answer to `run`: the job that was enqueued.
    pub job: Option<JobIdText>,
}

/// A page of schedules, in the order of their names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ScheduleList<'a> {
    /// The schedules.
    #[serde(borrow)]
    pub schedules: Vec<ScheduleRecord<'a>>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Slots that come.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SlotList {
    /// The slots, the next one first; of a paused schedule those that would come.
    pub slots: Vec<SlotRecord>,
}

/// When the next slot of a schedule is to be; what follows goes on from there.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NextRequest {
    /// So long after now.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub after: Option<DurationText>,
    /// At this instant, instead; one that has passed means now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<InstantText>,
}

/// The slot of a schedule that a job stands for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct JobTickRecord {
    /// The name of the schedule.
    pub name: String,
    /// The slot; where somebody asked for it, when.
    pub slot: InstantText,
    /// Somebody asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}
