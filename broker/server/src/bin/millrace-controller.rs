//! `millrace-controller`: a controller alone.

use std::process::ExitCode;

use millrace_broker::run::program::{Program, main as run};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    run(Program::Controller)
}
