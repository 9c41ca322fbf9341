# Every target makes the virtual environment it needs; only Python, make and the package index are assumed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# A worker that has run out of tests takes half of those that another still has.
TEST = $(BIN)/python -m pytest --numprocesses auto --dist worksteal
UNCOMPILED = NUMBA_DISABLE_JIT=1 $(TEST) tests/test_kernels.py tests/test_sparse_kernel.py tests/test_nearest.py \
	tests/test_patterns.py tests/test_few.py tests/test_exp_log.py tests/test_model_kernels.py tests/test_agglomerate.py \
	-k "not threads and not cannot_hold and not 130" --cov=expfam_em/kernels --cov-fail-under=92

OLDEST = $(VENV)-oldest

.PHONY: demo test test-all test-one test-oldest bench check docs format clean

demo: $(VENV)/.examples
	$(BIN)/python examples/demo.py out

test: $(VENV)/.dev
	$(TEST)
	$(UNCOMPILED)

# All examples of the random tests, with the matrix products of this processor and with those for AVX-512.
test-all: $(VENV)/.dev
	env -u OPENBLAS_CORETYPE $(TEST) --hypothesis-profile=full
	OPENBLAS_CORETYPE=SkylakeX $(TEST) --hypothesis-profile=full
	$(UNCOMPILED) --hypothesis-profile=full

test-one: $(VENV)/.dev
	$(if $(K),,$(error say which tests: make test-one K=name))
	$(BIN)/python -m pytest -k "$(K)"

# The oldest versions that pyproject.toml allows, which matplotlib 3.8 needs an older pyparsing for.
test-oldest: $(OLDEST)/.dev
	$(OLDEST)/bin/python -m pytest --numprocesses auto --dist worksteal

bench: $(VENV)/.bench
	$(BIN)/python docs/benchmarks/run.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages, in out/docs: warnings are errors. GALLERY=0 leaves the examples as they are instead of running them.
GALLERY ?= 1
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -q -W --keep-going -D plot_gallery=$(GALLERY) docs out/docs

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.examples: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[examples]"
	touch $@

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

$(OLDEST)/.dev: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct \
		--editable ".[dev]" "pyparsing>=3.1,<3.2"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
