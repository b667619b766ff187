# Two commands do everything on a fresh machine: `make demo` and `make test`.
.PHONY: demo up test check build install install-test clean

demo: build ## a push to a green commit status, live in this terminal
	@node dist/impgem.js demo

up: build ## the same, and it keeps running until Ctrl-C
	@node dist/impgem.js demo --keep

test: install-test build ## every test, with real Redis, git, Docker engine and browser
	@.ci/test.sh

check: node_modules/.made ## types, lint, import direction, unused code, format
	@npm run --silent check

build: dist/.made

install:
	@.ci/install.sh run

install-test: install
	@.ci/install.sh test

node_modules/.made: package.json package-lock.json
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

dist/.made: node_modules/.made build.js $(shell find src bench -type f) | install
	@npm run --silent build
	@touch $@

clean:
	@rm -rf dist node_modules
