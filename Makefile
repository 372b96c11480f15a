# `make run` starts everything on this machine; `make test` checks everything.
# Needs Python 3.11 and make. What else is needed is installed under .tools/ and .venv/.

PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
GROUPS := --extra demo --group web
ARGS ?=

# Trust whom this machine trusts: behind a company's proxy that is not the tools' own list.
export UV_SYSTEM_CERTS := true
export NODE_USE_SYSTEM_CA := 1

.DEFAULT_GOAL := help
.PHONY: help install web run lock format check test test-long bench fuzz screenshots well-known dist browser clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(UV): deploy/uv.txt
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/uv.txt
	@touch $(UV)

# Locked and hashed; an environment that is already right takes a fraction of a second.
install: $(UV) ## install what `make run` needs
	UV_PYTHON=$(PYTHON) $(UV) sync --quiet --frozen --inexact $(GROUPS)

web: install ## build the page's third-party modules and translations
	$(BIN)/python web/build.py

run: web ## start a clearinghouse on :8000 and a sample platform on :8001
	$(BIN)/unspread demo $(ARGS)

# Debian's Chromium where we may install it, else Playwright's own.
browser: install
	@command -v chromium >/dev/null || $(BIN)/python -m tests.browser

lock: $(UV) ## resolve dependencies anew, and export them for plain pip
	UV_PYTHON=$(PYTHON) $(UV) lock
	$(UV) export --frozen --quiet --extra demo --no-emit-project --no-dev --no-header --output-file requirements.lock

format: GROUPS += --group dev
format: install ## rewrite sources in the project's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

check: GROUPS += --group dev
check: web ## formatting, lint, types, import direction, TypeScript's view of the page
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python web/build.py --check

test: GROUPS += --group dev
# A file is one story: its tests run in order, in one process.
test: check browser ## everything a change must pass, under 10 minutes on two cores
	$(BIN)/pytest -m "not long" -n 2 --dist loadfile $(ARGS)

test-long: GROUPS += --group dev --group long
test-long: check browser ## everything, with the checks that take long
	@command -v firefox-esr >/dev/null || $(BIN)/python -m tests.browser firefox-esr
	@command -v WebKitWebDriver >/dev/null || $(BIN)/python -m tests.browser webkit2gtk-driver xvfb xauth gstreamer1.0-libav
	$(BIN)/pytest $(ARGS)

bench: GROUPS += --group dev --group bench
bench: web ## every figure in docs/benchmarks.md, beside its peer
	$(BIN)/python -m benchmarks $(ARGS)

vpdq: install ## build the peer of the videos' benchmark; needs FFmpeg's headers (lib*-dev) and CMake
	$(UV) pip install --python $(BIN)/python vpdq==0.2.5

fuzz: GROUPS += --group dev --group fuzz
fuzz: install ## ten minutes of coverage-guided fuzzing of every parser
	$(BIN)/python -m tests.fuzz $(ARGS)

screenshots: GROUPS += --group dev
screenshots: web browser ## every step of the page, in English and Arabic, for docs/person
	$(BIN)/python -m tests.screenshots

well-known: GROUPS += --group dev
well-known: install ## make the fingerprints of flags, logos and such anew; needs Debian or Ubuntu
	$(BIN)/python -m unspread.testing.well_known_pictures

dist: web ## a wheel with the built page in it, for `pip install`
	rm -rf dist
	$(UV) build --quiet --wheel --out-dir dist

clean: ## remove what was built; keeps data
	rm -rf .venv .tools build dist web/node_modules src/*.egg-info src/unspread/match/*.so
