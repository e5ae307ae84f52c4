//! Committed offsets of the group.

use std::collections::BTreeMap;

use super::{Commit, CommitKind, Violation};

/// Offsets that were found or acknowledged, against those acknowledged before.
pub fn commits(all: &[Commit], out: &mut Vec<Violation>) {
    let mut partitions: BTreeMap<i32, Vec<Commit>> = BTreeMap::new();
    all.iter().for_each(|c| partitions.entry(c.partition).or_default().push(*c));
    for list in partitions.values_mut() {
        list.sort_by_key(|c| c.begun);
        backward(list, out);
        from_nowhere(list, out);
    }
}

fn backward(list: &[Commit], out: &mut Vec<Violation>) {
    let mut done: Vec<&Commit> = list.iter().filter(|c| c.kind == CommitKind::Acknowledged).collect();
    done.sort_by_key(|c| c.ended);
    let (mut finished, mut largest) = (0, None::<Commit>);
    for commit in list {
        while let Some(earlier) = done.get(finished).filter(|c| c.ended < commit.begun) {
            if largest.is_none_or(|l| l.offset < earlier.offset) {
                largest = Some(**earlier);
            }
            finished += 1;
        }
        let counts = matches!(commit.kind, CommitKind::Acknowledged | CommitKind::Found);
        if let Some(before) = largest.filter(|l| counts && commit.offset < l.offset) {
            out.push(Violation::CommitWentBack { before, after: *commit });
        }
    }
}

fn from_nowhere(list: &[Commit], out: &mut Vec<Violation>) {
    for found in list.iter().filter(|c| c.kind == CommitKind::Found && c.offset >= 0) {
        let tried = |c: &&Commit| matches!(c.kind, CommitKind::Acknowledged | CommitKind::Unknown);
        let known = list.iter().filter(tried).any(|c| c.offset == found.offset && c.begun < found.ended);
        if !known {
            out.push(Violation::CommitFromNowhere(*found));
        }
    }
}
