package main

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

func TestDiscoveryNamesTheGroupAndItsResources(t *testing.T) {
	w := newWorld(t)
	groups, group, resources := metav1.APIGroupList{}, metav1.APIGroup{}, metav1.APIResourceList{}
	w.read("/apis", http.StatusOK, &groups)
	w.read("/apis/metrics.k8s.io/", http.StatusOK, &group)
	w.read(base, http.StatusOK, &resources)
	if len(groups.Groups) != 1 || groups.Groups[0].Name != "metrics.k8s.io" || groups.Kind != "APIGroupList" {
		t.Errorf("%v", groups)
	}
	if group.PreferredVersion.GroupVersion != "metrics.k8s.io/v1beta1" || len(group.Versions) != 1 || group.Kind != "APIGroup" {
		t.Errorf("%v", group)
	}
	if resources.GroupVersion != "metrics.k8s.io/v1beta1" || resources.Kind != "APIResourceList" {
		t.Errorf("%v", resources)
	}
	for i, expected := range []metav1.APIResource{
		{Name: "nodes", Kind: "NodeMetrics", Verbs: metav1.Verbs{"get", "list"}},
		{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: metav1.Verbs{"get", "list"}},
	} {
		if one := resources.APIResources[i]; !reflect.DeepEqual(one, expected) {
			t.Errorf("%v", one)
		}
	}
	if len(w.scrapes) != 0 {
		t.Errorf("discovery asked kubelets: %v", w.scrapes)
	}
}

func TestANodeHasTheFiguresOfItsKubelet(t *testing.T) {
	w := newWorld(t)
	one := metrics.NodeMetrics{}
	w.read(base+"/nodes/node01", http.StatusOK, &one)
	if one.Name != "node01" || one.Kind != "NodeMetrics" || one.APIVersion != "metrics.k8s.io/v1beta1" {
		t.Errorf("%v", one)
	}
	if one.Usage.Cpu().MilliValue() != 250 || one.Usage.Memory().Value() != 512<<20 {
		t.Errorf("%v", one.Usage)
	}
	if !one.Timestamp.Time.Equal(start.Add(-10*time.Second)) || one.Window.Duration != time.Minute {
		t.Errorf("%s in %s", one.Timestamp, one.Window.Duration)
	}
	if w.scrapes["node02"] != 0 {
		t.Error("another node's kubelet was asked")
	}
}

func TestAPodHasTheFiguresOfItsContainersAndTheirOldestTime(t *testing.T) {
	w := newWorld(t)
	one := metrics.PodMetrics{}
	w.read(base+"/namespaces/prod/pods/web-1", http.StatusOK, &one)
	if one.Namespace != "prod" || one.Name != "web-1" || one.Kind != "PodMetrics" || one.Labels["name"] != "web-1" {
		t.Errorf("%v", one)
	}
	if len(one.Containers) != 2 || one.Containers[0].Name != "app" || one.Containers[1].Name != "side" {
		t.Fatalf("%v", one.Containers)
	}
	if usage := one.Containers[0].Usage; usage.Cpu().String() != "1500u" || usage.Memory().String() != "10Mi" {
		t.Errorf("%v", usage)
	}
	if !one.Timestamp.Time.Equal(start.Add(-11 * time.Second)) {
		t.Errorf("%s", one.Timestamp)
	}
}

func TestListsHaveThePodsOfANamespaceAndOfASelector(t *testing.T) {
	w := newWorld(t)
	w.summaries["node02"].Pods = append(w.summaries["node02"].Pods, *w.pod("node02"))
	w.summaries["node02"].Pods[1].PodRef.UID = "uid-3"
	for path, expected := range map[string]string{
		"/pods":                 "prod/web-1 prod/web-2 test/job",
		"/namespaces/prod/pods": "prod/web-1 prod/web-2",
		"/namespaces/prod/pods?labelSelector=name=web-2": "prod/web-2",
		"/pods?labelSelector=name+in+(job,web-1)":        "prod/web-1 test/job",
		"/pods?labelSelector=name=other":                 "",
		"/namespaces/other/pods":                         "",
	} {
		if found := strings.Join(w.podNames(path), " "); found != expected {
			t.Errorf("%s: %q", path, found)
		}
	}
	if found := w.nodeNames("?labelSelector=kubernetes.io/hostname=node02"); !reflect.DeepEqual(found, []string{"node02"}) {
		t.Errorf("%v", found)
	}
	if found := w.nodeNames(""); !reflect.DeepEqual(found, []string{"node01", "node02"}) {
		t.Errorf("%v", found)
	}
}

func TestAnEmptyListHasItems(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/namespaces/other/pods", "/nodes?labelSelector=none=here"} {
		if text := w.request(http.MethodGet, base+path, "").Body.String(); !strings.Contains(text, `"items":[]`) {
			t.Errorf("%s: %s", path, text)
		}
	}
}

func TestOtherRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, one := range []struct {
		method, path string
		code         int
		reason       metav1.StatusReason
	}{
		{"GET", base + "/nodes/other", 404, metav1.StatusReasonNotFound},
		{"GET", base + "/namespaces/prod/pods/other", 404, metav1.StatusReasonNotFound},
		{"GET", base + "/namespaces/test/pods/web-1", 404, metav1.StatusReasonNotFound},
		{"GET", base + "/pods/web-1", 404, metav1.StatusReasonNotFound},
		{"GET", base + "/nodes/node01/status", 404, metav1.StatusReasonNotFound},
		{"GET", base + "/namespaces/prod/nodes", 404, metav1.StatusReasonNotFound},
		{"GET", base + "/services", 404, metav1.StatusReasonNotFound},
		{"GET", "/openapi/v2", 404, metav1.StatusReasonNotFound},
		{"GET", "/", 404, metav1.StatusReasonNotFound},
		{"GET", "/apis/apps/v1", 404, metav1.StatusReasonNotFound},
		{"GET", base + "/pods?watch=true", 405, metav1.StatusReasonMethodNotAllowed},
		{"POST", base + "/nodes", 405, metav1.StatusReasonMethodNotAllowed},
		{"DELETE", base + "/namespaces/prod/pods/web-1", 405, metav1.StatusReasonMethodNotAllowed},
		{"POST", base, 405, metav1.StatusReasonMethodNotAllowed},
	} {
		answer, status := w.request(one.method, one.path, ""), metav1.Status{}
		must(t, decode(answer.Body.Bytes(), &status))
		if answer.Code != one.code || int(status.Code) != one.code || status.Reason != one.reason || status.Kind != "Status" {
			t.Errorf("%s %s: %d %v", one.method, one.path, answer.Code, status)
		}
	}
	if len(w.scrapes) != 0 {
		t.Errorf("refusals asked kubelets: %v", w.scrapes)
	}
}

// The headers of clients of 1.20 to 1.32: kubectl top, kubectl get, the controller manager.
func TestAnswersHaveTheFormThatIsAskedFor(t *testing.T) {
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io"
	w := newWorld(t)
	for _, one := range []struct {
		accept, media, kind string
		code                int
	}{
		{"", "application/json", "NodeMetricsList", 200},
		{"application/json, */*", "application/json", "NodeMetricsList", 200},
		{"*/*", "application/json", "NodeMetricsList", 200},
		{table + ",application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", "application/json", "Table", 200},
		{"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json", "application/json", "NodeMetricsList", 200},
		{"application/vnd.kubernetes.protobuf, */*", "application/vnd.kubernetes.protobuf", "NodeMetricsList", 200},
		{"application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf", "NodeMetricsList", 200},
		{"application/yaml", "application/json", "Status", 406},
	} {
		answer := w.request(http.MethodGet, base+"/nodes", one.accept)
		if answer.Code != one.code || answer.Header().Get("Content-Type") != one.media {
			t.Errorf("%s: %d %v", one.accept, answer.Code, answer.Header())
			continue
		}
		object := runtime.Object(&metrics.NodeMetricsList{})
		switch one.kind {
		case "Table":
			object = &metav1.Table{}
		case "Status":
			object = &metav1.Status{}
		}
		must(t, decode(answer.Body.Bytes(), object))
		if list, ok := object.(*metrics.NodeMetricsList); ok && (len(list.Items) != 2 || list.Items[1].Usage.Cpu().MilliValue() != 250) {
			t.Errorf("%s: %v", one.accept, list.Items)
		}
		if kind := object.GetObjectKind().GroupVersionKind().Kind; kind != one.kind {
			t.Errorf("%s: %s", one.accept, kind)
		}
	}
	answer, status := w.request(http.MethodGet, base+"/nodes/other", "application/vnd.kubernetes.protobuf"), &metav1.Status{}
	must(t, decode(answer.Body.Bytes(), status))
	if answer.Code != http.StatusNotFound || status.Reason != metav1.StatusReasonNotFound {
		t.Errorf("%d %v", answer.Code, status)
	}
}

func TestATableHasARowForEachPod(t *testing.T) {
	w := newWorld(t)
	answer, table := w.request(http.MethodGet, base+"/namespaces/prod/pods", "application/json;as=Table;v=v1;g=meta.k8s.io"), metav1.Table{}
	must(t, decode(answer.Body.Bytes(), &table))
	if len(table.Rows) != 2 || len(table.ColumnDefinitions) != 4 {
		t.Fatalf("%v", table)
	}
	if cells := table.Rows[1].Cells; !reflect.DeepEqual(cells, []interface{}{"web-2", "2m", "16Mi", "1m0s"}) {
		t.Errorf("%v", cells)
	}
	if object := string(table.Rows[1].Object.Raw); !strings.Contains(object, `"namespace":"prod"`) {
		t.Errorf("%s", object)
	}
}

// decode decodes as client-go does.
func decode(content []byte, into runtime.Object) error {
	codec := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	_, _, err := codec.Decode(content, nil, into)
	return err
}
