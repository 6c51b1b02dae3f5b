SIEGE_MINUTES ?= 10

.PHONY: siege
siege: ## SIEGE_MINUTES=10 minutes of all attacks by users and containers at once; WRITE=docs keeps the figures in docs/siege.md
	@packaging/test siege --minutes $(SIEGE_MINUTES) $(if $(WRITE),--docs $(WRITE))
