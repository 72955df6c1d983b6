# Sets itself up on first use: `make ablation` on a fresh clone is enough. `make` lists what there is.

# The interpreters to set up with: the first supported one is taken.
PYTHON = python3.13 python3.12 python3.11 python3

# PyTorch's own index to take torch from (cpu, cu126, ...); else PyPI, whose Linux build brings several GB of CUDA.
TORCH ?=

# Further arguments of the command behind a target.
ARGS ?=

BIN = .venv/bin
PIP = $(BIN)/python -m pip -qq --no-input --disable-pip-version-check
SUPPORTED = import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
FINGERPRINT = { cat pyproject.toml requirements.lock | cksum; pwd; }

.PHONY: help ablation test lint ui clean setup lock

help:
	@echo 'make ablation   train the default study and print its effects'
	@echo 'make test       run the tests'
	@echo 'make lint       check style, types and which floor imports which'
	@echo 'make ui         open the MLflow UI on the recorded runs'
	@echo 'make clean      remove .venv, caches and builds; recorded runs stay'
	@echo
	@echo 'TORCH=cpu       on the first set-up: the CPU build of PyTorch (Linux without a GPU)'
	@echo 'PYTHON=path     on the first set-up: the Python to use (3.11 to 3.13)'
	@echo 'ARGS="..."      further arguments: make test ARGS="-k attend"'

ablation: setup
	$(BIN)/ltx train experiment=ablation $(ARGS)

test: setup
	$(BIN)/pytest -q -n auto --maxprocesses 4 $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

ui: setup
	$(BIN)/ltx ui $(ARGS)

clean:
	@rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache
	@find . \( -name .git -o -path ./multirun \) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
	@echo 'Removed .venv, caches and builds. Left as it is: multirun/ (runs, mlflow.db, artifacts).'

# Nothing to do while .venv/.ready names these files and this folder. An environment that was moved, interrupted
# while installing or made with another Python is started over; one that is out of date is brought up to date.
# A Python is judged by running it: pyenv puts names on the path that it then refuses to run.
setup:
	@set -eu; \
	if $(FINGERPRINT) | cmp -s - .venv/.ready; then exit 0; fi; \
	if [ -e .venv/.installing ] \
		|| { [ -e .venv/.ready ] && ! grep -qxF "$$(pwd)" .venv/.ready; } \
		|| ! $(BIN)/python -c 'import pip; $(SUPPORTED)' >/dev/null 2>&1; \
	then \
		python=; \
		for candidate in $(PYTHON); do \
			if "$$candidate" -c '$(SUPPORTED)' >/dev/null 2>&1; then python=$$candidate; break; fi; \
		done; \
		if [ -z "$$python" ]; then \
			echo 'lightning_tx needs Python 3.11, 3.12 or 3.13 with its venv module; tried $(PYTHON).' \
				'Name one: make PYTHON=/path/to/python3' >&2; \
			exit 1; \
		fi; \
		rm -rf .venv; mkdir .venv; touch .venv/.installing; \
		"$$python" -m venv .venv; \
	fi; \
	touch .venv/.installing; \
	echo "Setting up .venv with $$($(BIN)/python -V) (once, a few minutes) ..."; \
	if [ -n '$(TORCH)' ]; then \
		$(PIP) install --no-deps --index-url 'https://download.pytorch.org/whl/$(TORCH)' \
			"$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.lock)"; \
	fi; \
	$(PIP) install -c requirements.lock -e '.[dev]'; \
	$(FINGERPRINT) > .venv/.ready; rm .venv/.installing; \
	echo 'Setting up .venv: done.'

# Pins for every supported Python and platform; what is pinned stays unless pyproject.toml forbids it.
lock: setup
	$(PIP) install uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --extra dev --extra joblib --extra submitit \
		--no-annotate --custom-compile-command 'make lock' -o requirements.lock pyproject.toml $(ARGS)
