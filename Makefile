# Scopegate. `make` alone lists what there is. A machine needs Python 3.11+ (with venv) and make, no more.

PYTHON ?= python3
# Another Python has an environment of its own: the one of the default is no use to it.
VENV := $(if $(filter file,$(origin PYTHON)),.venv,.venv-$(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What writes clients/python has dependencies at odds with ours.
GENERATOR := $(VENV)/generator
UV := $(BIN)/uv
# Lock files have no index addresses (ADR 1).
COMPILE := $(UV) pip compile --system-certs --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock" pyproject.toml
# uv takes the index and trusts the certificates that pip does here.
USE_INDEX = index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi
# Of an index that is out of reach, pip says that it has no version of a package.
PIP_FAILED = if grep -q "from versions: none" $(VENV)/pip.log; then \
	echo "The package index cannot be reached: set PIP_INDEX_URL to one that can (a mirror, without a network), or HTTPS_PROXY to a proxy" >&2; \
	else cat $(VENV)/pip.log >&2; fi
INSTALL := $(UV) pip install --system-certs --quiet --compile-bytecode --python $(BIN)/python
COMPILE_DEMO := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header --upgrade
# Each process of a run imports 1,500 modules: it reads them compiled, whatever the user's shell says of bytecode.
TESTS := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q -n auto --dist worksteal --durations=20 -m "not slow"
IMAGE ?= scopegate
DIST ?= dist
CONSOLE := app/adapters/console
ASSETS := $(CONSOLE)/assets/manifest.json

.DEFAULT_GOAL := help
.PHONY: help install assets run demo test test-later coverage slow deadlines laws limits screenshots faults soak conformance check wheel fmt format-check \
	lint types imports layout migrate openapi openapi-check spec-lint client client-check bench bench-more bench-peers bench-scale image lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) $(ASSETS) ## Install everything into .venv

assets: $(ASSETS) ## Build the console's styles and icons (needs npm; everything else runs without)

run: $(STAMP) $(ASSETS) ## Serve on 127.0.0.1:8080 with an embedded database and a demo fleet
	@$(BIN)/scopegate dev

demo: $(STAMP) ## Demonstrate the life of a token against the running service
	@$(BIN)/scopegate demo

test: $(STAMP) $(ASSETS) ## Run all tests except the slow ones
	$(TESTS)

# The clocks of Python, PostgreSQL and Node are all ahead. The monotonic clock, by which they wait, stays true.
# Only PostgreSQL's lock timeouts cannot follow: the tests that need them are listed as skipped.
DAYS ?= 35
test-later: $(STAMP) $(ASSETS) ## Run the tests with the clock DAYS=35 days ahead (needs Debian's faketime)
	@command -v faketime >/dev/null || { echo "faketime is missing: apt-get install faketime" >&2; exit 2; }
	faketime --exclude-monotonic -f +$(DAYS)d env $(TESTS) -rs

# Tracing costs more than half as much again: only `make check` pays for it.
coverage: $(STAMP) $(ASSETS) ## Run the same tests with a coverage report
	@mkdir -p build/coverage
	$(TESTS) --cov --cov-report=
	$(BIN)/python -m tests.house.coverage_report

slow: $(STAMP) $(ASSETS) ## Run the slow tests
	$(BIN)/pytest -q -n 2 --dist worksteal -m slow --ignore=tests/faults --ignore=tests/bench --ignore=tests/conformance

# They have the machine to themselves.
deadlines: $(STAMP) ## Run the tests that hold deadlines while things fail
	$(BIN)/pytest -q -m slow tests/faults tests/bench

laws: $(STAMP) ## Hold the laws of the domain to more examples
	$(BIN)/pytest -q -n 2 --hypothesis-profile=thorough tests/domain

limits: $(STAMP) ## Check the limits that a change may raise with a reason
	$(BIN)/pytest -q -m slow tests/house/test_architecture.py

screenshots: $(STAMP) $(ASSETS) ## Save screenshots of every page to build/screenshots (needs npm and Chromium)
	@mkdir -p build/screenshots
	SCREENSHOTS=build/screenshots $(BIN)/pytest -q -m slow tests/adapters/console/test_every_page.py

faults: $(STAMP) ## Inject faults into a fleet under load, then into mutants (as root, most of an hour)
	$(BIN)/python -m tests.faults.rig; run=$$?; $(BIN)/python -m tests.faults.rig mutants && exit $$run

soak: $(STAMP) ## Check that memory, files and tasks of gateways stay flat under an hour of load
	$(BIN)/python -m tests.faults.rig soak --minutes 60

conformance: $(STAMP) ## Run the official MCP conformance suite, directly and through the gateway (needs npm)
	$(BIN)/pytest -q -s -m slow tests/conformance

check: $(STAMP) ## Run every check to its end; PART="types slow" runs some
	@$(BIN)/python .ci/checks.py all $(PART)

fmt: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --exit-zero --quiet .

format-check: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP) ## Lint
	$(BIN)/ruff check .

types: $(STAMP) ## Check types
	$(BIN)/mypy

imports: $(STAMP) ## Check the import contracts
	$(BIN)/lint-imports

layout: $(STAMP) ## Check the layout and the language, and count files and lines
	$(BIN)/pytest -q -m "not slow" tests/house/test_architecture.py tests/house/test_domain_is_pure.py tests/house/test_language.py
	@$(BIN)/python -m tests.house.counts

migrate: $(STAMP) ## Migrate the database
	$(BIN)/scopegate migrate

openapi: $(STAMP) ## Write openapi/openapi.json
	@mkdir -p openapi
	$(BIN)/scopegate export-openapi > openapi/openapi.json.new
	@mv openapi/openapi.json.new openapi/openapi.json

openapi-check: $(STAMP) ## Check that openapi/openapi.json matches the code
	@$(BIN)/scopegate export-openapi | diff -u openapi/openapi.json - \
		|| { echo "openapi/openapi.json does not match the code: run 'make openapi' and commit it" >&2; exit 1; }

spec-lint: ## Lint openapi/openapi.json (needs npm)
	@openapi/lint/run

client: $(GENERATOR)/.installed ## Generate the Python client from openapi/openapi.json
	@$(GENERATOR)/bin/python clients/python/generator/generate.py

client-check: $(GENERATOR)/.installed ## Check that the Python client matches openapi/openapi.json
	@$(GENERATOR)/bin/python clients/python/generator/generate.py --check

bench: $(STAMP) ## Measure a tools/call through the gateway against the upstream alone
	$(BIN)/python -m bench

bench-more: $(STAMP) ## Measure policies, workers, issuing, cuts, memory and lists
	$(BIN)/python -m bench more

bench-peers: $(STAMP) ## Measure a tools/call through the gateway against other gateways
	$(BIN)/python -m bench peers

bench-scale: $(STAMP) ## Compare a million tokens and ten million events with a small installation
	$(BIN)/python -m bench scale

wheel: $(STAMP) $(ASSETS) ## Build the wheels of the service and of its Python client into dist
	@$(BIN)/python -m hatchling build -t wheel -d $(abspath $(DIST))
	@cd clients/python && $(abspath $(BIN))/python -m hatchling build -t wheel -d $(abspath $(DIST))

image: ## Build the container image
	docker build --tag $(IMAGE) .

lock: $(STAMP) ## Update the lock files
	$(COMPILE) --upgrade --extra embedded --output-file requirements.lock
	$(COMPILE) --upgrade --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	@for name in bridge openid servers; do \
		{ echo "# Made from app/cli/requirements/$$name.in by 'make lock'."; \
		$(COMPILE_DEMO) app/cli/requirements/$$name.in; } > app/cli/requirements/$$name.lock; done
	@for name in contextforge fastmcp; do \
		{ echo "# Made from bench/requirements/$$name.in by 'make lock'."; \
		$(COMPILE_DEMO) bench/requirements/$$name.in; } > bench/requirements/$$name.lock; done
	@for name in canaille fastmcp mcp1 sqlite tasks; do \
		{ echo "# Made from tests/interop/requirements/$$name.in by 'make lock'."; \
		$(COMPILE_DEMO) tests/interop/requirements/$$name.in; } > tests/interop/requirements/$$name.lock; done
	@{ echo "# Made from requirements.in by 'make lock'."; \
		$(COMPILE_DEMO) clients/python/generator/requirements.in; } > clients/python/generator/requirements.lock
	@{ echo "# Made from requirements-dev.lock by 'make lock'."; \
		sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.lock; } > requirements-uv.lock

clean: ## Remove the environment and the caches; the data in .scopegate stays
	rm -rf .venv .venv-* $(CONSOLE)/assets $(CONSOLE)/frontend/node_modules tests/adapters/console/node_modules tests/provider/node_modules tests/conformance/node_modules tests/interop/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist

# Without npm there is nothing to make, and nothing else that waits for it.
$(ASSETS): $(CONSOLE)/frontend/package-lock.json $(CONSOLE)/frontend/build.py $(CONSOLE)/menu.py $(wildcard $(CONSOLE)/templates/*.html $(CONSOLE)/templates/*/*.html)
	@if command -v npm >/dev/null; then \
		( cd $(CONSOLE)/frontend && { [ node_modules/.package-lock.json -nt package-lock.json ] \
			|| npm ci --ignore-scripts --no-audit --no-fund --silent; } ) && $(PYTHON) $(CONSOLE)/frontend/build.py; \
	else echo "no npm: the console's pages will look plain (apt-get install nodejs npm, then make assets)" >&2; fi

$(GENERATOR)/.installed: clients/python/generator/requirements.lock | $(STAMP)
	@$(UV) venv --quiet --clear --python $(BIN)/python $(GENERATOR)
	@$(USE_INDEX); $(UV) pip install --system-certs --quiet --python $(GENERATOR)/bin/python --require-hashes -r $<
	@touch $@

$(STAMP): pyproject.toml clients/python/pyproject.toml requirements-dev.lock requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Scopegate needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python cannot make an environment here: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock \
		2>$(VENV)/pip.log || { $(PIP_FAILED); exit 1; }
	@$(USE_INDEX); $(INSTALL) --require-hashes -r requirements-dev.lock \
		&& $(INSTALL) --no-deps --build-constraints requirements-dev.lock --editable . --editable clients/python
	@touch $@
