# Everything a newcomer and the continuous integration need; a fresh machine has Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := artifacts/demo
# What `make other-runtimes` and `make browser` installed, for the tests that need it; empty where they were not run.
empty :=
export TL_OTHER_PYTHONS ?= $(subst $(empty) $(empty),:,$(wildcard $(CURDIR)/build/runtimes/*/bin/python))
export TL_PLAYWRIGHT ?= $(wildcard $(CURDIR)/build/browser)

# What the tests need beside the dependency group `dev`.
EXTRAS := export,fast,heif,serve,tensorboard

.PHONY: demo test check lint coverage test-runtime test-lowest fuzz callers other-runtimes scaling test-scaling page-runtime \
  browser docs pictures release dist clean

demo: $(VENV)/.export  ## Fine-tune, export, verify and classify, with no download but the packages
	rm -rf $(DEMO)
	$(BIN)/tl-train digits --out $(DEMO)/run --mode partial --freeze-until blocks.2 --size 96 --batch-size 32 --epochs 2
	$(BIN)/tl-export $(DEMO)/run --out $(DEMO)/digits.onnx
	$(BIN)/tl-infer $(DEMO)/digits.onnx $(DEMO)/run/held_out --out $(DEMO)/results.csv
	@echo
	@echo "Model:   $(DEMO)/digits.onnx"
	@echo "Results: $(DEMO)/results.csv"
	@echo "Report:  $(DEMO)/run/report.html"
	@$(BIN)/python -c 'import json; held_out = json.load(open("$(DEMO)/run/metrics.json"))["held_out"]; \
	print("Accuracy on the {pictures} held-out pictures: {accuracy:.2%}".format(**held_out))'

# A process per core, each with one thread: the tests start many small programs, which gain little from threads.
test: $(VENV)/.dev lint  ## Everything that must hold
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal

QUICK := tests/test_documentation.py tests/test_public_names.py tests/infer/formats tests/infer/model tests/infer/test_images.py \
  tests/infer/test_sixteen_bit.py tests/train/data tests/train/evaluation tests/train/head tests/train/preprocess \
  tests/train/test_config.py tests/export/graph

check: $(VENV)/.dev lint  ## An answer in about a minute: lint, and the tests that start no program
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal -q $(QUICK)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Programs that a test starts are measured, too; so this takes longer than `make test`, and is a target of its own.
coverage: $(VENV)/.dev  ## Lines and branches that the tests run; fails below what pyproject.toml demands; the pages are in build/coverage/pages
	rm -rf build/coverage
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal --cov --cov-report=html --cov-report=term:skip-covered

test-runtime:  ## The built wheel with only its base dependencies, in a small environment of its own
	rm -rf build/runtime
	$(PYTHON) -m venv build/runtime
	build/runtime/bin/pip install --quiet --disable-pip-version-check build pytest hypothesis
	build/runtime/bin/python -m build --quiet --wheel --outdir build/runtime/dist .
	build/runtime/bin/pip install --quiet --disable-pip-version-check build/runtime/dist/*.whl
	build/runtime/bin/pytest tests/infer

test-lowest:  ## The suite with the oldest versions that pyproject.toml allows
	rm -rf build/lowest
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/pip install --quiet --disable-pip-version-check uv
	build/lowest/bin/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct \
	  --group dev -e '.[$(EXTRAS)]'
	OMP_NUM_THREADS=1 build/lowest/bin/pytest --numprocesses auto --dist worksteal

SECONDS := 60

fuzz: $(VENV)/.dev  ## Every parser with changed files, for SECONDS in all, from SEED or another one each time; what breaks one is kept in artifacts/fuzz
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

callers:  ## What the JavaScript caller needs (Node.js 20.9, npm); without it its tests are skipped
	cd examples/callers && npm ci --ignore-scripts --no-audit --no-fund

other-runtimes:  ## Environments with other versions and providers of onnxruntime; without them their tests are skipped
	rm -rf build/runtimes
	set -e; for runtime in 'onnxruntime==1.16.3 numpy<2' 'onnxruntime==1.20.1 numpy' 'onnxruntime-openvino==1.24.1 numpy'; do \
	  folder="build/runtimes/$${runtime%% *}"; $(PYTHON) -m venv "$$folder"; \
	  "$$folder/bin/pip" install --quiet --disable-pip-version-check $$runtime; done

scaling: $(VENV)/.dev  ## Ray and Spark (1 GB; Spark also needs Java); without them their tests are skipped
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[ray]' pandas pyspark

test-scaling:  ## What `make scaling` installed; apart from `make test`, as each test starts a cluster
	$(BIN)/pytest tests/infer/ray tests/test_examples.py -k 'ray or spark'

browser: page-runtime  ## What drives Chromium (Node.js 20, npm); without it the page of tl-export is not tested in a browser
	mkdir -p build/browser
	npm install --prefix build/browser --ignore-scripts --no-audit --no-fund --no-save playwright-core@1.65.1

page-runtime: $(VENV)/.export  ## Before building the wheel: what `tl-export --page` needs, which it would fetch when first used
	$(BIN)/python -c 'from pathlib import Path; from tl_export.page.runtime import fetch; \
	fetch(Path("export/tl_export/page/runtime"))'

docs: $(VENV)/.dev  ## The documentation as a site, in build/site; strict: a broken link is an error
	$(BIN)/pip install --quiet --disable-pip-version-check --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

NAMED := build/tutorial/runs/named

pictures: docs browser  ## Runs the tutorial and the three programs, and makes the pictures of the documentation of what comes out; five minutes
	rm -rf build/tutorial build/terminal
	$(BIN)/python scripts/run_tutorial.py build/tutorial
	$(BIN)/python scripts/make_terminal_pictures.py build/terminal
	$(BIN)/python -m tl_export $(NAMED) --out build/tutorial/page.onnx --page build/tutorial/cats-dogs.html
	TL_PLAYWRIGHT=build/browser node scripts/make_pictures.mjs $(NAMED)/report.html build/tutorial/cats-dogs.html \
	  docs/pictures/overview.png $(NAMED)/held_out/dog/dog-41.png $(NAMED)/held_out/cat/cat-41.png

# Then look at the diff, commit and tag; publishing is left to you.
release: test  ## make release VERSION=0.2.0: tested, version and changelog cut, wheel and sdist in dist/, checked
	$(BIN)/python scripts/cut_release.py $(VERSION)
	$(MAKE) --no-print-directory dist

dist: $(VENV)/.dev page-runtime  ## Wheel and sdist of the version that the sources have, checked, and the wheel tried in a clean environment
	rm -rf dist build/release
	$(PYTHON) -m venv build/release
	build/release/bin/pip install --quiet --disable-pip-version-check build twine check-wheel-contents
	build/release/bin/python -m build --quiet .
	build/release/bin/twine check --strict dist/*
	build/release/bin/check-wheel-contents dist/*.whl
	$(BIN)/python scripts/try_wheel.py dist/*.whl build/release/clean

clean:
	rm -rf $(VENV) build dist $(DEMO)

# One environment; a stamp says what is in it. Dependency groups need pip 25.1.
$(VENV)/.export: pyproject.toml
	$(MAKE) --no-print-directory install STAMP=$@ WHAT="--editable .[export]"

$(VENV)/.dev: pyproject.toml
	$(MAKE) --no-print-directory install STAMP=$@ WHAT="--group dev --editable .[$(EXTRAS)]"

.PHONY: install
install:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check $(WHAT)
	touch $(STAMP)
