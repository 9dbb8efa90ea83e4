# Everything a newcomer needs is `make demo` and `make test`; CONTRIBUTING.md explains the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Packages where goroutines meet; the race detector runs on these.
RACE := ./event/... ./sensor/spool/... ./sensor/uplink/... ./sensor ./fleet/... ./siem/... ./cmd/otus/...

.PHONY: bin/otus demo test check lint race bench build web web-test sensor generate kill-test kql-score clean

demo: build ## build everything and run the simulated plant: http://127.0.0.1:8080
	bin/otus demo

build: bin/otus ## bin/otus, and the static sensor for amd64 and arm64
	@$(MAKE) --no-print-directory sensor

sensor:
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/otus-sensor-linux-amd64 ./cmd/otus-sensor
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/otus-sensor-linux-arm64 ./cmd/otus-sensor

web: web/dist/index.html ## the pages, embedded into otus

WEB_SOURCES := $(shell find web/src web/public -type f 2>/dev/null) $(wildcard web/*.json web/*.ts web/*.js web/index.html)

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

web/dist/index.html: web/node_modules/.package-lock.json $(WEB_SOURCES)
	cd web && npm run --silent build
	@touch $@

test: web ## every test; those that need Chromium or the shared captures skip where these are missing
	go test -timeout 20m ./...
	@$(MAKE) --no-print-directory web-test

web-test: bin/otus
	cd web && npm test --silent && npm run --silent test:browser && npm run --silent test:real

bin/otus: web
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/otus ./cmd/otus

check: lint race test ## what must be green before a change goes in

lint: web ## format, vet, static checks, web types and lint
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "gofmt: $$files"; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...
	cd web && npm run --silent check

race:
	go test -race -short -timeout 20m $(RACE)

bench: web ## benchmarks; ratios within one run are what counts
	go test -run '^$$' -bench . -benchmem -timeout 30m ./...

kill-test: ## kill otus fifty times at times spread over a run, and compare
	OTUS_KILLS=50 go test -count=1 -timeout 60m -run TestKill -v ./cmd/otus

kql-score: ## how many of the recorded answers and real queries the KQL engine gets right
	go test -count=1 -run 'TestScore' -v ./kql/... ./cmd/kqlcases/... | grep -v '^=== '

generate: ## the generated plug-in lists
	go generate ./...

clean:
	rm -rf bin web/dist/assets web/dist/index.html web/node_modules
