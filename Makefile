# What people type. `make run` and `make test` install what is missing on Debian and Ubuntu.

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Tests make network namespaces; without root, cargo runs the built tests by sudo.
RUNNER := $(if $(SUDO),--config "target.'cfg(unix)'.runner='sudo -E'")
FUZZ_SECONDS ?= 120
FUZZ ?=
# A directory on the disk that the store is measured on.
BENCH_DIR ?= /var/tmp
# What `make bench-forecast` judges; none: what it makes itself.
FORECAST_DATA ?=
SOAK_MINUTES ?= 60
SOAK_RATE ?= 2000
PREFIX ?= /usr/local
DESTDIR ?=
ARGS ?=

# Where the simulation begins, how many worlds it plays, and how far each.
SEED ?= 1
SEEDS ?= 1
STEPS ?= 1000000

# Power cuts, and whose choices to make again; none: others each time.
CUTS ?= 1000
CUT_SEED ?=

.PHONY: run test lint bench bench-forecast soak fuzz sim mutants guards powercut build install

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

# Parts, then whole servers beside what else is installed; writes docs/benchmarks.md. A quarter of an
# hour; `make bench QUICK=1` is a first look in three minutes.
bench:
	scripts/ensure-packages bench
	BENCH_DIR=$(BENCH_DIR) cargo bench --locked --bench micro
	TMPDIR=$(BENCH_DIR) cargo bench --locked --bench system $(RUNNER) -- $(if $(QUICK),quick)

# How well forecasts come true and what they cost, as a table: of the series and event logs in
# FORECAST_DATA, or of some that are made for it. Half a minute.
bench-forecast:
	scripts/ensure-packages build
	FORECAST_DATA=$(FORECAST_DATA) cargo bench --locked --profile figures --bench forecast

# Clients that come and go for SOAK_MINUTES at SOAK_RATE exchanges/s, while memory, the store and
# the log are watched.
soak:
	scripts/ensure-packages bench
	TMPDIR=$(BENCH_DIR) SOAK_MINUTES=$(SOAK_MINUTES) SOAK_RATE=$(SOAK_RATE) \
	    cargo bench --locked --bench system $(RUNNER) -- soak

# Each target of fuzz/, or those of FUZZ, for FUZZ_SECONDS, on the stable toolchain and so without a
# sanitizer. What is new goes to fuzz/target/corpus: the committed inputs are only read.
fuzz:
	@command -v cargo-fuzz >/dev/null || \
	    { echo "fuzz: please run: cargo install --locked cargo-fuzz" >&2; exit 1; }
	set -e; for target in $(or $(FUZZ),$$(cargo fuzz list)); do \
	    mkdir -p fuzz/target/corpus/$$target; crashes=fuzz/crashes/$$target; \
	    cargo fuzz run --sanitizer none $$target fuzz/target/corpus/$$target \
	        fuzz/corpus/$$target $$(test -d $$crashes && echo $$crashes) -- \
	        -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=2048; \
	done

# The simulated server: `make sim SEED=7 STEPS=1234` replays, SEEDS=1000 goes on for long.
sim:
	SIM_SEED=$(SEED) SIM_SEEDS=$(SEEDS) SIM_STEPS=$(STEPS) \
	    cargo test --locked --test sim the_invariants -- --nocapture

# Whether the simulation finds each fault of tests/sim/mutations.txt (MUTANTS=word: some of them).
mutants:
	cargo test --locked $(RUNNER) --test mutants -- --nocapture

# The power cut under the running server, at random moments: see tests/powercut/README.md.
powercut:
	scripts/ensure-packages test
	POWERCUT_CUTS=$(CUTS) POWERCUT_SEED=$(CUT_SEED) cargo test --locked $(RUNNER) \
	    --test powercut every_promise_of_the_server -- --nocapture

# Whether each guard against hostile input is needed: without it, its tests fail (GUARDS=word: some).
guards:
	scripts/ensure-packages test
	cargo test --locked $(RUNNER) --test guards -- --nocapture

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
	for unit in foreshadow foreshadow-agent; do \
	    sed 's,/usr/local/sbin,$(PREFIX)/sbin,' systemd/$$unit.service \
	        >$(DESTDIR)/etc/systemd/system/$$unit.service || exit; \
	done
	install -Dm644 systemd/foreshadow.sysusers $(DESTDIR)/etc/sysusers.d/foreshadow.conf
	install -Dm644 systemd/foreshadow.tmpfiles $(DESTDIR)/etc/tmpfiles.d/foreshadow.conf
