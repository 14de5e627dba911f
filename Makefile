# Both targets need only python3 (3.11 or newer) with pip, and a way to PyPI.
# uv is used when it is there, and otherwise put into .bootstrap/, so nothing outside is touched.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
ifeq ($(UV),)
UV := .bootstrap/bin/uv
BOOTSTRAP := $(UV)
endif

# The interpreter is the system's own where it is new enough; uv fetches one only where it is not.
SUITABLE := $(shell $(PYTHON) -c 'import sys; print(int(sys.version_info >= (3, 11)))' 2>/dev/null)
ifeq ($(SUITABLE),1)
export UV_PYTHON ?= $(shell $(PYTHON) -c 'import sys; print(sys.executable)')
endif

# A network that signs with a certificate of its own puts it into the system's list, which uv reads
# when told to; the second name is an older uv's.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= 1
export UV_NATIVE_TLS ?= 1
endif

# PPO brings PyTorch with CUDA, gigabytes; its tests skip without it.
EXTRAS := --all-extras --no-extra ppo

.PHONY: demo test check

demo: $(BOOTSTRAP) ## the whole pipeline on KeyChest, resumable: make demo ARGS="keyroom --seed 1"
	$(UV) run --locked --no-dev --extra minihack sensei run $(ARGS)

# A worker a core, each with whole files, whose tests share what they compile; four at most, because
# a worker can need 5 GB.
test: $(BOOTSTRAP) ## the test suite: make test ARGS="tests/run -x"
	$(UV) run --locked $(EXTRAS) pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(BOOTSTRAP) ## format, lint and types
	$(UV) run --locked $(EXTRAS) ruff format --check src tests
	$(UV) run --locked $(EXTRAS) ruff check src tests
	$(UV) run --locked $(EXTRAS) pyright

.bootstrap/bin/uv:
	$(PYTHON) -m pip install --quiet --root-user-action=ignore --disable-pip-version-check --target .bootstrap uv
