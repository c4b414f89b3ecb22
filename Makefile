# The commands of the project; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
BENCH ?=
TESTS ?=
DIST ?= dist
DISTRIBUTIONS := instrumentation keyservice dashboards demo
TEXTS := keyservice/src/keygauge_keyservice
LOCALES := $(TEXTS)/portal/locales
EXTRACT = $(BIN)/pybabel --quiet extract --mapping keyservice/babel.toml --keywords mark --omit-header --sort-output \
	--add-location file --no-wrap
SOURCES := instrumentation/src keyservice/src dashboards/src demo/src

# Otherwise each program started by tests would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs dashboards texts dist sbom format lock env up clean

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/.dev: requirements-dev.txt constraints.txt $(wildcard */pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --requirement requirements-dev.txt
	@touch $@

# Traffic is to start within a minute, so uv installs, in a third of pip's time; where it cannot, pip does.
$(BIN)/.demo: requirements-demo.txt constraints.txt $(wildcard */pyproject.toml)
	@echo "Installing KeyGauge into $(VENV) …"
	$(PYTHON) -m venv $(VENV)
	{ $(PIP) install --quiet --constraint constraints.txt uv && \
		$(BIN)/uv pip install --python $(BIN)/python --requirement requirements-demo.txt; } || \
		$(PIP) install --requirement requirements-demo.txt
	@touch $@

demo: $(BIN)/.demo ## run everything on this machine, with live traffic
	@$(BIN)/keygauge-demo

test: $(BIN)/.dev ## run all tests
	$(BIN)/pytest -n auto --dist loadgroup --no-loadscope-reorder $(TESTS)

check: $(BIN)/.dev ## lint, types, layers, generated files, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/keygauge dashboards check
	$(BIN)/keygauge reference | diff docs/reference/cli.md - || (echo "run: $(BIN)/keygauge reference > docs/reference/cli.md"; false)
	$(EXTRACT) --output /dev/stdout $(TEXTS) | diff $(LOCALES)/keygauge.pot - || (echo "run: make texts"; false)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(BIN)/.dev ## format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(BIN)/.dev ## print ratios against peers, of all benchmarks or of one (BENCH=overhead)
	$(BIN)/python -m bench$(if $(BENCH),.$(BENCH))

docs: $(BIN)/.dev ## serve the documentation while it is written
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

dashboards: $(BIN)/.dev ## regenerate dashboards, rules and provisioning
	$(BIN)/keygauge dashboards build

texts: $(BIN)/.dev ## collect the portal's texts for translators, and bring the translations up to date
	$(EXTRACT) --output $(LOCALES)/keygauge.pot $(TEXTS)
	$(BIN)/pybabel --quiet update --input-file $(LOCALES)/keygauge.pot --output-dir $(LOCALES) --domain keygauge \
		--no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --no-wrap

# The same commit gives the same bytes, whenever and wherever it is built.
dist: $(BIN)/.dev ## build and check sdists and wheels in dist/, with the images' SBOMs and all SHA-256
	rm -rf $(DIST)
	for folder in $(DISTRIBUTIONS); do \
		SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir $(DIST) $$folder || exit; \
	done
	$(BIN)/twine check --strict $(DIST)/*
	$(MAKE) sbom
	cd $(DIST) && sha256sum *.whl *.tar.gz *.cdx.json > SHA256SUMS

sbom: $(BIN)/.dev ## list what the images install, as CycloneDX, in dist/
	for image in keyservice demo; do \
		$(BIN)/cyclonedx-py requirements locked/$$image.txt --pyproject $$image/pyproject.toml --output-reproducible \
			--output-file $(DIST)/keygauge-$$image.cdx.json || exit; \
	done

lock: ## write the hashes of what the images install (needs uv)
	@for name in build keyservice demo; do \
		uv pip compile --quiet --python-platform linux --python-version 3.13 --generate-hashes --no-header --no-annotate \
			$(foreach name,keygauge keygauge-keyservice keygauge-dashboards keygauge-demo,--no-emit-package $(name)) \
			--constraint constraints.txt locked/$$name.in --output-file locked/$$name.txt; \
	done

env: .env ## write .env with new secrets for the containers

.env:
	@umask 077 && collector/env.sh > $@.new && mv $@.new $@

up: .env ## the whole stack in containers
	docker compose up --build

clean: ## remove the environment and the demo's state
	rm -rf $(VENV) $(VENV)-* .demo build dist
