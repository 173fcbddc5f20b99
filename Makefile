# make demo | test | test-slow | test-fuzz | test-faults | check | audit | venv | s3 | avalanche | clean. VENV and PYTHON may be set: make test VENV=/tmp/venv PYTHON=python3.12

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

# What is installed in $(VENV): the requirements it was built from, and the checkout that is installed editable.
BUILT := $(VENV)/.cfsweep-built
CHECKOUT := $(VENV)/.cfsweep-checkout
WANTED := $(shell cat pyproject.toml constraints.txt | cksum | tr ' ' -)
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Two OpenMP teams on two cores can be ten times slower than one thread each.
TEST_ENV := OMP_NUM_THREADS=1

.PHONY: demo test test-slow test-fuzz test-faults check audit venv s3 avalanche clean
.DEFAULT_GOAL := test

# A network so small that its capacity is scarce: there the trade-off shows.
demo: venv
	$(BIN)/cfsweep run search_spaces/mixed.yaml \
		--stream split-digits \
		--scenario task-il \
		--objective pareto \
		--trials 96 \
		--seeds 3 \
		--set "network.args.hidden=[6, 6]" \
		--set lr=0.03 \
		--set stream.validation_frac=0.2 \
		--out runs/demo
	$(BIN)/cfsweep front runs/demo
	$(BIN)/cfsweep select runs/demo
	$(BIN)/cfsweep confirm runs/demo
	$(BIN)/cfsweep report runs/demo
	[ -e runs/demo-model ] || $(BIN)/cfsweep export runs/demo --to runs/demo-model

test: check
	$(TEST_ENV) $(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile

test-slow: venv
	$(TEST_ENV) $(BIN)/python -m pytest -m slow

# Damaged and hostile inputs: CASES of them, by the clock or by SEED; those that once failed come first.
CASES ?= 10000
test-fuzz: venv
	$(TEST_ENV) $(BIN)/python -m tests.fuzz --named --n $(CASES) $(if $(SEED),--seed $(SEED))

# Real sweeps that are killed, stopped and starved at moments by the clock or by SEED, in so many ROUNDS.
ROUNDS ?= 1
test-faults: venv
	$(TEST_ENV) $(BIN)/python -m tests.faults --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Strict: where the service of advisories is out of reach, pip-audit would else find nothing and be content.
audit:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip --disable-pip-version-check install --quiet pip-audit==2.10.1
	$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

# Does nothing when current. A change of pyproject.toml or constraints.txt installs what changed; another checkout
# that shares $(VENV) only points the editable install at itself.
venv:
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "cfsweep needs Python 3.11 or newer, but got " + sys.version.split()[0] + ". Set PYTHON=python3.11 or newer.")' \
		&& $(PYTHON) -m venv $(VENV); \
	fi
	@if [ "$$(cat $(BUILT) 2>/dev/null)" != "$(WANTED)" ]; then \
		rm -f $(BUILT) $(CHECKOUT) \
		&& $(PIP) install --quiet --constraint constraints.txt setuptools \
		&& $(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]' \
		&& echo '$(CURDIR)' > $(CHECKOUT) \
		&& echo '$(WANTED)' > $(BUILT); \
	elif [ "$$(cat $(CHECKOUT) 2>/dev/null)" != "$(CURDIR)" ]; then \
		rm -f $(CHECKOUT) \
		&& $(PIP) install --quiet --no-deps --no-build-isolation --editable . \
		&& echo '$(CURDIR)' > $(CHECKOUT); \
	fi

# A server that speaks S3, beside $(VENV): the tests that need one skip where it is not.
s3:
	$(PYTHON) -m venv $(VENV)-s3
	$(VENV)-s3/bin/python -m pip --disable-pip-version-check install --quiet --requirement tests/s3-requirements.txt

# Avalanche is for benchmarks/peers alone. Its environment, beside $(VENV), sees the packages there and adds what they lack.
SITE := -c 'import site; print(site.getsitepackages()[0])'
avalanche: venv
	$(BIN)/python -m venv $(VENV)-avalanche
	$(BIN)/python $(SITE) > "$$($(VENV)-avalanche/bin/python $(SITE))/beside.pth"
	$(VENV)-avalanche/bin/python -m pip --disable-pip-version-check install --quiet \
		--constraint constraints.txt --requirement benchmarks/requirements.txt

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
