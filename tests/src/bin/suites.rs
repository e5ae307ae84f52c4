//! `suites [--cluster] [--chaos] [--peer kafka] [--record] [--build] [NAME…]` runs the client suites, all of them or
//! the named ones, against one broker or a cluster of three.

use millrace_tests::harness::Peer;
use millrace_tests::suites::{Mode, SUITES};

fn main() -> anyhow::Result<()> {
    let mut mode = Mode { peer: Peer::Millrace, record: false, cluster: false, chaos: false };
    let (mut build, mut names) = (false, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--peer" => mode.peer = if args.next().as_deref() == Some("kafka") { Peer::Kafka } else { Peer::Millrace },
            "--record" => mode.record = true,
            "--cluster" => mode.cluster = true,
            "--chaos" => mode.chaos = true,
            "--build" => build = true,
            name if SUITES.iter().any(|s| s.name == name) => names.push(name.to_owned()),
            other => anyhow::bail!("no suite {other}"),
        }
    }
    let chosen =
        SUITES.iter().filter(|s| s.fits(mode)).filter(|s| names.is_empty() || names.iter().any(|n| n == s.name));
    let (mut passed, mut failed) = (0, 0);
    for suite in chosen {
        // Whoever has to end this program can say where it was.
        println!("suite {} begins", suite.name);
        let outcome = suite.build().and_then(|()| if build { Ok(None) } else { suite.run(mode).map(Some) });
        match outcome {
            Ok(None) => {}
            Ok(Some(outcome)) => {
                outcome.failed.iter().for_each(|line| println!("{line}"));
                println!(
                    "{}: {} passed, {} failed, {:.0} s",
                    suite.name,
                    outcome.passed,
                    outcome.failed.len(),
                    outcome.took.as_secs_f64()
                );
                passed += outcome.passed;
                failed += outcome.failed.len();
            }
            Err(e) => {
                println!("{}\tfail\t{e:#}", suite.name);
                failed += 1;
            }
        }
    }
    println!("suites: {passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}
