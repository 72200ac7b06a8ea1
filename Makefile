# Everything a person or a CI needs. Rust, a C compiler and Python 3 are enough.

TARGET := $(or $(CARGO_TARGET_DIR),target)/debug

SOAK := INTENTS STRATEGIES SEED KILL_EVERY_MS STARTED_AHEAD VENUE_GATE GLOBAL_GATE

.PHONY: dev test fault-matrix soak clean-load bench tools build clean-state

dev: build ## everything on this machine; Ctrl-C stops it
	@$(TARGET)/backstop dev

test: build ## format, lints, and every test on real servers of its own
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} $(TARGET)/with-servers cargo test --workspace --all-targets --locked --no-fail-fast

fault-matrix: build ## every saga by every fault; CELL='refund/killed' runs a part of it, SEED=7 with other choices
	@CELL='$(CELL)' SEED='$(SEED)' PARALLEL='$(PARALLEL)' $(TARGET)/with-servers $(TARGET)/fault-matrix

soak: build ## ten thousand intents at three venues, through two workers that are killed in turn; INTENTS=1000 SEED=2 and more
	@$(foreach name,$(SOAK),$(name)='$($(name))') $(TARGET)/with-servers $(TARGET)/soak

clean-load: build ## ten minutes of load under which no check may find anything; SECONDS=60 for less
	@CUSTODY_LOAD_S='$(or $(SECONDS),600)' $(TARGET)/with-servers cargo test --workspace --locked --test custody load:: -- --nocapture

bench: build ## how much of a venue's pace several processes use, and what reconciling a million entries costs
	@$(TARGET)/with-servers $(TARGET)/bench-pacing
	@$(TARGET)/with-servers $(TARGET)/bench-reconcile

build: tools
	cargo build --workspace --locked

tools:
	@worker/tools/fetch

clean-state: ## forget the local stack's state
	rm -rf .backstop
