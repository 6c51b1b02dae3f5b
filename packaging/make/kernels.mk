KERNELS ?= all

.PHONY: kernels
kernels: ## the judge and the remedies under other kernels (KERNELS="6.1 7.3"); writes docs/kernels.md
	@MOUNTWARDEN_KERNELS="$(KERNELS)" MOUNTWARDEN_KERNELS_PAGE=docs/kernels.md packaging/test kernels
