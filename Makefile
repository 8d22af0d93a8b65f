# What there is to do here. `make` alone lists it.

ENGINE := .engine/node_modules/.package-lock.json
SNIPPET := snippet/node_modules/.package-lock.json
SCHEMATHESIS := target/schemathesis/bin/schemathesis

.DEFAULT_GOAL := help
.PHONY: help run build engine snippet test soak lint bench counts baseline counter strace chromium wrk valgrind

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

$(SNIPPET): snippet/package.json snippet/package-lock.json
	npm ci --prefix snippet --ignore-scripts --no-audit --no-fund
	@touch $@

snippet: $(SNIPPET) ## Build the snippet anew
	npm run --prefix snippet build

$(SCHEMATHESIS): tests/schemathesis/requirements.txt
	python3 -m venv target/schemathesis
	target/schemathesis/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

test: engine build strace chromium $(SNIPPET) $(SCHEMATHESIS) ## Run every test, against the real engine and in a real browser
	cargo test --locked
	cargo test --locked --package weir-benches --bins
	npm test --prefix snippet
	npm run --prefix snippet test:browser

soak: engine ## Kill collectors and engines at every step and 400 times at random; try the journal's model at length
	PROPTEST_CASES=4000 cargo test --locked --lib journal::tests::model
	WEIR_TEST_SOAK=1 cargo test --locked --test weir -- crash:: pair:: matrix:: --nocapture --test-threads=2

# The system calls of a collector are traced by a test; others look through a browser. wrk loads what is measured, and
# instructions are counted by valgrind.
strace chromium wrk valgrind:
	@command -v $@ > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y $@ > /dev/null; } \
	  || { echo "$@ is needed and could not be installed: please install it"; exit 1; }

lint: $(SNIPPET) ## Check the formatting, lint with warnings denied, and see that snippet/dist is what snippet/src makes
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	npm run --prefix snippet lint
	npm run --prefix snippet check

bench: engine wrk ## Measure the collector beside bare servers, then every stage of an event's way
	cargo build --release --locked --workspace
	target/release/figures
	cargo bench --locked --package weir-benches

counts: counter ## Count the instructions of every stage, and see that none has become dearer than in benches/instructions.txt
	target/release/instructions

baseline: counter ## Count them, and take that as what the next changes are compared with
	target/release/instructions --write

counter: valgrind
	cargo build --release --locked --package weir-benches --bin instructions
	cc -shared -fPIC -O1 -o target/release/fixed_random.so benches/instructions/fixed_random.c
