//! Settings of jemalloc, for programs that use it for both Rust and RocksDB. The allocator reads them through this
//! symbol before `main`, so that they cannot be set later.
//!
//! Few arenas, because the program has few busy threads and every arena keeps free pages of its own; memory that was
//! freed goes back to the system within a second, done by a thread of the allocator instead of by whoever frees.

/// The allocator's options, ended by a zero byte (`man 3 jemalloc`, TUNING).
const OPTIONS: &[u8] = b"background_thread:true,narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0,lg_tcache_max:15\0";

/// What jemalloc declares as `const char *malloc_conf`.
#[repr(transparent)]
pub struct MallocConf(*const u8);

// SAFETY: the pointer leads to constant bytes.
unsafe impl Sync for MallocConf {}

// SAFETY: the only definition of jemalloc's weak symbol, with the type that it declares.
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: MallocConf = MallocConf(OPTIONS.as_ptr());

/// The options that the allocator was given. A program that calls this is linked with them.
pub fn allocator_options() -> &'static str {
    let conf = std::hint::black_box(&MALLOC_CONF);
    debug_assert!(!conf.0.is_null());
    std::str::from_utf8(OPTIONS).unwrap_or_default().trim_end_matches('\0')
}
