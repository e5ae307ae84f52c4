# Everything a developer does. `make deps` once on a fresh Debian 12 as root; then `make run`, `make test`.
SHELL := /bin/bash
CARGO ?= cargo
ROUNDS ?= 500
BENCH ?=
BROKER := target/release/millrace-broker

# RocksDB takes a quarter of an hour of two cores to compile. Its archive is kept per version and flags, and a fresh
# clone links it instead of compiling it again; without one it is compiled.
MILLRACE_CACHE ?= $(HOME)/.cache/millrace
ROCKSDB_VERSION := $(shell sed -n '/^name = "librocksdb-sys"/{n;s/.*"\(.*\)"/\1/p}' Cargo.lock)
ROCKSDB_KEPT := $(MILLRACE_CACHE)/rocksdb-$(ROCKSDB_VERSION)-$(shell cat .cargo/config.toml .cargo/cxx | sha256sum | cut -c1-12)
ifneq ($(wildcard $(ROCKSDB_KEPT)/librocksdb.a),)
export ROCKSDB_LIB_DIR := $(ROCKSDB_KEPT)
export ROCKSDB_STATIC := 1
endif

# One hiccup of the network does not fail a build.
export CARGO_NET_RETRY ?= 10

.PHONY: deps build run cluster cluster-failover cluster-stop test unit suites verify fix bench soak chaos upgrade fuzz

# Installs what is missing; needs root for packages only.
deps:
	@bash tests/deps.sh

build:
	$(CARGO) build --release --workspace
	@bash tests/keep-rocksdb.sh $(ROCKSDB_KEPT)

# A single node with its data in ./millrace-data; ARGS are passed on.
run: deps
	$(CARGO) build --release -p millrace-broker -p millrace-cli
	@bash tests/keep-rocksdb.sh $(ROCKSDB_KEPT)
	$(BROKER) $(ARGS)

# Three nodes on this machine; a kill -9 of one while records are written; the end.
cluster: deps
	$(CARGO) build --release -p millrace-broker -p millrace-cli
	@bash tests/keep-rocksdb.sh $(ROCKSDB_KEPT)
	@bash tests/three-nodes.sh start

cluster-failover:
	@bash tests/three-nodes.sh failover

cluster-stop:
	@bash tests/three-nodes.sh stop

# All proof: unit tests, crash, hostile input, full disk and tidiness, then the suites of other people's clients.
test: build
	@bash tests/run.sh

unit: build
	$(CARGO) test --release --workspace

suites: build
	target/release/suites

# Looks, never edits.
verify:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) test --release -p millrace-tests --test tidy
	@if ! command -v cargo-deny > /dev/null; then echo "cargo-deny is not installed: licences and advisories were not checked"; \
	else $(CARGO) deny check bans licenses sources && \
	  if $(CARGO) deny fetch; then $(CARGO) deny check advisories; \
	  else echo "the advisory database could not be fetched: advisories were not checked"; fi; fi

# Edits.
fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged
	MILLRACE_UPDATE_README=1 $(CARGO) test -q --release -p millrace-broker --test readme

# One table, Millrace and Apache Kafka alternating; BENCH='--rows stream,latency --repeats 1' for a part of it.
bench: build
	target/release/bench $(BENCH)

# Faults of all kinds on a cluster for SOAK_MINUTES, then kill -9 of a single node for ROUNDS. A failing seed is printed;
# MILLRACE_CHAOS_SEED=… repeats it.
SOAK_MINUTES ?= 120

soak: build
	MILLRACE_SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test --release -p millrace-tests --test chaos everything_mixed -- --nocapture
	MILLRACE_CRASH_ROUNDS=$(ROUNDS) $(CARGO) test --release -p millrace-tests --test crash -- --nocapture

# The short form alone: MILLRACE_CHAOS_SEED, MILLRACE_CHAOS_FAULTS and MILLRACE_CHAOS_SECONDS choose.
chaos: build
	$(CARGO) test --release -p millrace-tests --test chaos -- --nocapture

# An earlier commit's program, and a rolling upgrade from it to this one under load: PREVIOUS=<commit>, or the one before.
PREVIOUS ?=

upgrade: build
	previous=$$(PREVIOUS=$(PREVIOUS) bash tests/previous.sh) && \
	  MILLRACE_PREVIOUS_BROKER=$$previous $(CARGO) test --release --workspace --test upgrade -- --nocapture

# Coverage-guided input for every request decoder and the batch walker; FUZZ_SECONDS for each of the three. On the
# stable compiler, without sanitizers: the kept RocksDB archive is linked as it is.
FUZZ_SECONDS ?= 20
FUZZ_TARGETS ?= request produce batch

fuzz:
	@command -v cargo-fuzz > /dev/null || bash tests/retry.sh $(CARGO) install --locked cargo-fuzz
	@bash tests/fuzz.sh "$(FUZZ_SECONDS)" $(FUZZ_TARGETS)
