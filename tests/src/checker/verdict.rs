//! Promises that were broken.

use std::collections::BTreeMap;
use std::fmt;

use super::{At, Commit, End, Id, Logged, Read};

/// A promise that was broken; README.md defines each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    Lost(At),
    Moved { acknowledged: At, found: At },
    Twice { first: At, second: At },
    OutOfOrder { before: At, after: At },
    Conflict { partition: i32, offset: i64, ids: (Id, Id) },
    Gap { partition: i32, expected: i64, found: i64 },
    Phantom(At),
    ReadAndGone(Read),
    WentBack { before: Read, after: Read },
    Skipped { before: Read, after: Read },
    StaleEnd { end: End, acknowledged: At },
    EndWentBack { before: End, after: End },
    CommitWentBack { before: Commit, after: Commit },
    CommitFromNowhere(Commit),
    EpochWentBack { before: Logged, after: Logged },
    EpochChanged { partition: i32, offset: i64, epochs: (i32, i32) },
}

impl Violation {
    /// The name of each class, as README.md has it.
    pub const CLASSES: [&str; 16] = [
        "Lost",
        "Moved",
        "Twice",
        "OutOfOrder",
        "Conflict",
        "Gap",
        "Phantom",
        "ReadAndGone",
        "WentBack",
        "Skipped",
        "StaleEnd",
        "EndWentBack",
        "CommitWentBack",
        "CommitFromNowhere",
        "EpochWentBack",
        "EpochChanged",
    ];

    pub fn class(&self) -> &'static str {
        match self {
            Violation::Lost(_) => "Lost",
            Violation::Moved { .. } => "Moved",
            Violation::Twice { .. } => "Twice",
            Violation::OutOfOrder { .. } => "OutOfOrder",
            Violation::Conflict { .. } => "Conflict",
            Violation::Gap { .. } => "Gap",
            Violation::Phantom(_) => "Phantom",
            Violation::ReadAndGone(_) => "ReadAndGone",
            Violation::WentBack { .. } => "WentBack",
            Violation::Skipped { .. } => "Skipped",
            Violation::StaleEnd { .. } => "StaleEnd",
            Violation::EndWentBack { .. } => "EndWentBack",
            Violation::CommitWentBack { .. } => "CommitWentBack",
            Violation::CommitFromNowhere(_) => "CommitFromNowhere",
            Violation::EpochWentBack { .. } => "EpochWentBack",
            Violation::EpochChanged { .. } => "EpochChanged",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// How often each class was broken, and its first cases.
pub fn report(violations: &[Violation]) -> String {
    const SHOWN: usize = 4;
    let mut classes: BTreeMap<&str, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        classes.entry(violation.class()).or_default().push(violation);
    }
    let mut out = String::new();
    for (class, found) in classes {
        out += &format!("{class}: {}\n", found.len());
        found.iter().take(SHOWN).for_each(|v| out += &format!("  {v}\n"));
    }
    out
}
