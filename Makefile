# Everything runs in the project's own .venv, made on first use; nothing needs to be activated.
# Paths are relative, so that the folder's name may hold spaces and `make -C` works.

BOOT := $(shell command -v "$(PYTHON)" || command -v python3 || command -v python)
PY := .venv/bin/python
TESTS ?=
WORKERS ?= 2

# Without saved bytecode every Python started here would compile torch anew, seconds each time.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help lab setup peers test test-fast build run lint lock doctor clean

help:  ## list what make can do here
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' Makefile | \
	  while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

lab: setup  ## install if needed and open JupyterLab (PORT=8899, BROWSER=none: print the address)
	@$(PY) -m tutorlib.cli lab $(if $(PORT),--port $(PORT))

setup:  ## make .venv and install the course (PYTHON=..., TORCH_INDEX_URL=... if you must)
	@test -n "$(BOOT)" || { echo "No Python found. Install Python 3.11, 3.12 or 3.13 from python.org." >&2; exit 1; }
	@"$(BOOT)" scripts/setup_env.py

# Pinned, so that pip asks the network nothing when all is there; one retry, or offline takes minutes.
peers: setup  ## install the packages that some tests compare ours with (CI does)
	$(PY) -m pip --disable-pip-version-check install --quiet --retries 1 --no-compile --no-deps \
	  -r requirements-peers.txt

# Two at a time: each is held to one thread, and lessons are timed in seconds of processor.
test: setup  ## install if needed and run all tests (TESTS=tests/mdp: only those; WORKERS=4)
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

test-fast: setup  ## the tests that need neither a browser nor much time
	$(PY) -m pytest -m "not slow and not browser" $(TESTS)

build: setup  ## write notebooks/, exercises/ and solutions/ from course/, and the maps of the units
	$(PY) -m tutorlib.cli build $(UNIT)

run: setup  ## execute the lessons and measure them (UNIT=06: only that one)
	$(PY) -m tutorlib.cli run $(UNIT)

lint: setup  ## look for faults in code and lessons without running them
	$(PY) -m ruff check .
	$(PY) -m tutorlib.cli build --check

doctor: setup  ## say whether this machine is ready for the course
	@$(PY) -m tutorlib.cli doctor

lock: setup  ## write requirements.lock from what is installed in .venv
	$(PY) scripts/lock.py

clean:  ## remove what make made (.venv, caches); notebooks and progress stay
	rm -rf .venv .lab .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
