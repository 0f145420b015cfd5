# Two commands are all that a newcomer needs: make demo, make test. `make help` lists the others.
export PATH := $(PATH):/usr/local/go/bin

export TAGS := netgo osusergo seccomp urfave_cli_no_docs runc_nocriu
PREFIX ?= /usr/local
# Whether the source lies in a Git checkout that Go may read should not decide whether it builds.
BUILD := go build -trimpath -buildvcs=false

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup:
	@scripts/setup

# Phony, since only Go knows what a binary depends on; it links nothing anew that is up to date.
.PHONY: build
build: setup ## build bin/minidock
	@echo 'build: bin/minidock, bin/minidock-probe' >&2
	@CGO_ENABLED=1 $(BUILD) -tags '$(TAGS)' -ldflags '-s -w -linkmode external -extldflags "-static"' \
		-o bin/minidock ./cmd/minidock
	@CGO_ENABLED=0 $(BUILD) -ldflags '-s -w' -o bin/minidock-probe ./internal/probe

# A minidock that only writes its manual page: the one that is installed carries nothing of it.
.PHONY: man
man: setup ## build build/minidock.1, the manual page
	@mkdir -p build
	@$(BUILD) -tags '$(TAGS) manpage' -o build/minidock-man ./cmd/minidock
	@build/minidock-man >build/minidock.1
	@rm build/minidock-man

SHARE = $(DESTDIR)$(PREFIX)/share
COMPLETIONS = cmd/minidock/completions/minidock
.PHONY: install
# It builds nothing: root would do so with another cache, and leave files in the checkout that are not its owner's.
install: ## install what `make build man` has made, and completions, below PREFIX (/usr/local)
	@test -x bin/minidock -a -f build/minidock.1 || { echo 'install: first: make build man' >&2; exit 1; }
	install -D -m 755 bin/minidock '$(DESTDIR)$(PREFIX)/bin/minidock'
	install -D -m 644 build/minidock.1 '$(SHARE)/man/man1/minidock.1'
	install -D -m 644 $(COMPLETIONS).bash '$(SHARE)/bash-completion/completions/minidock'
	install -D -m 644 $(COMPLETIONS).fish '$(SHARE)/fish/vendor_completions.d/minidock.fish'
	install -D -m 644 $(COMPLETIONS).zsh '$(SHARE)/zsh/site-functions/_minidock'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	sed 's|/usr/local/bin|$(PREFIX)/bin|' scripts/systemd/minidock.service >'$(DESTDIR)$(PREFIX)/lib/systemd/system/minidock.service'

.PHONY: demo
demo: ## see containers being throttled and OOM-killed; VM=1 uses the lab VM in any case
	@scripts/demo

.PHONY: test
test: ## lint, unit tests, native tests, and all tests in the lab VM; LAYERS="lint unit" runs some
	@scripts/test $(LAYERS)

.PHONY: lint
lint: ## run the linters only
	@scripts/test lint

.PHONY: bench
bench: build ## measure minidock beside others; PARTS="network dns" measures some
	@scripts/setup bench
	@scripts/bench

.PHONY: compat
compat: build ## run the same commands on a Docker engine and on minidock; RECORD=1 writes down what they say
	@scripts/compat

.PHONY: vm-destroy
vm-destroy: ## remove the lab VM; its box is kept
	@scripts/vagrant/destroy

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build

