# What people type. `make run` and `make test` install what is missing on Debian and Ubuntu.

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Tests make network namespaces; without root, cargo runs the built tests by sudo.
RUNNER := $(if $(SUDO),--config "target.'cfg(unix)'.runner='sudo -E'")
FUZZ_SECONDS ?= 30
BENCH_DIR ?= target/bench
BENCH_LEASES ?= 100000
PREFIX ?= /usr/local
DESTDIR ?=
ARGS ?=

# Where the simulation begins, how many worlds it plays, and how far each.
SEED ?= 1
SEEDS ?= 1
STEPS ?= 1000000

.PHONY: run test lint bench fuzz sim mutants build install

run:
	scripts/ensure-packages run
	cargo build --locked
	$(SUDO) target/debug/foreshadow lab $(ARGS)

test:
	scripts/ensure-packages test
	cargo test --locked --no-fail-fast $(RUNNER)

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@command -v cargo-deny >/dev/null || \
	    { echo "lint: please run: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --locked check --hide-inclusion-graph bans licenses sources

# How fast the store is on the disk that BENCH_DIR is on.
bench:
	scripts/ensure-packages build
	cargo run --locked --release --example store_speed -- $(BENCH_DIR) $(BENCH_LEASES)

# Each target of fuzz/ for FUZZ_SECONDS, on the stable toolchain and so without a sanitizer.
fuzz:
	@command -v cargo-fuzz >/dev/null || \
	    { echo "fuzz: please run: cargo install --locked cargo-fuzz" >&2; exit 1; }
	set -e; for target in $$(cargo fuzz list); do \
	    cargo fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS); \
	done

# The simulated server: `make sim SEED=7 STEPS=1234` replays, SEEDS=1000 goes on for long.
sim:
	SIM_SEED=$(SEED) SIM_SEEDS=$(SEEDS) SIM_STEPS=$(STEPS) \
	    cargo test --locked --test sim the_invariants -- --nocapture

# Whether the simulation finds each fault of tests/sim/mutations.txt (MUTANTS=word: some of them).
mutants:
	cargo test --locked $(RUNNER) --test mutants -- --nocapture

build:
	scripts/ensure-packages build
	cargo build --locked --release

# Into PREFIX; `systemd/README.md` says what comes after. Does not touch a configuration.
install: build
	install -Dm755 target/release/foreshadow $(DESTDIR)$(PREFIX)/sbin/foreshadow
	install -d $(DESTDIR)$(PREFIX)/share/man/man8 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	target/release/foreshadow man $(DESTDIR)$(PREFIX)/share/man/man8
	target/release/foreshadow completions bash \
	    >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/foreshadow
	install -d $(DESTDIR)/etc/systemd/system
	sed 's,/usr/local/sbin,$(PREFIX)/sbin,' systemd/foreshadow.service \
	    >$(DESTDIR)/etc/systemd/system/foreshadow.service
	install -Dm644 systemd/foreshadow.sysusers $(DESTDIR)/etc/sysusers.d/foreshadow.conf
	install -Dm644 systemd/foreshadow.tmpfiles $(DESTDIR)/etc/tmpfiles.d/foreshadow.conf
