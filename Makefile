# Two commands:  make demo   the main job on real input      make test   lint, types, the test suite
# For who changes labc:  make quick   in a minute, for every save      make test-all   make test, then the sweeps and reduced machines
# TORCH_INDEX=URL takes torch from another index (a CPU-only or CUDA build); PYTHON=python3.12 picks the interpreter.
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo

PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal
# Tests of one function or pass each, and the whole line on the smallest network.
UNITS := tests/test_tiny.py tests/frontend tests/ir tests/passes tests/plan tests/test_imports.py tests/test_lint.py tests/test_naming.py \
    tests/test_target.py tests/train/test_data.py tests/train/test_lab.py tests/train/test_quantize.py

.PHONY: demo quick test test-all sweeps reduced lint clean

demo: $(VENV)/.ready
	$(BIN)/python -m labc.demo --out $(DEMO)

quick: lint
	$(PYTEST) --quiet $(UNITS)

test: lint
	$(PYTEST)

test-all: test
	$(MAKE) sweeps
	$(MAKE) reduced

# Every compiler x kernel x case, long draws of random networks, whatever takes minutes and finds little that make test does not.
sweeps: $(VENV)/.ready
	$(PYTEST) --sweep

# What may depend on tools, as on machines that lack some (tests/tools.py).
reduced: $(VENV)/.ready
	$(PYTEST) --quiet --tools wheels
	$(PYTEST) --quiet --tools some

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find runtime -name '*.[ch]' -exec $(BIN)/clang-format --dry-run -Werror {} +
	$(BIN)/codespell

.PHONY: format
format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find runtime -name '*.[ch]' -exec $(BIN)/clang-format -i {} +

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "labc needs Python 3.11 or later; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python has no venv module. Install it first: apt install python3-venv (Debian, Ubuntu), or take Python from python.org."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet torch -c constraints.txt --index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --quiet -e '.[train,cross,referee,dev]' -c constraints.txt
	@touch $@

clean:
	rm -rf build dist $(VENV)
