//! `millrace-broker`: reads its configuration, starts, serves, and stops on a signal.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use millrace_broker::config::{Settings, print};
use millrace_broker::run::StartError;
use millrace_broker::run::args::Args;
use millrace_broker::run::files;
use millrace_broker::run::logging::Loggers;
use millrace_broker::run::node::start;
use millrace_store::allocator_options;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Threads for work that waits for the disk; each costs memory only while it is in use.
const BLOCKING_THREADS: usize = 64;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace-broker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), StartError> {
    let settings = Settings::gather(args.file.as_deref(), std::env::vars(), &args.overrides)?;
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
