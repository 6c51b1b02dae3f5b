.PHONY: deb rpm dist
deb: ## dist/mountwarden_VERSION_all.deb, built and checked by lintian
	@packaging/deb

rpm: ## dist/mountwarden-VERSION-1.noarch.rpm
	@packaging/rpm

dist: ## dist/*.whl and dist/*.tar.gz, which pip installs
	@packaging/dist
