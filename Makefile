# `make` lists what there is to do. Only Go is needed, but for what says otherwise.

.DEFAULT_GOAL := help
.PHONY: help demo build test race measure flakes kafka lint fmt tidy ci soak bench broker clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Watch supervised workers assess a week of earthquakes
	go run . demo

build: ## Build racecar and racecarctl into the working directory
	go build .
	go build ./cmd/racecarctl

test: ## Run the tests on the embedded broker, in less than three minutes
	go test ./...

race: ## The same with the race detector
	go test -race -tags lockorder ./...

measure: ## Run the tests of sizes, times and rates, on a machine with nothing else to do
	.ci/measuring-tests | while read -r dir names; do TESTBED_MEASURE=1 go test -v -count 1 -run "^($$names)\$$" ./$$dir || exit 1; done

flakes: ## Run them twenty times, half of it on a loaded machine
	.ci/repeat

kafka: ## Run the suites against Apache Kafka (Java and Maven)
	go run ./test/kafka -- sh -c '.ci/kafka-packages | xargs go test -p 1 -count 1 -timeout 15m'

broker: ## Start three brokers of Apache Kafka and keep them (Java and Maven)
	go run ./test/kafka --brokers 3

lint: ## Run golangci-lint, of the version in tools/go.mod
	tools/run golangci-lint run ./...

fmt: ## Format the code
	gofmt -w $$(git ls-files '*.go')

tidy: ## Bring go.mod and go.sum of every module up to date
	git ls-files go.mod '*/go.mod' | xargs -n 1 dirname | while read -r dir; do (cd "$$dir" && go mod tidy) || exit 1; done

ci: ## All that must hold before a change goes in, in about 25 minutes (Java and Maven)
	bash .ci/run

soak: ## What takes hours; `make soak MINUTES=10` for less (Java and Maven)
	bash .ci/soak $(MINUTES)

bench: ## Compare with a plain sarama loop and others, on Apache Kafka (Java and Maven)
	go run ./bench

clean: ## Remove what was built here; the caches stay
	rm -f racecar racecarctl
	rm -rf tmp
