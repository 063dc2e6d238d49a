# ekslocal: see README.md. Only Go, git and make are needed.
GO       ?= go
BIN      := bin/ekslocal
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
K8S      = $(shell $(GO) list -m -f '{{.Version}}' k8s.io/kubernetes 2>/dev/null)
# Without its own major and minor version kube-apiserver warns of deprecations that are yet to come.
K8S_BASE := k8s.io/component-base/version
K8S_NUMS  = $(subst ., ,$(patsubst v%,%,$(K8S)))
LDFLAGS   = -s -w -X main.version=$(VERSION) -X k8s.io/client-go/pkg/version.gitVersion=$(K8S) -X $(K8S_BASE).gitVersion=$(K8S) \
	-X $(K8S_BASE).gitMajor=$(word 1,$(K8S_NUMS)) -X $(K8S_BASE).gitMinor=$(word 2,$(K8S_NUMS))
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0
IMAGE    ?= ekslocal:dev

AGENTS   := emulator/nodeagent/binaries/built

.PHONY: help agents build demo test test-integration test-kind test-kind-all bench lint generate image clean

help: ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What nodes run depends on the sources alone, and what is the same is left as it is: then
# nothing that carries it is compiled again.
agents: ## The program of real nodes, which ekslocal carries with it (make build makes it)
	@for arch in amd64 arm64; do \
		new=bin/agents/$$arch; carried=$(AGENTS)/ekslocal-node-$$arch.gz; \
		GOOS=linux GOARCH=$$arch CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o $$new ./cmd/ekslocal-node || exit 1; \
		if ! cmp -s $$new $$new.carried || ! [ -e $$carried ]; then \
			gzip -9nc $$new > $$carried.new && mv $$carried.new $$carried && cp $$new $$new.carried || exit 1; \
		fi; \
	done

build: agents ## Build bin/ekslocal (the first time compiles Kubernetes: minutes on a small machine)
	@GO="$(GO)" sh ./.ci/with-progress "compiling ekslocal with Kubernetes and etcd" \
		env CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/ekslocal

demo: build ## Main job: start the emulator, make a cluster with 3 nodes and 20 pods, leave it running
	@$(BIN) demo

test: build ## Unit, conformance and integration tests that need neither Docker nor a cloud
	@GO="$(GO)" bash ./.ci/test

test-integration: build ## Real clients (aws, kubectl, terraform where installed) against the real binary
	EKSLOCAL_BINARY=$(CURDIR)/$(BIN) CGO_ENABLED=0 $(GO) test -count=1 -parallel 4 -timeout 40m ./integration/...

test-kind: build ## The kind backend, in real containers: installs or finds Docker, builds a node image, removes it all
	GO="$(GO)" bash integration/kind/run.sh

test-kind-all: build ## And engines that restart or die, clusters that are lost, changes under nodes that run: ten minutes
	GO="$(GO)" bash integration/kind/run.sh all

bench: build ## Benchmarks with the peer beside them where it is installed; figures go to docs/performance.md
	EKSLOCAL_BINARY=$(CURDIR)/$(BIN) bash integration/bench/run.sh

lint: ## golangci-lint, installed through Go
	$(GO) run $(GOLANGCI) run ./...

generate: ## Wire tables from the SDK modules, docs/coverage.md and docs/states.md
	$(GO) run ./cmd/wiregen
	$(GO) run ./cmd/coverage > docs/coverage.md
	$(GO) run ./cmd/states > docs/states.md

image: ## Container image from the Dockerfile
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

clean: ## Remove build output (never the Go caches)
	rm -rf bin
