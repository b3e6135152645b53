package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"k8s.io/kubernetes/cmd/dayfly/shared/testworld"
)

const base = "/apis/metrics.k8s.io/v1beta1"

var must = testworld.Must

var start = time.Date(2030, 5, 17, 12, 0, 0, 0, time.UTC)

// world fakes an API server, kubelets, and the clock.
type world struct {
	*testing.T
	now       time.Time
	mutex     sync.Mutex
	summaries map[string]*stats.Summary
	scrapes   map[string]int
	api       *API
}

// newWorld has two nodes with a pod of two containers on each; both kubelets have samples of ten seconds ago.
func newWorld(t *testing.T) *world {
	w := &world{T: t, now: start, summaries: map[string]*stats.Summary{}, scrapes: map[string]int{}}
	nodes := fake.NewSimpleClientset(node("node01", v1.ConditionTrue), node("node02", v1.ConditionTrue))
	known := runtime.NewScheme()
	must(t, metav1.AddMetaToScheme(known))
	pods := metadatafake.NewSimpleMetadataClient(known, pod("prod", "web-1", "uid-1"), pod("prod", "web-2", "uid-2"), pod("test", "job", "uid-3"))
	samples := newSamples(w.scrape)
	samples.now = func() time.Time { return w.now }
	w.api = &API{&Cluster{nodes.CoreV1().Nodes(), pods.Resource(podsResource), samples}}
	w.sample(start.Add(-10 * time.Second))
	return w
}

// sample has all kubelets take samples at a time.
func (w *world) sample(at time.Time) {
	for name, uid := range map[string]string{"node01": "uid-1", "node02": "uid-2"} {
		w.summaries[name] = &stats.Summary{
			Node: stats.NodeStats{NodeName: name, CPU: cpu(at, 250_000_000), Memory: memory(at, 512)},
			Pods: []stats.PodStats{{
				PodRef: stats.PodReference{UID: uid},
				Containers: []stats.ContainerStats{
					container("app", start.Add(-time.Hour), at, 1_500_000, 10),
					container("side", start.Add(-time.Hour), at.Add(-time.Second), 500_000, 6),
				},
			}},
		}
	}
}

func (w *world) scrape(_ context.Context, node *v1.Node) (*stats.Summary, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.scrapes[node.Name]++
	if summary, found := w.summaries[node.Name]; found {
		return summary, nil
	}
	return nil, errors.New("connection refused")
}

// pod returns the sampled pod of a node.
func (w *world) pod(node string) *stats.PodStats { return &w.summaries[node].Pods[0] }

func (w *world) request(method, path, accept string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	answer := httptest.NewRecorder()
	w.api.ServeHTTP(answer, request)
	return answer
}

// read requests an object; the answer's code must be `code`.
func (w *world) read(path string, code int, into interface{}) {
	w.Helper()
	answer := w.request(http.MethodGet, path, "")
	if answer.Code != code {
		w.Fatalf("%s: %d, not %d: %s", path, answer.Code, code, answer.Body)
	}
	must(w.T, json.Unmarshal(answer.Body.Bytes(), into))
}

func (w *world) nodeNames(query string) []string {
	w.Helper()
	list := metrics.NodeMetricsList{}
	w.read(base+"/nodes"+query, http.StatusOK, &list)
	names := []string{}
	for _, one := range list.Items {
		names = append(names, one.Name)
	}
	return names
}

func (w *world) podNames(path string) []string {
	w.Helper()
	list := metrics.PodMetricsList{}
	w.read(base+path, http.StatusOK, &list)
	names := []string{}
	for _, one := range list.Items {
		names = append(names, one.Namespace+"/"+one.Name)
	}
	return names
}

func node(name string, ready v1.ConditionStatus) *v1.Node {
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}},
		Status:     v1.NodeStatus{Conditions: []v1.NodeCondition{{Type: v1.NodeReady, Status: ready}}},
	}
}

func pod(namespace, name, uid string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid), Labels: map[string]string{"name": name}},
	}
}

func container(name string, started, at time.Time, nanoCores, mebibytes uint64) stats.ContainerStats {
	return stats.ContainerStats{Name: name, StartTime: metav1.NewTime(started), CPU: cpu(at, nanoCores), Memory: memory(at, mebibytes)}
}

func cpu(at time.Time, nanoCores uint64) *stats.CPUStats {
	return &stats.CPUStats{Time: metav1.NewTime(at), UsageNanoCores: &nanoCores}
}

func memory(at time.Time, mebibytes uint64) *stats.MemoryStats {
	bytes := mebibytes << 20
	return &stats.MemoryStats{Time: metav1.NewTime(at), WorkingSetBytes: &bytes}
}
