# The two commands to know are `make run` and `make test`.
.PHONY: help run test setup lint bench

help: ## what the targets do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## install what is missing, build, start Silverback with plugins in four languages, until Ctrl-C
	@e2e/run

test: setup ## every test: unit, end-to-end, conformance
	@.ci/test

setup: ## install what the tests need into .env/
	e2e/setup

lint: ## formatting and lints, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: setup ## speed beside nginx, haproxy and bare clients; ARGS="proxy --quick", ARGS=--help
	e2e/setup --bench
	cargo build --release -p silverback -p silverback-benches
	target/release/compare $(ARGS)
