# The platform on this machine. Needs Python 3.11 and make; everything else comes from PyPI and Maven Central.
.POSIX:
.SUFFIXES:
.PHONY: help setup demo up down clean lake model status test test-faults test-openedx test-kubernetes helm-check lint lock golden bench images test-images setup-dev install manifest

BASE_PYTHON = python3.11
VENV = .venv
PYTHON = $(VENV)/bin/python
UV = $(VENV)/uv/bin/uv
LOCAL = $(PYTHON) -m include.local
DBT = include/dbt/open_learning
MANIFEST = $(DBT)/target/manifest.json
DOMAIN = lane
IMAGES = airflow jobs dbt openedx
BUILD = docker build
TEST_DATABASES = tests/kubernetes/images/databases

help: ## this list
	@sed -n -e 's/\$$\$$/$$/g' -e 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

demo: setup manifest ## the whole lane once: sources, syncs, models, report; ends by itself; make demo DOMAIN=openedx for Open edX
	@$(LOCAL) demo --domain $(DOMAIN)

up: setup manifest ## start everything in the background; prints the UI's address and login
	@$(LOCAL) up

down: ## stop what runs
	@test ! -x $(PYTHON) || $(LOCAL) down

clean: ## stop what runs and delete its data
	@test ! -x $(PYTHON) || $(LOCAL) clean

lake: setup ## start Trino and the catalog; use as: eval "$$(make -s lake)"
	@$(LOCAL) lake

model: setup ## build one dbt model with its tests on this machine's lake: make model M=dim_user
	@test -n "$(M)" || { echo "which model? for example: make model M=dim_user" >&2; exit 1; }
	@test -z "$$OL_SCHEMA_SUFFIX" || test -e $(MANIFEST) || $(MAKE) -s manifest
	@eval "$$($(LOCAL) lake)" && $(VENV)/bin/dbt build --project-dir $(DBT) --profiles-dir $(DBT) --target-path target/model --select $(M) \
	  $${OL_SCHEMA_SUFFIX:+--defer --state $(CURDIR)/$(DBT)/target}

status: ## what runs
	@$(LOCAL) status

# the kills under the whole lane take several demos each: make test-faults
test: lint ## lint, types, import rules and all tests
	@$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/faults/test_lane_kills.py --ignore tests/helm --ignore tests/kubernetes

# takes addresses alone, from variables: docs/howto/test-on-kubernetes.md lists them
test-kubernetes: setup-dev manifest helm-check ## the tests on a real cluster: make test-kubernetes KUBECONFIG=… OL_IMAGE_TAG=…
	@$(PYTHON) -m pytest tests/kubernetes

# OL_CHART_SCHEMA is values.schema.json of the official chart: helm pull apache-airflow/airflow --version 1.22.0 --untar
helm-check: setup-dev manifest ## values against the official chart's schema, our chart against an API server
	@$(PYTHON) -m pytest tests/helm

test-faults: setup-dev manifest ## the kill tests with all their rounds; takes long
	@$(PYTHON) -m pytest tests/faults --fault-rounds 20 --backfill-days 365

OPENEDX_TESTS = $(addprefix tests/jobs/openedx/,courses forum sweep tracking_logs webhooks)
test-openedx: setup-dev manifest ## the tests of Open edX's jobs with all their events, damaged inputs, kills and deliveries; takes long
	@EXPORT_KILLS=20 $(PYTHON) -m pytest $(OPENEDX_TESTS) --log-events 400000 --log-rounds 500 --log-kills 20 --course-rounds 20 --forum-rounds 500 \
	  --webhook-deliveries 10000

lint: setup-dev manifest ## ruff, mypy, import rules
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

golden: setup-dev manifest ## write the golden files again; look at the difference before committing it
	@$(PYTHON) -m pytest tests/golden --update-golden

bench: setup-dev manifest ## all benchmarks, or one: make bench ID=P1
	@$(PYTHON) -m benchmarks $(ID)

lock: $(UV) ## resolve requirements*.in into requirements*.txt with hashes
	@$(UV) pip compile -q requirements.in -o requirements.txt --generate-hashes --python-version 3.11 --custom-compile-command "make lock"
	@$(UV) pip compile -q requirements-dev.in -c requirements.txt -o requirements-dev.txt --generate-hashes --python-version 3.11 --custom-compile-command "make lock"
	@for image in $(IMAGES); do \
	  $(UV) pip compile -q images/$$image/requirements.in -c requirements.txt -o images/$$image/requirements.txt \
	    --generate-hashes --python-version 3.11 --custom-compile-command "make lock" || exit 1; done

# BUILD is any builder with docker's flags (docker build, podman build, buildah bud). The base image is pinned at the build, for example with
# BUILD='docker build --build-context python:3.11-slim=docker-image://python@sha256:…'
images: setup manifest ## build the images: make images TAG=2026.11.20-3f2a1c0
	@test -n "$(TAG)" || { echo "which tag? for example: make images TAG=$$(date +%Y.%m.%d)-$$(git rev-parse --short HEAD)" >&2; exit 1; }
	@for image in $(IMAGES); do $(BUILD) -f images/$$image/Dockerfile -t ol-data-platform/$$image:$(TAG) . || exit 1; done

test-images: images ## build the images, and that of the databases which the tests on a cluster use
	@$(BUILD) -f $(TEST_DATABASES)/Dockerfile -t ol-data-platform/test-databases:$(TAG) $(TEST_DATABASES)

# Installed is what the stamp holds a copy of, so nothing is done while the lists stay as they are. Once the development
# tools are there they stay: going back and forth between the two lists would install and remove them every time.
setup: $(UV) ## install the pinned dependencies into .venv
	@list=requirements.txt; test ! -x $(VENV)/bin/pytest || list=requirements-dev.txt; $(MAKE) -s install LIST=$$list

setup-dev: $(UV)
	@$(MAKE) -s install LIST=requirements-dev.txt

install:
	@cmp -s $(LIST) $(VENV)/installed.txt || { \
	  echo "installing $(LIST)" >&2; \
	  rm -f $(VENV)/installed.txt; \
	  $(UV) pip sync -q --python $(PYTHON) --require-hashes --compile-bytecode $(LIST) && cp $(LIST) $(VENV)/installed.txt; }

# in a folder of its own: `uv pip sync` removes what its list does not name
$(UV): requirements-uv.txt
	@echo "installing uv" >&2
	@test -x $(PYTHON) || $(BASE_PYTHON) -m venv $(VENV)
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip >/dev/null
	@rm -rf $(VENV)/uv
	@$(PYTHON) -m pip install -q --disable-pip-version-check --require-hashes --target $(VENV)/uv -r requirements-uv.txt
	@touch $(UV)

# dbt's manifest is what the warehouse DAG is rendered from, and where a developer's own schemas (OL_SCHEMA_SUFFIX) find what was not built in them: it
# names the schemas without a suffix. It is replaced only by a complete one, and only when the project changed.
manifest: setup
	@test -e $(MANIFEST) && test -z "$$(find $(DBT) \( -name target -o -name logs \) -prune -o -newer $(MANIFEST) -print)" || { \
	  echo "parsing the dbt project" >&2; \
	  mkdir -p $(DBT)/logs; \
	  OL_SCHEMA_SUFFIX= $(VENV)/bin/dbt --quiet parse --project-dir $(DBT) --profiles-dir $(DBT) --target-path target/parse >$(DBT)/logs/parse.log 2>&1 || { \
	    cat $(DBT)/logs/parse.log >&2; exit 1; }; \
	  mv $(DBT)/target/parse/manifest.json $(MANIFEST); }
