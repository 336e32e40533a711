# Everything runs in a virtual environment of its own, which these targets make.
# PYTHON: the interpreter to make it with; without it, the first one of 3.11 or newer is taken.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo "$$python"; break; }; done)
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
# Both distributions in one command: seism requires the other one, which no index has.
SOURCES = pyproject.toml packaging/seism-middleware/pyproject.toml setup.py seism/proxy/_pump.pyx
INSTALL = $(PIP) install --editable packaging/seism-middleware --editable
NO_PYTHON = Python 3.11 or newer with its venv module is needed (Debian: apt-get install python3-venv)

# pyenv's shims answer for one version only: tox needs each version's own folder on PATH.
PYENV_BINS = $(shell for version in $$(pyenv versions --bare 2>/dev/null | grep -E '^3\.1[123]\.'); do \
	printf '%s/bin:' "$$(pyenv prefix $$version)"; done)

.PHONY: help demo test docs docs-pages soak fuzz attack kills proof proof-part pairs structure apps suites zoo zoo-again lint tox bench bench-observer bench-app bench-away bench-codecs bench-compare bench-dashboard cpython matrix screenshots clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(BIN)/python:
	@'$(PYTHON)' -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "$(NO_PYTHON)" >&2; exit 1; }
	@'$(PYTHON)' -m venv $(VENV)

$(VENV)/.demo: $(SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV), which takes a minute the first time"
	@$(INSTALL) '.[demo]'
	@touch $@

$(VENV)/.test: $(SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV), which takes a minute the first time"
	@$(INSTALL) '.[test,lint]'
	@touch $(VENV)/.demo $(VENV)/.docs $@

$(VENV)/.docs: $(SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV), which takes a minute the first time"
	@$(INSTALL) '.[docs]'
	@touch $@

# After the Debian packages: some of the matrix's clients are compiled. A client that cannot be
# had is left to its tests to report.
$(VENV)/.matrix: $(VENV)/.test tests/debian.py
	@$(BIN)/python -m tests.debian
	@$(INSTALL) '.[matrix]' && touch $@ \
		|| echo "could not install the clients of the matrix" >&2

demo: $(VENV)/.demo ## the whole loop on real backends, about 30 s (ARGS="--seed 7 --app asgi")
	@$(BIN)/seism demo $(ARGS)

test: $(VENV)/.test $(VENV)/.matrix ## the whole test suite (ARGS="-k ledger")
	@$(BIN)/python -m tests.debian
	@$(BIN)/python -m tests.native
	@# Where Python may write no bytecode, each of the thousands of processes would compile it anew.
	@$(BIN)/python -m compileall -q seism seism_middleware tests bench
	$(BIN)/python -m pytest $(ARGS)

DOCS ?= build/docs
SPHINX = $(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -d $(DOCS)/doctrees

docs: docs-pages ## the manual in build/docs: html/, and seism.pdf, about 30 s
	$(BIN)/python docs/pdf.py $(DOCS)/single/index.html $(DOCS)/seism.pdf

docs-pages: $(VENV)/.docs ## the same without the PDF, about 15 s
	$(SPHINX) -b html docs $(DOCS)/html
	$(SPHINX) -b singlehtml -D html_theme=basic -D html_permalinks=0 docs $(DOCS)/single

soak: $(VENV)/.test ## every toxic at random under load, 10 minutes (SEISM_SOAK_SECONDS=3600 SEISM_SOAK_SEED=2)
	SEISM_SOAK_SECONDS=$${SEISM_SOAK_SECONDS:-600} $(BIN)/python -m pytest -s tests/soak $(ARGS)

fuzz: $(VENV)/.test ## every codec under a coverage-guided fuzzer, 2 minutes each (ARGS="--seconds 600 http")
	@$(PIP) install 'atheris>=2.3'
	$(BIN)/python -m tests.protocols.fuzz $(ARGS)

attack: $(VENV)/.test ## hostile peers against a real sidecar, and what bystanders notice, 6 min (ARGS="--only stream", --codecs)
	$(BIN)/python -m tests.attack.run $(ARGS)

kills: $(VENV)/.test ## SIGKILL of each process of a run, 100 times each, resumable, 60 minutes (ARGS="--times 10")
	$(BIN)/python -m tests.attack.kill $(ARGS)

proof: $(VENV)/.test $(VENV)/.matrix ## all long proofs, resumable, written to docs/proof.md, about 75 minutes (ARGS=--again)
	$(BIN)/python -m tests.proof.run all $(if $(SEED),--seed $(SEED)) $(ARGS)

proof-part: $(VENV)/.test ## a part of the long proofs, about 5 minutes; the commit selects it (SEED=7)
	$(BIN)/python -m tests.proof.run part $(if $(SEED),--seed $(SEED)) $(ARGS)

pairs: $(VENV)/.test ## releases with a known bug are told from those that mended it (ARGS="redis_py --times 3")
	$(BIN)/python -m tests.pairs.run $(ARGS)

zoo: $(VENV)/.test ## healthy apps and their sick twins, judged; resumable, prints a table (ARGS="--seeds 1 --load idle")
	$(BIN)/python -m tests.zoo.run $(ARGS)

apps: $(VENV)/.test ## real applications from the package index, judged; resumable, about 6 min each (ARGS="kinto --again")
	$(BIN)/python -m tests.apps.run $(ARGS)

suites: $(VENV)/.test ## test suites of others, from the package index, as the load of pytest --seism; resumable, about 5 min each (ARGS="kinto --again")
	$(BIN)/python -m tests.foreign.run $(ARGS)

zoo-again: $(VENV)/.test ## the zoo's hardest apps ten times, idle and beside busy loops, 1.5 h (ARGS="--times 1 --only pubsub")
	$(BIN)/python -m tests.zoo.again $(ARGS)

structure: $(VENV)/.test ## rooms, arrows, circles, climbs and names, from the imports
	@$(BIN)/python -m tests.structure

lint: $(VENV)/.test ## ruff, mypy strict, and the text checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.prose

tox: $(VENV)/.test ## the suite on each installed Python of 3.11-3.13 (ARGS="-e py312")
	@$(PIP) install 'tox>=4.20'
	PATH="$(PYENV_BINS)$$PATH" $(BIN)/tox run $(ARGS)

# As in: make bench ROUNDS=9 SECONDS=1, QUICK=1, ARGS="--only ping-64 --other NAME=HOST:PORT=PID".
ROUNDS ?= $(if $(QUICK),1,5)
SECONDS ?= $(if $(QUICK),0.3,0.5)

bench: $(VENV)/.demo ## the proxies beside direct, HAProxy and others, then bench-codecs, about 6 minutes (QUICK=1: 1)
	@$(BIN)/python -m bench.run --rounds $(ROUNDS) --seconds $(SECONDS) $(ARGS)
	@$(if $(ARGS),,echo; $(MAKE) --no-print-directory bench-codecs)

bench-codecs: $(VENV)/.demo ## redis-benchmark and pgbench with a protocol tracked and armed, about 90 s
	@$(BIN)/python -m bench.codecs --rounds $(if $(QUICK),1,3) $(ARGS)

bench-observer: $(VENV)/.test ## what the middleware costs, about 3 min (ARGS="--only memory --calls 10000000")
	$(BIN)/python -m bench.middleware $(ARGS)

bench-app: $(VENV)/.matrix ## the middleware in real servers with real clients, about 80 min (ARGS="--only waitress,psycopg2,10 --rounds 6")
	$(BIN)/python -m bench.app $(ARGS)

bench-compare: $(VENV)/.test ## an old commit beside this one, 20 rounds, about 2 hours (BASE=HEAD~1 ARGS="--quick --rounds 6")
	@$(if $(BASE),,echo "usage: make bench-compare BASE=COMMIT" >&2; exit 2)
	$(BIN)/python -m bench.compare --base '$(BASE)' $(ARGS)

bench-away: $(VENV)/.test ## what a stopped, slow or killed sidecar costs, about 2 min (ARGS="--requests 5000")
	$(BIN)/python -m bench.away $(ARGS)

bench-dashboard: $(VENV)/.test ## the page with 100,000 requests in Chromium, about 20 s
	$(BIN)/python -m bench.dashboard $(ARGS)

screenshots: $(VENV)/.test ## the pictures of docs/dashboard.md
	SEISM_SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/dashboard/test_screenshots.py tests/dashboard/test_tried.py

cpython: $(VENV)/.test ## CPython's own tests with and without the patches (ARGS="test.test_ssl", --faulty)
	$(BIN)/python -m tests.cpython.run $(ARGS)

matrix: $(VENV)/.matrix ## each client under each model, written to docs/matrix.md, 15 min (ARGS="--only redis")
	$(BIN)/python -m tests.matrix.run $(ARGS)

clean: ## remove what was made
	-git worktree remove --force build/bench-base 2>/dev/null
	rm -rf $(VENV) .tox build bench.json bench-observer.json bench-app.json bench-dashboard.json bench-codecs.json seism/proxy/_pump.c seism/proxy/_pump.*.so dist *.egg-info seism-report .pytest_cache .mypy_cache .ruff_cache .hypothesis
