//! `millrace`: administers a cluster that speaks Kafka's protocol.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod brokers;
mod cluster;
mod error;
mod groups;
mod output;
mod partitions;
mod placement;
mod session;
mod topics;
mod versions;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use error::Error;
use session::Session;

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(Error::Usage(format!("cannot start: {error}"))),
    };
    match outcome {
        Ok(text) => output::print(&text),
        Err(error) => {
            eprintln!("millrace: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<String, Error> {
    let mut session = Session::open(&args.bootstrap_server, args.timeout()).await?;
    match args.command {
        Command::Topics { command } => topics::run(&mut session, command).await,
        Command::Cluster { command } => cluster::run(&mut session, command).await,
        Command::Brokers { command } => brokers::run(&mut session, command).await,
        Command::Partitions { command } => partitions::run(&mut session, command).await,
        Command::Groups { command } => groups::run(&mut session, command).await,
        Command::ApiVersions => versions::run(&mut session).await,
    }
}
