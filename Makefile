# The front door. Everything that starts clusters needs root on a Debian machine; `make setup` installs what
# is missing, and each target says so itself if something is.

CARGO ?= cargo
# Seconds per fuzz target.
SECONDS_EACH ?= 60

# What is tested, demonstrated and measured; `make build` makes it.
export PCMK_DAEMON ?= $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/daemon/pacemaker-remoted

.PHONY: help setup build demo test test-unit test-rig test-differential test-cts test-all bench fuzz lint clean

help:
	@echo 'make demo       a cluster, two remote nodes, and what breaks: watch it recover'
	@echo 'make test       everything that CI checks: unit tests, real clusters, the C daemon side by side'
	@echo 'make test-all   the same and the original daemon through the same tests'
	@echo 'make bench      our daemon and the C daemons, measured in one run'
	@echo 'make fuzz       fuzz every target for SECONDS_EACH=$(SECONDS_EACH) seconds'
	@echo 'make lint       formatting, clippy, documentation'
	@echo 'make setup      install what the rig needs (apt) and build its images'
	@echo 'make build      target/daemon/pacemaker-remoted'

build:
	$(CARGO) build --locked --profile daemon -p pcmk-remote

setup:
	tests/rig/setup
	tests/rig/images

# KEEP=1 leaves the cluster up and says how to look around.
demo: setup build
	$(CARGO) run --locked -q -p pcmk-interop --bin demo

test: setup build test-unit test-differential test-rig test-cts

test-unit:
	$(CARGO) test --locked --workspace --exclude pcmk-interop --exclude pcmk-differential

test-differential: build
	$(CARGO) test --locked -p pcmk-differential

test-rig: build
	PCMK_UNDER_TEST=ours $(CARGO) test --locked -p pcmk-interop --lib --test cluster

test-cts: build
	tests/rig/cts-build
	PCMK_UNDER_TEST=ours $(CARGO) test --locked -p pcmk-interop --test cts

# The original first: a test that it fails is wrong, or lists the difference.
test-all: setup build
	PCMK_UNDER_TEST=theirs $(CARGO) test --locked -p pcmk-interop --test cluster
	tests/rig/cts-build
	PCMK_UNDER_TEST=theirs $(CARGO) test --locked -p pcmk-interop --test cts
	$(MAKE) test
	$(MAKE) fuzz

bench: setup build
	tests/bench/run

fuzz:
	tests/fuzz/run $(SECONDS_EACH)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items -q

clean:
	$(CARGO) clean
