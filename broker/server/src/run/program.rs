//! The programs: they read their configuration, start, serve, and stop on a signal.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};
use millrace_store::allocator_options;
use tokio::signal::unix::{SignalKind, signal};

use super::StartError;
use super::args::Args;
use super::files;
use super::logging::Loggers;
use super::node::start;
use crate::config::{ConfigError, Settings, print};

/// Threads for work that waits for the disk; each costs memory only while it is in use.
const BLOCKING_THREADS: usize = 64;

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `millrace-broker`: whatever `process.roles` says.
    Broker,
    /// `millrace-controller`: a controller and nothing else.
    Controller,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Broker => "millrace-broker",
            Program::Controller => "millrace-controller",
        }
    }
}

/// What `millrace-controller` takes for granted where nothing else is set.
const CONTROLLER_DEFAULTS: [(&str, &str); 3] = [
    ("process.roles", "controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("listeners", "CONTROLLER://localhost:9093"),
];

/// Runs a program from its arguments to its end.
pub fn main(program: Program) -> ExitCode {
    let matches = Args::command().name(program.name()).get_matches();
    let args = match Args::from_arg_matches(&matches) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match run(program, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", program.name());
            ExitCode::FAILURE
        }
    }
}

/// The settings of a program.
///
/// # Errors
/// Those of [`Settings::gather`]; a role that the program does not have.
pub fn settings(
    program: Program,
    file: Option<&Path>,
    variables: &[(String, String)],
    overrides: &[String],
) -> Result<Settings, ConfigError> {
    let gather = |overrides: &[String]| Settings::gather(file, variables.iter().cloned(), overrides);
    let settings = gather(overrides)?;
    if program == Program::Broker {
        return Ok(settings);
    }
    let missing = CONTROLLER_DEFAULTS.iter().filter(|(key, _)| settings.own(key).is_none());
    let given = missing.map(|(key, value)| format!("{key}={value}"));
    let settings = gather(&overrides.iter().cloned().chain(given).collect::<Vec<_>>())?;
    match settings.own("process.roles") {
        Some(roles) if roles.value.trim() != "controller" => Err(ConfigError::Together(format!(
            "process.roles={}: this program is a controller alone; start millrace-broker for other roles",
            roles.value
        ))),
        _ => Ok(settings),
    }
}

fn run(program: Program, args: Args) -> Result<(), StartError> {
    let variables: Vec<(String, String)> = std::env::vars().collect();
    let settings = settings(program, args.file.as_deref(), &variables, &args.overrides)?;
    if args.print_config {
        print!("{}", print(&settings));
        return Ok(());
    }
    let root_level = std::env::var("KAFKA_LOG4J_ROOT_LOGLEVEL").ok();
    let loggers = Arc::new(Loggers::install(root_level.as_deref()));
    tracing::debug!(options = allocator_options(), "allocator");
    files::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("broker")
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| StartError::part("threads", error))?;
    let result = runtime.block_on(serve(settings, args.cluster_id, loggers));
    // What must be kept is on the disk by now; threads that still wait for something are not waited for.
    runtime.shutdown_background();
    result
}

async fn serve(settings: Settings, cluster_id: Option<String>, loggers: Arc<Loggers>) -> Result<(), StartError> {
    let part = |error| StartError::part("signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(part)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(part)?;
    let running = tokio::select! {
        started = start(settings, cluster_id, loggers) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    println!("{}", running.ready_line());
    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        why = running.failed() => Some(why),
    };
    if let Some(why) = failure {
        return Err(why);
    }
    tracing::info!("stopping");
    // Whoever asks twice does not want to wait.
    tokio::select! {
        stopped = running.stop() => {
            tracing::info!("stopped");
            stopped
        }
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(overrides: &[&str]) -> Result<Settings, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        settings(Program::Controller, None, &[], &overrides)
    }

    #[test]
    fn a_controller_needs_no_settings_and_takes_no_other_role() {
        let settings = given(&[]).unwrap();
        assert_eq!(settings.own("listeners").unwrap().value, "CONTROLLER://localhost:9093");
        let settings = given(&["listeners=CONTROLLER://:7"]).unwrap();
        assert_eq!(settings.own("listeners").unwrap().value, "CONTROLLER://:7");
        let refused = given(&["process.roles=broker,controller"]).unwrap_err().to_string();
        assert!(refused.contains("millrace-broker"), "{refused}");
    }
}
