# `make help` lists the targets. Further ones are in packaging/make/*.mk; a `## text` after a target is its help.
.DEFAULT_GOAL := help
PREFIX ?= /usr/local
export PREFIX DESTDIR PURGE NO_APT

.PHONY: help run test test-all test-long lint bench install uninstall locks clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## set up, find and detach a leak (demo), then report on this host
	@packaging/run

test: ## lint, unit, kernel, host, and a smoke test of the engines
	@packaging/test short

test-long: ## the long tests alone
	@packaging/test long

test-all: ## test and test-long
	@packaging/test all

lint: ## ruff, mypy --strict, codespell, shellcheck, and the rules for imports
	@packaging/test lint

bench: ## cost beside what is used instead; writes docs/benchmarks.md (or BENCH="--quick", BENCH="--only churn", BENCH=--help)
	@packaging/setup --tools
	@PYTHONPATH=agent:. .venv/bin/python -m tests.bench.agent $(or $(BENCH),--docs docs)
	@$(if $(BENCH),:,packaging/test bench)

install: ## plain files below PREFIX (default /usr/local; DESTDIR is honoured)
	@packaging/install

uninstall: ## stop the unit and remove what install wrote; /etc/mountwarden too with PURGE=1
	@packaging/uninstall

locks: ## write packaging/lock again with the newest releases
	@packaging/lock/update

clean: ## remove .venv, caches and builds of this checkout
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis agent/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

-include $(wildcard packaging/make/*.mk)
