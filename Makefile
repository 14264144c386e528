# Two commands:  make demo   the main job on real input      make test   lint, types, the whole test suite
# TORCH_INDEX=URL takes torch from another index (a CPU-only or CUDA build); PYTHON=python3.12 picks the interpreter.
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo

.PHONY: demo test lint clean

demo: $(VENV)/.ready
	$(BIN)/python -m labc.demo --out $(DEMO)

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

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
