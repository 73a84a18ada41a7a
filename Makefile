# `make` alone prints what there is: every target says so itself, after its ##.

BIN     := bin/millrace
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# ARGS go to `millrace dev` or `millrace bench`: make dev ARGS="--listen 127.0.0.1:5006"
ARGS    ?=
# PKG narrows test, race, fuzz and bench: make test PKG=./store/...
PKG     ?= ./...
# FUZZTIME is how long each target is fuzzed. One that fails runs once more: the
# go command fails by itself when the time ends in the middle of something
# ("context deadline exceeded", golang/go#75804); a finding is kept and fails again.
FUZZTIME ?= 30s
# The race detector slows code five to ten times, so `make race` leaves out what
# is measured in time (bench) or builds programs of its own (examples).
RACE    ?= $(shell go list $(PKG) | grep -v -e /bench -e /examples)
# One exact version, built from source by the Go toolchain.
# Sentences for people may begin with Redis (ST1005), and tests may say 302 (ST1013).
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2 -checks inherit,-ST1005,-ST1013
# The tests that hold what is written down equal to the code: see `verify`.
VERIFY  := ^Test(Imports|ExampleConfig|README|Generated|OpenAPI)

# What runs against real brokers: the suite that every source passes, and what
# the whole gateway does.
REAL    := ^(TestKafkaKeepsWhatSourcesPromise|TestSQS|TestAMQP|TestReal.*)$$

.DEFAULT_GOAL := help
.PHONY: help dev build test test-brokers deps lint race fuzz bench bench-go bench-brokers verify fmt

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dev: build ## Build and run the whole gateway, with its own PostgreSQL and Redis
	@exec $(BIN) dev $(ARGS)

build: ## Build bin/millrace
	go build -ldflags '-X main.version=$(VERSION)' -o $(BIN) ./cmd/millrace

test: deps ## Run all tests, after installing or finding what they need
	go test -v -count=1 -timeout 18m $(PKG)

test-brokers: ## Run the tests against Apache Kafka, ElasticMQ and RabbitMQ, which it starts and stops
	@sh .ci/deps brokers
	go run ./millracetest/brokers go test -v -count=1 -timeout 15m -tags brokers -run '$(REAL)' ./sources ./millracetest ./cmd/millrace

deps: ## Install or find PostgreSQL and redis-server, or say what to install
	@sh .ci/deps

lint: ## Check with go vet, gofmt and staticcheck
	go vet ./... && go vet -tags brokers ./bench ./millracetest ./cmd/millrace
	@files=$$(gofmt -l .) && if [ -n "$$files" ]; then echo "not formatted, run 'make fmt':"; echo "$$files"; exit 1; fi
	go run $(STATICCHECK) ./...

race: ## Run the tests under the race detector
	@sh .ci/deps race
	go test -race -count=1 -timeout 18m $(RACE)

fuzz: ## Fuzz each target in turn: FUZZTIME=5m PKG=./egress
	@sh .ci/deps
	@dirs=$$(go list -f '{{.Dir}}' $(PKG)) || exit 1; failed=; for dir in $$dirs; do \
	for target in $$(cat "$$dir"/*_test.go 2>/dev/null | grep -oE '^func Fuzz[A-Za-z0-9]+' | cut -c6-); do \
	echo "$$target in $$dir, $(FUZZTIME)"; \
	once() { go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 3s "$$dir"; }; \
	once || once || failed="$$failed $$target"; \
	done; done; if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

bench: build ## Measure the whole gateway, beside one that keeps nothing: ARGS=--quick
	@sh .ci/deps
	@exec $(BIN) bench $(ARGS)

bench-go: ## Run the benchmarks beside the code, briefly
	@sh .ci/deps
	go test -run '^$$' -bench . -benchtime 1s -timeout 20m $(PKG)

bench-brokers: ## Measure the intake from Apache Kafka and ElasticMQ, beside HTTP's
	@sh .ci/deps brokers
	go run ./millracetest/brokers -only kafka,elasticmq go test -tags brokers -run '^$$' -bench Brokers -benchtime 1x -timeout 15m ./bench

verify: ## Check that generated files, example config, README and imports are in step with the code
	@out=$$(go test -v -count=1 -timeout 5m -run '$(VERIFY)' ./... 2>&1); code=$$?; echo "$$out" | grep -v -e 'no test files' -e 'no tests to run'; \
	if [ $$code -ne 0 ]; then exit $$code; fi; \
	if ! echo "$$out" | grep -q -e '^--- PASS'; then echo "no test matches $(VERIFY)"; exit 1; fi

fmt: ## Format the code
	gofmt -w .
