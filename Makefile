# Everything works as root and as an ordinary user (sudo is used to install packages), on a machine that has
# only the Rust toolchain and make. Arguments for the demo: make demo ARGS=--once

CARGO ?= cargo
ARGS ?=

.NOTPARALLEL:
.PHONY: help demo test proof bench deps fmt lint

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' Makefile

demo: ## A private PostgreSQL, sample data, pgweir in front of it; both ways side by side
	@sh scripts/install-deps.sh demo
	$(CARGO) run --release --locked -- demo $(ARGS)

test: deps lint ## Every check and test, against this system's PostgreSQL and PostgreSQL 18
	$(CARGO) test --locked
	PGWEIR_PG_BIN="$$(sh scripts/fetch-postgres.sh)" && export PGWEIR_PG_BIN && $(CARGO) test --locked --test it

proof: ## Isolation and real time at length, with backends killed
	@sh scripts/install-deps.sh test
	$(CARGO) test --locked --release --test it anomalies::long -- --ignored --nocapture

bench: ## pgweir and PgBouncer by turns on the same PostgreSQL
	@sh scripts/install-deps.sh bench
	$(CARGO) bench --locked --bench against -- $(ARGS)

deps: ## Install what is missing for the tests
	@sh scripts/install-deps.sh test

fmt: ## Format the code
	$(CARGO) fmt

lint: ## Formatting, lints, licences, sources
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) deny --log-level error check bans licenses sources
