TOPOLOGIES ?= 10000

.PHONY: prove
prove: ## TOPOLOGIES=10000 random topologies: what an umount or a detach does, predicted and tried; WRITE=docs/proof.md keeps the figures
	@packaging/setup --tools
	@PYTHONPATH=agent:. .venv/bin/python -m tests.support.prove $(TOPOLOGIES) "$(SEED)" $(WRITE)
