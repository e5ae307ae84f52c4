//! Where the replicas of a broker that is to be emptied go.

use std::collections::BTreeMap;

/// A partition and the brokers that hold it, the preferred leader first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub topic: String,
    pub partition: i32,
    pub replicas: Vec<i32>,
}

/// Replaces `leaving` in every partition that it holds: first by brokers on racks that the partition does not use yet,
/// among them by the one that leads least, where the leader is replaced, and then by the one that holds least.
/// `targets` are the brokers that may take replicas, with their racks.
///
/// # Errors
/// The first partition for which there is no other broker.
pub fn drain(all: &[Placed], leaving: i32, targets: &BTreeMap<i32, Option<String>>) -> Result<Vec<Placed>, Placed> {
    let mut replicas: BTreeMap<i32, usize> = BTreeMap::new();
    let mut leaders = replicas.clone();
    for placed in all {
        placed.replicas.iter().for_each(|id| *replicas.entry(*id).or_default() += 1);
        placed.replicas.first().into_iter().for_each(|id| *leaders.entry(*id).or_default() += 1);
    }
    let mut moved = Vec::new();
    for placed in all.iter().filter(|placed| placed.replicas.contains(&leaving)) {
        let stay: Vec<i32> = placed.replicas.iter().copied().filter(|id| *id != leaving).collect();
        let leads = placed.replicas.first() == Some(&leaving);
        let rack_mates = |id: &i32| {
            let rack = targets.get(id).and_then(Option::as_ref);
            stay.iter().filter(|s| rack.is_some() && targets.get(s).and_then(Option::as_ref) == rack).count()
        };
        let held = |id: &i32| replicas.get(id).copied().unwrap_or(0);
        let led = |id: &i32| if leads { leaders.get(id).copied().unwrap_or(0) } else { 0 };
        let free = targets.keys().filter(|id| **id != leaving && !stay.contains(id));
        let chosen = free.min_by_key(|id| (rack_mates(id), led(id), held(id), **id)).copied();
        let chosen = chosen.ok_or_else(|| placed.clone())?;
        *replicas.entry(chosen).or_default() += 1;
        if leads {
            *leaders.entry(chosen).or_default() += 1;
        }
        let replicas = placed.replicas.iter().map(|id| if *id == leaving { chosen } else { *id }).collect();
        moved.push(Placed { replicas, ..placed.clone() });
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(partition: i32, replicas: &[i32]) -> Placed {
        Placed { topic: "t".into(), partition, replicas: replicas.to_vec() }
    }

    fn brokers(racks: &[(i32, &str)]) -> BTreeMap<i32, Option<String>> {
        racks.iter().map(|(id, rack)| (*id, (!rack.is_empty()).then(|| (*rack).to_owned()))).collect()
    }

    #[test]
    fn replicas_go_to_those_that_hold_least_and_keep_their_place() {
        let all = [placed(0, &[1, 2]), placed(1, &[2, 1]), placed(2, &[2, 3]), placed(3, &[1, 2])];
        let moved = drain(&all, 1, &brokers(&[(1, ""), (2, ""), (3, ""), (4, "")])).unwrap();
        assert_eq!(moved, [placed(0, &[4, 2]), placed(1, &[2, 3]), placed(3, &[3, 2])]);
    }

    #[test]
    fn racks_come_first() {
        let all = [placed(0, &[1, 2])];
        let moved = drain(&all, 1, &brokers(&[(1, "a"), (2, "b"), (3, "b"), (4, "a")])).unwrap();
        assert_eq!(moved, [placed(0, &[4, 2])]);
    }

    #[test]
    fn without_another_broker_nothing_is_moved() {
        let all = [placed(0, &[2]), placed(1, &[1, 2])];
        assert_eq!(drain(&all, 1, &brokers(&[(1, ""), (2, "")])), Err(placed(1, &[1, 2])));
    }
}
