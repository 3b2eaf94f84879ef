module github.com/racecar-go/racecar/test/deploy/keda

go 1.26.0

require (
	github.com/kedacore/keda/v2 v2.21.0
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3
	sigs.k8s.io/yaml v1.6.0
)

require (
	go.yaml.in/yaml/v2 v2.4.4 // indirect
	golang.org/x/text v0.41.0 // indirect
)
