//! `suites [--peer kafka] [--record] [--build] [NAME…]` runs the client suites, all of them or the named ones.

use millrace_tests::harness::Peer;
use millrace_tests::suites::SUITES;

fn main() -> anyhow::Result<()> {
    let (mut peer, mut record, mut build, mut names) = (Peer::Millrace, false, false, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--peer" => peer = if args.next().as_deref() == Some("kafka") { Peer::Kafka } else { Peer::Millrace },
            "--record" => record = true,
            "--build" => build = true,
            name if SUITES.iter().any(|s| s.name == name) => names.push(name.to_owned()),
            other => anyhow::bail!("no suite {other}"),
        }
    }
    let chosen = SUITES.iter().filter(|s| names.is_empty() || names.iter().any(|n| n == s.name));
    let (mut passed, mut failed) = (0, 0);
    for suite in chosen {
        let outcome = suite.build().and_then(|()| if build { Ok(None) } else { suite.run(peer, record).map(Some) });
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
