// Package keda checks deploy/kubernetes/scaledobject.yaml against what KEDA itself
// ships: the schema that Kubernetes applies to a ScaledObject, and the parameters of
// its triggers. A module of its own, since KEDA requires much that nothing else
// needs; only its files are read.
package keda

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	// It has no dependencies, and keeps the requirement in go.mod.
	_ "github.com/kedacore/keda/v2/version"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

const manifest = "../../../deploy/kubernetes/scaledobject.yaml"

func TestScaledObject(t *testing.T) {
	k := readKEDA(t)
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range k.check(string(text)) {
		t.Error(wrong)
	}
}

// What KEDA or Kubernetes would refuse, or ignore, is found.
func TestWhatIsWrongIsFound(t *testing.T) {
	k := readKEDA(t)
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown field", "minReplicaCount", "minReplicas", "additional properties 'minReplicas' not allowed"},
		{"unknown field deep down", "stabilizationWindowSeconds", "stabilisationWindowSeconds", "'stabilisationWindowSeconds' not allowed"},
		{"required field", "scaleTargetRef:\n    name: user-bans", "scaleTargetRef: {}", "missing property 'name'"},
		{"type", "maxReplicaCount: 8", "maxReplicaCount: eight", "got string, want integer"},
		{"number as metadata", `lagThreshold: "10000"`, "lagThreshold: 10000", "got number, want string"},
		{"more than allowed", "minReplicaCount: 1", "minReplicaCount: 9", "minReplicaCount 9 is above maxReplicaCount 8"},
		{"unknown trigger", "type: kafka", "type: kafak", `there is no trigger "kafak"`},
		{"unknown parameter", "topic: user_banned", "topics: user_banned", `trigger kafka has no parameter "topics"`},
		{"required parameter", "consumerGroup", "# consumerGroup", `trigger kafka wants "consumerGroup"`},
		{"value of a parameter", "offsetResetPolicy: earliest", "offsetResetPolicy: beginning", `"beginning" is none of latest, earliest`},
		{"version", "keda.sh/v1alpha1", "keda.sh/v1", "keda.sh/v1 ScaledObject is not what KEDA serves"},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken := strings.Replace(text, c.old, c.new, 1)
			if broken == text {
				t.Fatalf("%q is not in %s", c.old, manifest)
			}
			if got := strings.Join(k.check(broken), "\n"); !strings.Contains(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// keda is what a version of KEDA says of its resources.
type keda struct {
	apiVersion string
	schema     *jsonschema.Schema
	triggers   map[string][]parameter
}

// parameter of a trigger.
type parameter struct {
	Name     string   `json:"name"`
	Optional bool     `json:"optional"`
	Default  string   `json:"default"`
	Allowed  []string `json:"allowedValue"`
	// InMetadata is false for those that only a TriggerAuthentication gives.
	InMetadata bool `json:"metadataVariableReadable"`
}

func readKEDA(t *testing.T) *keda {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string, into any) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), filepath.FromSlash(name)))
		if err == nil {
			err = yaml.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var crd struct {
		Spec struct {
			Group    string
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	read("config/crd/bases/keda.sh_scaledobjects.yaml", &crd)
	var scalers struct {
		Scalers []struct {
			Type       string
			Parameters []parameter
		}
	}
	read("schema/generated/scalers-schema.json", &scalers)
	if len(crd.Spec.Versions) != 1 || len(scalers.Scalers) == 0 {
		t.Fatalf("%d versions, %d triggers", len(crd.Spec.Versions), len(scalers.Scalers))
	}
	version := crd.Spec.Versions[0]
	k := &keda{apiVersion: crd.Spec.Group + "/" + version.Name, triggers: map[string][]parameter{}}
	for _, s := range scalers.Scalers {
		k.triggers[s.Type] = s.Parameters
	}
	schema := version.Schema.OpenAPIV3Schema
	closed(schema)
	// Any object has these, and its schema does not describe them.
	schema["properties"].(map[string]any)["metadata"] = map[string]any{
		"type": "object", "required": []any{"name"}, "additionalProperties": false,
		"properties": map[string]any{
			"name": map[string]any{"type": "string"}, "namespace": map[string]any{"type": "string"},
			"labels": map[string]any{"type": "object"}, "annotations": map[string]any{"type": "object"},
		},
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("crd", schema); err != nil {
		t.Fatal(err)
	}
	if k.schema, err = compiler.Compile("crd"); err != nil {
		t.Fatal(err)
	}
	return k
}

// closed makes a schema refuse what it does not name. Kubernetes drops that, and
// kubectl warns of it.
func closed(schema map[string]any) {
	if _, ok := schema["properties"]; ok && schema["additionalProperties"] == nil && schema["x-kubernetes-preserve-unknown-fields"] != true {
		schema["additionalProperties"] = false
	}
	for _, key := range []string{"properties", "items", "additionalProperties"} {
		sub, _ := schema[key].(map[string]any)
		if key != "properties" && sub != nil {
			closed(sub)
			continue
		}
		for _, s := range sub {
			closed(s.(map[string]any))
		}
	}
}

// check says what is wrong with a ScaledObject.
func (k *keda) check(text string) []string {
	data, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return []string{err.Error()}
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
	if err != nil {
		return []string{err.Error()}
	}
	var wrong []string
	if err := k.schema.Validate(value); err != nil {
		wrong = append(wrong, err.Error())
	}
	var o struct {
		APIVersion, Kind string
		Spec             struct {
			MinReplicaCount, MaxReplicaCount json.Number
			Triggers                         []struct {
				Type     string
				Metadata map[string]any
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		return append(wrong, err.Error())
	}
	if o.APIVersion != k.apiVersion || o.Kind != "ScaledObject" {
		wrong = append(wrong, fmt.Sprintf("%s %s is not what KEDA serves: %s ScaledObject", o.APIVersion, o.Kind, k.apiVersion))
	}
	// KEDA's one rule in CEL.
	least, _ := o.Spec.MinReplicaCount.Int64()
	most, _ := o.Spec.MaxReplicaCount.Int64()
	if least > most {
		wrong = append(wrong, fmt.Sprintf("minReplicaCount %d is above maxReplicaCount %d", least, most))
	}
	for _, trigger := range o.Spec.Triggers {
		parameters, ok := k.triggers[trigger.Type]
		if !ok {
			wrong = append(wrong, fmt.Sprintf("there is no trigger %q", trigger.Type))
			continue
		}
		given := maps.Clone(trigger.Metadata)
		for _, p := range parameters {
			if !p.InMetadata {
				continue
			}
			value, ok := given[p.Name]
			delete(given, p.Name)
			switch {
			case !ok && !p.Optional && p.Default == "":
				wrong = append(wrong, fmt.Sprintf("trigger %s wants %q", trigger.Type, p.Name))
			case ok && len(p.Allowed) > 0 && !slices.Contains(p.Allowed, fmt.Sprint(value)):
				wrong = append(wrong, fmt.Sprintf("trigger %s: %s: %q is none of %s", trigger.Type, p.Name, value, strings.Join(p.Allowed, ", ")))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(given)) {
			wrong = append(wrong, fmt.Sprintf("trigger %s has no parameter %q", trigger.Type, name))
		}
	}
	return wrong
}
