// Package kubernetes checks the manifests of deploy/kubernetes against
// Kubernetes' own types: a module of its own, since they are many.
package kubernetes

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// types of what is in the manifests. KEDA's is checked by test/deploy/keda.
var types = map[string]func() any{
	"apps/v1 Deployment":  func() any { return &apps.Deployment{} },
	"apps/v1 StatefulSet": func() any { return &apps.StatefulSet{} },
	"v1 Service":          func() any { return &core.Service{} },
}

func TestManifests(t *testing.T) {
	files, err := filepath.Glob("../../../deploy/kubernetes/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("manifests %q, %v", files, err)
	}
	pods := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range bytes.Split(data, []byte("\n---\n")) {
			var head struct{ APIVersion, Kind string }
			if err := yaml.Unmarshal(doc, &head); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if head.APIVersion+" "+head.Kind == "keda.sh/v1alpha1 ScaledObject" {
				continue
			}
			make := types[head.APIVersion+" "+head.Kind]
			if make == nil {
				t.Errorf("%s: %s %s is not known here", file, head.APIVersion, head.Kind)
				continue
			}
			object := make()
			if err := yaml.UnmarshalStrict(doc, object); err != nil {
				t.Errorf("%s: %s: %v", file, head.Kind, err)
				continue
			}
			switch o := object.(type) {
			case *apps.Deployment:
				pods++
				checkPod(t, file, o.Spec.Selector.MatchLabels, o.Spec.Template)
				if o.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType {
					t.Errorf("%s: strategy %s", file, o.Spec.Strategy.Type)
				}
			case *apps.StatefulSet:
				pods++
				checkPod(t, file, o.Spec.Selector.MatchLabels, o.Spec.Template)
			}
		}
	}
	if pods != 2 {
		t.Errorf("%d templates of pods were checked", pods)
	}
}

// checkPod checks what Kubernetes would refuse, or an operator regret.
func checkPod(t *testing.T, file string, selector map[string]string, pod core.PodTemplateSpec) {
	for k, v := range selector {
		if pod.Labels[k] != v {
			t.Errorf("%s: the selector does not find the pod: %v", file, pod.Labels)
		}
	}
	if g := pod.Spec.TerminationGracePeriodSeconds; g == nil || *g < 30 {
		t.Errorf("%s: pods are killed before shutdown_timeout", file)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range pod.Spec.Containers {
		if c.LivenessProbe == nil || c.ReadinessProbe == nil {
			t.Errorf("%s: no probes", file)
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: there is no volume %s", file, m.Name)
			}
		}
	}
}
