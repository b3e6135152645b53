package shared

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"k8s.io/kubernetes/cmd/dayfly/shared/testworld"
)

var must = testworld.Must

func TestAMirrorTellsOnlyChangesOfWhatItKeeps(t *testing.T) {
	changes := 0
	mirror := NewMirror(onlyLabels, cache.Indexers{}, func() { changes++ })
	expect := func(after string, wanted int) {
		t.Helper()
		if changes != wanted {
			t.Errorf("%d changes after %s, not %d", changes, after, wanted)
		}
	}
	if mirror.Synced() {
		t.Error("synced before anything was listed")
	}
	must(t, mirror.Replace([]interface{}{namespace("a", "1")}, "1"))
	expect("the list", 1)
	if !mirror.Synced() {
		t.Error("not synced by the list")
	}
	annotated := namespace("a", "1")
	annotated.Annotations = map[string]string{"long": "text"}
	must(t, mirror.Update(annotated))
	expect("a change of what is not kept", 1)
	must(t, mirror.Update(namespace("a", "2")))
	expect("a change of a label", 2)
	must(t, mirror.Add(namespace("b", "1")))
	expect("a new object", 3)
	must(t, mirror.Delete(namespace("b", "1")))
	expect("a removal", 4)
	if keys := mirror.ListKeys(); len(keys) != 1 || keys[0] != "a" {
		t.Errorf("kept %v", keys)
	}
}

func onlyLabels(object interface{}) interface{} {
	full := object.(*v1.Namespace)
	return &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: full.Name, Labels: full.Labels}}
}

func namespace(name, label string) *v1.Namespace {
	return &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"label": label}}}
}
