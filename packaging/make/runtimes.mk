ROUNDS ?= 500

.PHONY: runtimes
runtimes: ## ROUNDS=500 rounds of kills of real runtimes on both test hosts (SEED=1): what they leave is told, and nothing that lives
	@RUNTIME_ROUNDS=$(ROUNDS) RUNTIME_SEED=$(SEED) packaging/test runtimes
