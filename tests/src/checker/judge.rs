//! Records: what was sent, read and found, against the log.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::commits::commits;
use super::{At, End, History, Id, Logged, Moment, Outcome, Read, Send, Violation};

/// All violations of a history.
pub fn check(history: &History) -> Vec<Violation> {
    let mut out = Vec::new();
    let sends: BTreeMap<Id, &Send> = history.sends.iter().map(|s| (s.id, s)).collect();
    let places = log(history, &sends, &mut out);
    acknowledged(history, &places, &mut out);
    conflicts(history, &mut out);
    reads(history, &sends, &mut out);
    ends(history, &places, &mut out);
    commits(&history.commits, &mut out);
    out
}

/// From the election of a leader to the first acknowledged record of its own epoch, at most.
const HAND_OVER: Moment = 2_000_000_000;

/// Checks the log by itself and returns where each record stands.
fn log(history: &History, sends: &BTreeMap<Id, &Send>, out: &mut Vec<Violation>) -> BTreeMap<Id, Logged> {
    let mut places = BTreeMap::new();
    let mut previous: BTreeMap<i32, Logged> = BTreeMap::new();
    let mut newest: BTreeMap<(i32, u32), At> = BTreeMap::new();
    for logged in &history.log {
        let at = logged.at;
        let before = previous.insert(at.partition, *logged);
        let expected = before.map_or(0, |b| b.at.offset + 1);
        if at.offset != expected {
            out.push(Violation::Gap { partition: at.partition, expected, found: at.offset });
        }
        if let Some(before) = before.filter(|b| b.epoch > logged.epoch) {
            out.push(Violation::EpochWentBack { before, after: *logged });
        }
        if sends.get(&at.id).is_none_or(|s| s.outcome == Outcome::Failed) {
            out.push(Violation::Phantom(at));
        }
        match places.entry(at.id) {
            Entry::Occupied(first) => {
                let first: &Logged = first.get();
                out.push(Violation::Twice { first: first.at, second: at });
            }
            Entry::Vacant(place) => {
                place.insert(*logged);
            }
        }
        if let Some(before) = newest.insert((at.partition, at.id.producer), at)
            && before.id.number > at.id.number
        {
            out.push(Violation::OutOfOrder { before, after: at });
        }
    }
    places
}

fn place_of(send: &Send) -> Option<At> {
    match send.outcome {
        Outcome::Acknowledged { offset, .. } => Some(At { partition: send.partition, offset, id: send.id }),
        Outcome::Failed | Outcome::Unknown => None,
    }
}

fn acknowledged(history: &History, places: &BTreeMap<Id, Logged>, out: &mut Vec<Violation>) {
    for at in history.sends.iter().filter_map(place_of) {
        match places.get(&at.id) {
            None => out.push(Violation::Lost(at)),
            Some(found) if found.at != at => out.push(Violation::Moved { acknowledged: at, found: found.at }),
            Some(_) => {}
        }
    }
}

/// One offset has one value and one epoch, whoever looks.
fn conflicts(history: &History, out: &mut Vec<Violation>) {
    let mut values: HashMap<(i32, i64), Id> = HashMap::new();
    let log = history.log.iter().map(|l| l.at);
    let acknowledged = history.sends.iter().filter_map(place_of);
    for at in log.chain(acknowledged).chain(history.reads.iter().map(|r| r.at)) {
        let known = *values.entry((at.partition, at.offset)).or_insert(at.id);
        if known != at.id {
            out.push(Violation::Conflict { partition: at.partition, offset: at.offset, ids: (known, at.id) });
        }
    }
    let mut epochs: HashMap<(i32, i64), i32> = HashMap::new();
    let log = history.log.iter().map(|l| (l.at, l.epoch));
    for (at, epoch) in log.chain(history.reads.iter().filter_map(|r| Some((r.at, r.epoch?)))) {
        let known = *epochs.entry((at.partition, at.offset)).or_insert(epoch);
        if known != epoch {
            out.push(Violation::EpochChanged { partition: at.partition, offset: at.offset, epochs: (known, epoch) });
        }
    }
}

fn reads(history: &History, sends: &BTreeMap<Id, &Send>, out: &mut Vec<Violation>) {
    let by_offset: HashMap<(i32, i64), Id> =
        history.log.iter().map(|l| ((l.at.partition, l.at.offset), l.at.id)).collect();
    let mut newest: HashMap<(u64, i32), Read> = HashMap::new();
    for read in &history.reads {
        let at = read.at;
        if by_offset.get(&(at.partition, at.offset)) != Some(&at.id) {
            out.push(Violation::ReadAndGone(*read));
        }
        if sends.get(&at.id).is_none_or(|s| s.outcome == Outcome::Failed) {
            out.push(Violation::Phantom(at));
        }
        if let Some(before) = newest.insert((read.session, at.partition), *read) {
            if at.offset <= before.at.offset {
                out.push(Violation::WentBack { before, after: *read });
            } else if at.offset > before.at.offset + 1 {
                out.push(Violation::Skipped { before, after: *read });
            }
        }
    }
}

/// An acknowledged record of a partition.
struct Ack {
    moment: Moment,
    at: At,
    epoch: i32,
    resent: bool,
}

fn ends(history: &History, places: &BTreeMap<Id, Logged>, out: &mut Vec<Violation>) {
    let mut acks: BTreeMap<i32, Vec<Ack>> = BTreeMap::new();
    for send in &history.sends {
        if let Outcome::Acknowledged { at: moment, .. } = send.outcome
            && let (Some(at), Some(logged)) = (place_of(send), places.get(&send.id))
        {
            acks.entry(send.partition).or_default().push(Ack { moment, at, epoch: logged.epoch, resent: send.resent });
        }
    }
    acks.values_mut().for_each(|list| list.sort_by_key(|ack| ack.moment));
    let mut questions: BTreeMap<i32, Vec<End>> = BTreeMap::new();
    history.ends.iter().for_each(|end| questions.entry(end.partition).or_default().push(*end));
    for (partition, mut list) in questions {
        list.sort_by_key(|end| end.begun);
        stale(&list, acks.get(&partition).map_or(&[], Vec::as_slice), out);
        backward(&list, out);
    }
}

/// `acks` are in order of time. A record that one leader wrote may be acknowledged by the next one, to a client that
/// sent it again: what such a client was told shortly before the first record of a newer epoch, or after it, does not
/// bind a leader of an older epoch.
fn stale(list: &[End], acks: &[Ack], out: &mut Vec<Violation>) {
    for end in list {
        let succeeded = acks.iter().find(|ack| ack.epoch > end.epoch).map_or(u64::MAX, |ack| ack.moment);
        let binds = |ack: &&Ack| ack.epoch <= end.epoch && (!ack.resent || ack.moment + HAND_OVER <= succeeded);
        let known = acks.iter().take_while(|ack| ack.moment < end.begun).filter(binds);
        let newest = known.map(|ack| ack.at).max_by_key(|at| at.offset);
        if let Some(acknowledged) = newest.filter(|at| end.offset <= at.offset) {
            out.push(Violation::StaleEnd { end: *end, acknowledged });
        }
    }
}

fn backward(list: &[End], out: &mut Vec<Violation>) {
    let mut by_finish: Vec<&End> = list.iter().collect();
    by_finish.sort_by_key(|end| end.ended);
    let mut finished = 0;
    let mut largest: BTreeMap<i32, End> = BTreeMap::new();
    for end in list {
        while let Some(earlier) = by_finish.get(finished).filter(|e| e.ended < end.begun) {
            let top = largest.entry(earlier.epoch).or_insert(**earlier);
            if earlier.offset > top.offset {
                *top = **earlier;
            }
            finished += 1;
        }
        let newest = largest.range(..=end.epoch).map(|(_, e)| *e).max_by_key(|e| e.offset);
        if let Some(before) = newest.filter(|e| end.offset < e.offset) {
            out.push(Violation::EndWentBack { before, after: *end });
        }
    }
}
