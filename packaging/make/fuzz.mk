SECONDS_EACH ?= 60

.PHONY: fuzz
fuzz: ## SECONDS_EACH=60 of coverage-guided fuzzing (atheris) of each parser, the executions counted
	@packaging/setup --tools
	@PYTHONPATH=agent:. .venv/bin/python -m tests.support.fuzz --seconds $(SECONDS_EACH)
