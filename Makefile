# Two commands to start with: make demo, make test. `make help` lists the rest.
PYTHON ?= python3
bin := .venv/bin
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check prepare docs check-site wheel build clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo      install, train four networks on digits, show them beside the article (minutes)'
	@echo 'make test      install, run every notebook and every test'
	@echo 'make prepare   after a change to a notebook: export, clean, badges, README'
	@echo 'make check     are modules, notebooks and README in step?'
	@echo 'make docs      build the site into _docs (needs Quarto)'
	@echo 'make check-site  check of the site what can be checked without Quarto'
	@echo 'make wheel     build the package into dist'
	@echo 'make clean     remove what was built, and .venv'
	@echo
	@echo 'Another Python: make demo PYTHON=python3.12'

# ---- the environment: made once, again only if settings.ini or setup.py change

$(bin)/python:
	@'$(PYTHON)' -c '' 2>/dev/null || { echo "There is no $(PYTHON) that runs here. Install Python 3.10 or newer, or name yours: make demo PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is Python $$('$(PYTHON)' -c 'import platform; print(platform.python_version())'), but dl_denoise needs 3.10 or newer. Name one: make demo PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -m venv .venv || { rm -rf .venv; echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# an empty extra is the package alone, as a user gets it
define install
@echo 'Installing into .venv. PyTorch is large: this takes some minutes and up to 6 GB, once.'
@$(bin)/python -m pip install --disable-pip-version-check --progress-bar off -e '.$(1)' >.venv/install.log 2>&1 || { tail -n 20 .venv/install.log >&2; echo 'The installation failed; all of its output is in .venv/install.log' >&2; exit 1; }
@touch $@
endef

.venv/.user: settings.ini setup.py | $(bin)/python
	$(call install,)

.venv/.dev: settings.ini setup.py | $(bin)/python
	$(call install,[dev])

dev := .venv/.dev
user := $(if $(wildcard .venv/.dev),.venv/.dev,.venv/.user)

# ---- what there is to do

demo: $(user)
	$(bin)/dl_denoise demo1 --out demo1

check: $(dev)
	$(bin)/python tools/check.py

# one process for each of two cores, one thread in each
test: $(dev) check
	MPLBACKEND=agg OMP_NUM_THREADS=1 $(bin)/nbdev_test --n_workers 2 --do_print
	$(bin)/python -m pytest tests

prepare: $(dev)
	$(bin)/python tools/badges.py
	$(bin)/nbdev_clean
	$(bin)/nbdev_export
	$(bin)/python tools/readme.py

docs: $(dev)
	$(bin)/python tools/website.py

check-site: $(dev)
	$(bin)/python -m pytest tests/test_site.py tests/test_references.py

wheel build: $(dev)
	$(bin)/python -m build --outdir dist

clean:
	rm -rf .venv _docs _proc build dist demo1 demo1-[0-9]* live *.egg-info .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
