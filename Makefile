# The front door. Everything that starts clusters needs root on a Debian machine; `make setup` installs what
# is missing, and each target says so itself if something is.

CARGO ?= cargo
# Seconds per fuzz target.
SECONDS_EACH ?= 60

# What is tested, demonstrated and measured; `make build` makes it.
export PCMK_DAEMON ?= $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/daemon/pacemaker-remoted

.PHONY: help setup build static wheel packages packages-python demo test test-unit test-second-opinion test-rig test-tools test-differential test-cts test-nova-probes test-recovery test-recovery-all test-power test-probes test-python test-module test-pcs test-packages test-packages-python test-all bench bench-recovery fuzz lint clean

help:
	@echo 'make demo       a cluster and what breaks in it, a cloud and a host that dies: watch them recover'
	@echo 'make test       unit tests, real clusters, the C daemon side by side, packages'
	@echo 'make test-pcs   pcs and crmsh against the daemon'
	@echo 'make test-probes  the probes of computes against real libvirtd, QEMU and faults'
	@echo 'make test-nova-probes  the probes against a real nova-compute'
	@echo 'make test-recovery  recovery of computes in a real cloud: Keystone, Placement, Nova'
	@echo 'make test-recovery-all  the same, with the trials that take long'
	@echo 'make test-python  the Python module, without Nova and in a whole Nova in one process'
	@echo 'make test-module  the Python module in a real Nova'
	@echo 'make test-packages-python  the packages of the Python module'
	@echo 'make test-power  power devices: OpenIPMI, ipmitool, fence agents, sushy (tests/rig/peers-power installs them)'
	@echo 'make test-all   all of these, the original daemon through the same tests, and fuzz'
	@echo 'make bench      our daemon and the C daemons, measured in one run'
	@echo 'make bench-recovery  a dead host with 50 servers: the agents in use and ours'
	@echo 'make fuzz       fuzz every target for SECONDS_EACH=$(SECONDS_EACH) seconds'
	@echo 'make lint       formatting, clippy, documentation'
	@echo 'make setup      install what the rig needs (apt) and build its images'
	@echo 'make build      target/daemon/pacemaker-remoted'
	@echo 'make static     a fully static pacemaker-remoted: target/static/pacemaker-remoted'
	@echo 'make packages   target/packages: .deb and .rpm'
	@echo 'make packages-python  target/packages: python3-nova-ext'
	@echo 'make wheel      target/wheels: the Python module'

build:
	$(CARGO) build --locked --profile daemon -p pcmk-remote -p libvirt-probe -p nova-ext

# With a target named, the flag is for the program alone and not for build scripts.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
static:
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --locked --profile daemon -p pcmk-remote \
		--bin pacemaker-remoted --target $(HOST)
	install -D $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/$(HOST)/daemon/pacemaker-remoted \
		$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/static/pacemaker-remoted

# One for all Pythons from 3.9 on.
wheel:
	tests/rig/python wheel

packages: build
	packaging/build

# Needs no pip. Optimised as the wheel is, so that it takes some minutes.
packages-python:
	$(CARGO) build --locked --release -p nova-ext-python
	PCMK_PACKAGES=python3-nova-ext packaging/build

setup:
	tests/rig/setup
	tests/rig/images

# KEEP=1 leaves everything up and says how to look around. Builds the image of the cloud, if it is not there.
demo: setup build
	$(CARGO) run --locked -q -p pcmk-interop --bin demo

test: setup build test-unit test-second-opinion test-differential test-rig test-tools test-cts test-probes test-packages

test-unit:
	$(CARGO) test --locked --workspace --exclude pcmk-interop --exclude pcmk-differential --exclude nova-ext-python

# libvirt as the probe speaks it and as C libvirt does.
test-second-opinion:
	$(CARGO) test --locked -p libvirt-probe --features virt --test second_opinion

test-differential: build
	$(CARGO) test --locked -p pcmk-differential

test-rig: build
	PCMK_UNDER_TEST=ours $(CARGO) test --locked -p pcmk-interop --lib --test cluster --test policy --test agents --test container

# Pacemaker's tools on remote nodes, also with the newest release.
test-tools: build
	PCMK_UNDER_TEST=ours $(CARGO) test --locked -p pcmk-interop --test tools

test-cts: build
	tests/rig/cts-build
	PCMK_UNDER_TEST=ours $(CARGO) test --locked -p pcmk-interop --test cts

# The probes against a real nova-compute. The image with it is built when this asks for it.
test-nova-probes: build
	PCMK_UNDER_TEST=ours $(CARGO) test --locked -p pcmk-interop --test nova

# Recovery in a real cloud. The image with it is built when this asks for it.
test-recovery: build
	$(CARGO) test --locked -p pcmk-interop --test recovery

test-recovery-all: build
	$(CARGO) test --locked -p pcmk-interop --test recovery -- --include-ignored

# The environments with Nova and its tests are made when this asks for them.
test-python: build
	tests/rig/python

# The same as processes of their own, in the cloud of test-recovery, with the engine.
test-module: build
	$(CARGO) build --locked --release -p nova-ext-python
	$(CARGO) test --locked -p pcmk-interop --test module

# Installs nothing: tests/rig/peers-power does.
test-power:
	$(CARGO) test --locked -p nova-ext --test power
	$(CARGO) test --locked -p nova-ext --features power-peers --test power_peers

test-packages-python: packages packages-python
	$(CARGO) test --locked -p pcmk-interop --test packages -- --ignored

# The images with pcs and crmsh are built when this asks for them.
test-pcs: build
	PCMK_UNDER_TEST=ours $(CARGO) test --locked -p pcmk-interop --test pcs

# The images with libvirt are built when this asks for them.
test-probes: build
	PCMK_UNDER_TEST=ours $(CARGO) test --locked -p pcmk-interop --test probes

test-packages: packages static
	$(CARGO) test --locked -p pcmk-interop --test packages

# The original first: a test that it fails is wrong, or lists the difference.
test-all: setup build
	PCMK_UNDER_TEST=theirs $(CARGO) test --locked -p pcmk-interop --test cluster --test pcs --test tools
	tests/rig/cts-build
	PCMK_UNDER_TEST=theirs $(CARGO) test --locked -p pcmk-interop --test cts
	$(MAKE) test test-nova-probes test-recovery-all test-python test-module test-packages-python test-pcs
	$(MAKE) fuzz

bench: setup packages
	tests/bench/run
	tests/bench/run-tools
	tests/bench/run-recovery-agents
	tests/bench/footprint

# A host with 50 servers: the agents in use and ours, in one cloud.
bench-recovery: setup build
	tests/bench/run-recovery

fuzz:
	tests/fuzz/run $(SECONDS_EACH)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items -q

clean:
	$(CARGO) clean
