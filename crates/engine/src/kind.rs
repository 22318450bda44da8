//! Versions of kinds: what a worker runs of one, and what is told of each.

mod settings;

pub use settings::KindSettings;
pub(crate) use settings::KindsSet;

/// Versions that are known of one kind, at most: a worker that names a range looks for each.
pub(crate) const VERSIONS_PER_KIND_MAX: usize = 1000;

/// Versions of one kind that a worker runs.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KindRange {
    /// The name of the kind.
    pub kind: String,
    /// The first version; 0 stands for jobs that have none.
    pub from: u32,
    /// The last version, which is part of it.
    pub to: u32,
}

impl KindRange {
    /// Only the jobs of a kind that have no version.
    pub fn unversioned(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), from: 0, to: 0 }
    }

    /// Whether jobs of that version are run.
    pub fn holds(&self, version: u32) -> bool {
        (self.from..=self.to).contains(&version)
    }
}

impl From<&str> for KindRange {
    fn from(kind: &str) -> Self {
        Self::unversioned(kind)
    }
}

/// What is asked of kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum KindCommand {
    /// Each version of each kind, in the order of names and versions.
    List {
        /// The last name and version that was seen.
        after: Option<(String, u32)>,
        /// How many at most.
        limit: usize,
    },
    /// The versions of one kind, with the names of workers.
    Get {
        /// Its name.
        name: String,
    },
    /// Of each of these queues, kinds and versions, whether no worker runs it there.
    Unserved {
        /// What is asked for.
        of: Vec<KindInQueue>,
    },
    /// Set something of a kind, in all of its versions. What the settings leave out is reset.
    Put {
        /// Its name.
        name: String,
        /// What holds from now on.
        settings: Box<KindSettings>,
    },
}

/// A version of a kind in one queue.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KindInQueue {
    /// The queue.
    pub queue: String,
    /// The kind.
    pub kind: String,
    /// Its version; 0 for none.
    pub version: u32,
}

/// One version of a kind at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KindView {
    /// Its name.
    pub name: String,
    /// Its version; 0 for none.
    pub version: u32,
    /// Jobs that wait, whatever for.
    pub waiting: u64,
    /// Jobs that have a lease.
    pub running: u64,
    /// Sessions of workers that ask for it, or asked for it lately; `None` where that takes too
    /// long to find out.
    pub consumers: Option<u64>,
    /// Names of such workers, where one kind is asked for; of very many, only some.
    pub workers: Vec<String>,
}

/// A kind as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct KindDetail {
    /// Its name.
    pub name: String,
    /// What is set of it.
    pub settings: KindSettings,
    /// Gates on which it depends.
    pub gates: Vec<String>,
    /// Limits that count its jobs by themselves.
    pub limits: Vec<String>,
    /// Service levels that are about it.
    pub slas: Vec<String>,
    /// Its versions that are known, in their order.
    pub versions: Vec<KindView>,
}

/// The answer to a [`KindCommand`].
#[derive(Clone, Debug, PartialEq)]
pub enum KindAnswer {
    /// To `List`, and whether more follow.
    Kinds(Vec<KindView>, bool),
    /// To `Unserved`, one for each.
    Unserved(Vec<bool>),
    /// To `Get` and `Put`.
    Kind(Box<KindDetail>),
}
