# What there is to do here. `make` alone lists it.

ENGINE := .engine/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: help run build engine test lint bench

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(if $(WEIR_CLICKHOUSE_URL),,engine) build ## Start a collector with its own ClickHouse engine and a demo project
	exec target/release/weir serve --demo

build: ## Build the collector
	cargo build --release --locked

engine: $(ENGINE) ## Fetch the ClickHouse engine library, once

# The version and the integrity of every platform's package are pinned in the lock file.
$(ENGINE): .engine/package.json .engine/package-lock.json
	npm ci --prefix .engine --ignore-scripts --no-audit --no-fund
	@touch $@

test: engine build ## Run every test, against the real engine
	cargo test --locked

lint: ## Check the formatting, and lint with warnings denied
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings

bench: ## Measure the way of an event from its bytes to the journal's buffer
	cargo bench --locked --bench intake
