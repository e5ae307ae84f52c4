//! The checks are checked: every mistake is found, and soon.

use crate::mutation::ALL;
use crate::run::run;

/// A mistake that this many seeds do not show is not found.
const SEEDS: u64 = 400;

#[test]
fn mistakes_are_found() {
    let mut missed = Vec::new();
    for mutation in ALL {
        let failure = (1..=SEEDS).find_map(|seed| run(seed, Some(mutation), false).err());
        match failure.filter(|f| f.rule != "nothing panics") {
            Some(failure) => println!("{mutation:?}: seed {}: {}", failure.seed, failure.rule),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}
