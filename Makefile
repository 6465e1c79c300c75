# Two commands to start with: make demo, make test. `make help` lists the rest.
PYTHON ?= python3
bin := .venv/bin
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest test-newest check prepare tables adopt docs check-site data wheel build clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo      install, train four networks on digits, show them beside the article (minutes)'
	@echo 'make test      install, run every notebook and every test'
	@echo 'make test-oldest, make test-newest'
	@echo '               install the package with the oldest or the newest fastai it may have, and try it'
	@echo 'make prepare   after a change to a notebook: export, clean, badges, README'
	@echo 'make tables    run again every page that shows records or packaged networks, then prepare'
	@echo 'make adopt FROM=FOLDER'
	@echo '               take records and weights of dl_denoise reproduce into the package, then make tables'
	@echo 'make check     are modules, notebooks and README in step?'
	@echo 'make docs      build the site into _docs (needs Quarto)'
	@echo 'make check-site  check of the site what can be checked without Quarto'
	@echo 'make data      download MNIST, unless it is there'
	@echo 'make wheel     build the package into dist, as it is published; TAG=v1.2.3 makes sure of its version'
	@echo 'make clean     remove what was built, and the environments'
	@echo
	@echo 'Another Python: make demo PYTHON=python3.12'

# ---- the environment: made once, again only if settings.ini or setup.py change

# a virtual environment in the folder $(1). Old Pythons bring an old pip, which searches many minutes for versions that fit
define environment
@'$(PYTHON)' -c '' 2>/dev/null || { echo "There is no $(PYTHON) that runs here. Install Python 3.10 or newer, or name yours: make demo PYTHON=python3.12" >&2; exit 1; }
@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is Python $$('$(PYTHON)' -c 'import platform; print(platform.python_version())'), but dl_denoise needs 3.10 or newer. Name one: make demo PYTHON=python3.12" >&2; exit 1; }
@'$(PYTHON)' -m venv --clear $(1) || { rm -rf $(1); echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip || { rm -rf $(1); exit 1; }
endef

# pip in the environment $(1) installs $(2)
define install_into
@$(1)/bin/python -m pip install --disable-pip-version-check --progress-bar off $(2) >$(1)/install.log 2>&1 || { tail -n 20 $(1)/install.log >&2; echo 'The installation failed; all of its output is in $(1)/install.log' >&2; exit 1; }
endef

$(bin)/python:
	$(call environment,.venv)

# an empty extra is the package alone, as a user gets it
define install
@echo 'Installing into .venv. PyTorch is large: this takes some minutes and up to 6 GB, once.'
$(call install_into,.venv,-e '.$(1)')
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

# every page as Colab runs it, and every test; two workers with a thread each
test: $(dev)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest tests -n 2 --dist loadfile --durations=15

# what settings.ini asks for at least, and what pip finds
fastai_oldest = $(shell sed -n 's/^requirements = .*fastai>=\([0-9.]*\).*/fastai==\1/p' settings.ini)
fastai_newest = fastai

test-oldest test-newest: test-%:
	$(call environment,.venv-$*)
	@rm -rf build
	@echo 'Installing $(fastai_$*) into .venv-$*'
	$(call install_into,.venv-$*,. $(fastai_$*) pytest)
	MPLBACKEND=agg OMP_NUM_THREADS=1 DL_DENOISE_BESIDE=$* .venv-$*/bin/python -m pytest tests/test_wheel.py -k 'beside and $*'

prepare: $(dev)
	$(bin)/python tools/badges.py
	$(bin)/nbdev_clean
	$(bin)/python tools/export.py
	$(bin)/python tools/readme.py

tables: $(dev)
	$(bin)/python tools/tables.py
	$(bin)/python tools/front.py
	$(MAKE) prepare

adopt: $(dev)
	@[ -n '$(FROM)' ] || { echo 'Name the folder: make adopt FROM=reproduce-all' >&2; exit 2; }
	$(bin)/python tools/adopt.py '$(FROM)'
	$(MAKE) tables

docs: $(dev)
	$(bin)/python tools/website.py

check-site: $(dev)
	$(bin)/python -m pytest tests/test_site.py tests/test_references.py

data: $(user)
	$(bin)/python -c 'from dl_denoise.data import mnist; print(mnist())'

# neither needs the package itself: a small environment of its own
.venv-dist/bin/twine:
	$(call environment,.venv-dist)
	$(call install_into,.venv-dist,build twine)

version = $(shell sed -n 's/^version = //p' settings.ini)

wheel build: .venv-dist/bin/twine
	@[ -z '$(TAG)' ] || [ '$(TAG)' = 'v$(version)' ] || { echo 'The tag is $(TAG), but the version in settings.ini is $(version)' >&2; exit 1; }
	rm -rf build dist
	.venv-dist/bin/python -m build --outdir dist
	.venv-dist/bin/twine check --strict dist/*

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-dist _docs _proc build dist demo1 demo1-[0-9]* live *.egg-info .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
