# Every target sets up what it needs in .venv, from the versions in constraints.txt; a second call is fast.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One more than the cores of a small machine: many tests wait for a timer or for another process.
JOBS ?= 3
SEED ?= 1
STEPS ?= 1000000
RUNS ?= 130
KILLS ?= 50
# Other interpreters run what depends on the interpreter; peers, generators, benchmarks and long searches run once.
UNIT := -m 'not once and not stress' --ignore=tests/bench --ignore=tests/chaos --ignore=tests/compiler --ignore=tests/conformity --ignore=tests/contract --ignore=tests/directory --ignore=tests/interop
# Files, and folders too: a removed file changes only its folder.
SOURCES := $(shell find orbit_net -name __pycache__ -prune -o -print)
export ORBIT_NET_INSTALLED := 1
# Tests are compiled once, not once by each worker of each run.
unexport PYTHONDONTWRITEBYTECODE

# Nothing of a package runs while it is installed; and where there is no registry, do not try for long.
NPM := npm ci --silent --no-audit --no-fund --ignore-scripts --fetch-retries=1 --fetch-timeout=20000
NODE := tests/interop/node

.PHONY: help gen demo test stress sim-raft sim-tx invocations lint types bench bench-raft bench-tx kill-tx pure interop conformance build lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

gen: .venv/ready ## generate orbit_net/proto from protos, and the messages of the codec tests
	$(BIN)/python scripts/gen.py

demo: .venv/installed ## run calls, actors on three nodes (DIRECTORY=etcd: in etcd) and Raft, on asyncio and on trio
	$(BIN)/python scripts/demo.py $(DIRECTORY)

test: .venv/installed ## run all tests but stress and interop, and the unit suite on each other CPython that is here
	$(BIN)/pytest -n $(JOBS) --dist worksteal --ignore=tests/interop -m 'not stress'
	@# Their assertions are not rewritten, which is a tenth of the time: a failure tells more on the main interpreter.
	sh scripts/others.sh $(BIN)/python dist/*.whl -n $(JOBS) --dist worksteal --assert=plain $(UNIT)

# What is measured in CPU seconds runs alone: a second worker beside it makes the same work dearer.
stress: .venv/installed ## flood, overload and kill what can be; measure costs that must not grow
	$(BIN)/pytest -n 2 --ignore=tests/interop --ignore=tests/chaos --ignore=tests/codec -m stress
	$(BIN)/pytest tests/chaos tests/codec -m stress

sim-raft: .venv/ready ## simulate Raft clusters in bad conditions: SEED=n STEPS=n
	$(BIN)/python scripts/sim_raft.py --seed $(SEED) --steps $(STEPS)

sim-tx: .venv/ready ## simulate distributed transactions in bad conditions: SEED=n RUNS=n, a hundred transactions each
	$(BIN)/python scripts/sim_tx.py --seed $(SEED) --runs $(RUNS)

kill-tx: .venv/installed ## kill coordinators and participants of real processes at the worst moments: KILLS=n
	$(BIN)/python scripts/tx_kill.py $(KILLS)

invocations: .venv/installed ## 100,000 invocations over one link that is cut again and again
	ORBIT_NET_INVOCATIONS=100000 $(BIN)/pytest -n 2 tests/messaging/test_link.py -k random_cuts

lint: .venv/ready ## check style and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready ## check types
	$(BIN)/mypy

bench: .venv/installed ## measure against grpclib and grpcio
	$(BIN)/python scripts/bench.py

bench-raft: .venv/installed ## measure Raft on three nodes, beside etcd if it is installed
	$(BIN)/python scripts/bench_raft.py

bench-tx: .venv/installed ## measure distributed transactions with 2 and 5 participants
	$(BIN)/python scripts/bench_tx.py --output docs/bench/transactions.md

pure: .venv/installed ## prove that client and server run without compiled code
	$(BIN)/python scripts/pure.py dist/*.whl

interop: .venv/installed ## run the tests against other gRPC implementations
	@$(MAKE) -s .venv-node/installed 2> /dev/null || echo "no node, no npm or no registry: without @grpc/grpc-js"
	$(BIN)/pytest tests/interop

conformance: .venv/installed ## run the official protobuf conformance tests
	$(BIN)/python scripts/conformance.py

build: .venv/ready ## build the sdist and the wheel into dist
	$(BIN)/python -m hatchling build --clean

lock: .venv/ready ## write the newest versions that fit into constraints.txt
	$(BIN)/python scripts/lock.py

clean: ## remove what the other targets made
	rm -rf .venv .venv-* dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .conformance

.venv/ready: constraints.txt scripts/pythons.sh
	"$$(sh scripts/pythons.sh main)" -m venv --clear .venv
	$(PIP) install -q -c constraints.txt pip
	$(PIP) install -q -r constraints.txt
	touch $@

dist/wheel: .venv/ready pyproject.toml README.md LICENSE $(SOURCES)
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel
	touch $@

.venv-node/installed: $(NODE)/package.json $(NODE)/package-lock.json
	mkdir -p .venv-node
	cp $^ .venv-node
	cd .venv-node && node --version && $(NPM)
	touch $@

.venv/installed: dist/wheel
	$(PIP) install -q --no-deps --force-reinstall dist/*.whl
	touch $@
