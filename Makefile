# Everything a person or a CI needs. Rust, a C compiler and Python 3 are enough.

TARGET := $(or $(CARGO_TARGET_DIR),target)/debug

.PHONY: dev test fault-matrix bench tools build clean-state

dev: build ## everything on this machine; Ctrl-C stops it
	@$(TARGET)/backstop dev

test: build ## format, lints, and every test on real servers of its own
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} $(TARGET)/with-servers cargo test --workspace --all-targets --locked --no-fail-fast

fault-matrix: build ## every saga by every fault; CELL='refund/killed' runs a part of it, SEED=7 with other choices
	@CELL='$(CELL)' SEED='$(SEED)' PARALLEL='$(PARALLEL)' $(TARGET)/with-servers $(TARGET)/fault-matrix

bench: build ## how much of a venue's pace several processes use, and what reconciling a million entries costs
	@$(TARGET)/with-servers $(TARGET)/bench-pacing
	@$(TARGET)/with-servers $(TARGET)/bench-reconcile

build: tools
	cargo build --workspace --locked

tools:
	@worker/tools/fetch

clean-state: ## forget the local stack's state
	rm -rf .backstop
