CONTAINERS ?= 1000
PLANTED ?= 50

.PHONY: soak
soak: ## CONTAINERS=1000 real containers beside restarting services and PLANTED=50 leaks
	@SOAK_CONTAINERS=$(CONTAINERS) SOAK_PLANTED=$(PLANTED) packaging/test soak
