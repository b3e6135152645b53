package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

var both = []string{"prod/web-1", "prod/web-2"}

func TestAKubeletIsAskedAgainOnlyAfterAnAnswersAge(t *testing.T) {
	w := newWorld(t)
	for _, one := range []struct {
		later   time.Duration
		scrapes int
	}{{0, 1}, {0, 1}, {14 * time.Second, 1}, {time.Second, 2}, {time.Hour, 3}, {-time.Minute, 4}} {
		w.now = w.now.Add(one.later)
		w.podNames("/pods")
		if w.scrapes["node01"] != one.scrapes || w.scrapes["node02"] != one.scrapes {
			t.Errorf("after %s: %v", one.later, w.scrapes)
		}
	}
}

func TestRequestsAtTheSameTimeShareAScrape(t *testing.T) {
	w := newWorld(t)
	var requests sync.WaitGroup
	for i := 0; i < 8; i++ {
		requests.Add(1)
		go func() {
			defer requests.Done()
			w.request(http.MethodGet, base+"/pods", "")
		}()
	}
	requests.Wait()
	if !reflect.DeepEqual(w.scrapes, map[string]int{"node01": 1, "node02": 1}) {
		t.Errorf("%v", w.scrapes)
	}
}

func TestSamplesOfASavedMachineAreNotBelieved(t *testing.T) {
	w := newWorld(t)
	for _, one := range []struct {
		age      time.Duration
		believed bool
	}{
		{0, true}, {time.Minute, true}, {maxSampleAge - time.Second, true}, {maxSampleAge + time.Second, false}, {24 * time.Hour, false},
		{-time.Second, true}, {-maxClockSkew - 2*time.Second, false},
	} {
		w.now = w.now.Add(maxAnswerAge)
		w.sample(w.now.Add(-one.age))
		expectedNodes, expectedPods := []string{}, []string{}
		if one.believed {
			expectedNodes, expectedPods = []string{"node01", "node02"}, both
		}
		if found := w.nodeNames(""); !reflect.DeepEqual(found, expectedNodes) {
			t.Errorf("%s: %v", one.age, found)
		}
		if found := w.podNames("/pods"); !reflect.DeepEqual(found, expectedPods) {
			t.Errorf("%s: %v", one.age, found)
		}
	}
}

// The program itself is restored with its cache: only the wall clock shows that time has passed.
func TestTheCacheOfASavedProgramIsNotUsed(t *testing.T) {
	if now := newSamples(nil).now(); strings.Contains(now.String(), "m=") {
		t.Errorf("%s has a monotonic clock", now)
	}
	w := newWorld(t)
	w.podNames("/pods")
	w.now = w.now.Add(time.Hour)
	if found := w.podNames("/pods"); len(found) != 0 || w.scrapes["node01"] != 2 {
		t.Errorf("%v after %v", found, w.scrapes)
	}
	w.now = w.now.Add(maxAnswerAge)
	w.sample(w.now)
	if found := w.podNames("/pods"); !reflect.DeepEqual(found, both) {
		t.Errorf("%v", found)
	}
}

func TestANodeWithoutSamplesIsAbsentAndSoAreItsPods(t *testing.T) {
	for name, change := range map[string]func(*world){
		"refuses":        func(w *world) { delete(w.summaries, "node02") },
		"no rate yet":    func(w *world) { w.summaries["node02"].Node.CPU = cpu(start, 0) },
		"no rate":        func(w *world) { w.summaries["node02"].Node.CPU.UsageNanoCores = nil },
		"no memory":      func(w *world) { w.summaries["node02"].Node.Memory = nil },
		"nothing at all": func(w *world) { w.summaries["node02"] = &stats.Summary{} },
	} {
		w := newWorld(t)
		change(w)
		if found := w.nodeNames(""); !reflect.DeepEqual(found, []string{"node01"}) {
			t.Errorf("%s: %v", name, found)
		}
		if found := w.podNames("/pods"); !reflect.DeepEqual(found, []string{"prod/web-1"}) {
			t.Errorf("%s: %v", name, found)
		}
		w.read(base+"/nodes/node02", http.StatusNotFound, &metav1.Status{})
		w.read(base+"/namespaces/prod/pods/web-2", http.StatusNotFound, &metav1.Status{})
	}
}

func TestAPodIsAbsentUnlessAllItsContainersHaveSamples(t *testing.T) {
	for name, change := range map[string]func(*stats.PodStats){
		"no containers":  func(pod *stats.PodStats) { pod.Containers = nil },
		"no processor":   func(pod *stats.PodStats) { pod.Containers[1].CPU = nil },
		"no rate":        func(pod *stats.PodStats) { pod.Containers[1].CPU.UsageNanoCores = nil },
		"no memory":      func(pod *stats.PodStats) { pod.Containers[1].Memory = nil },
		"no working set": func(pod *stats.PodStats) { pod.Containers[1].Memory.WorkingSetBytes = nil },
		"an old sample":  func(pod *stats.PodStats) { pod.Containers[1].CPU.Time = metav1.NewTime(start.Add(-time.Hour)) },
		"an old memory":  func(pod *stats.PodStats) { pod.Containers[1].Memory.Time = metav1.NewTime(start.Add(-time.Hour)) },
		"a first sample": func(pod *stats.PodStats) {
			pod.Containers[1] = container("side", start.Add(-30*time.Second), start, 0, 6)
		},
		"of another pod": func(pod *stats.PodStats) { pod.PodRef.UID = "replaced" },
	} {
		w := newWorld(t)
		change(w.pod("node01"))
		if found := w.podNames("/pods"); !reflect.DeepEqual(found, []string{"prod/web-2"}) {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestAnIdleContainerUsesNothing(t *testing.T) {
	w := newWorld(t)
	w.pod("node01").Containers[1] = container("side", start.Add(-time.Hour), start, 0, 6)
	if found := w.podNames("/pods"); !reflect.DeepEqual(found, both) {
		t.Errorf("%v", found)
	}
}

func TestAStaticPodIsKnownByItsHash(t *testing.T) {
	w := newWorld(t)
	w.pod("node01").PodRef.UID = "hash"
	mirror := pod("prod", "web-1", "uid-1")
	mirror.Annotations = map[string]string{staticPodHash: "hash"}
	found, err := w.api.cluster.podMetrics(context.Background(), []*metav1.PartialObjectMetadata{mirror})
	must(t, err)
	if len(found) != 1 {
		t.Errorf("%v", found)
	}
}

func TestASilentNodeIsNotAsked(t *testing.T) {
	w := newWorld(t)
	w.api.cluster.nodes = fake.NewSimpleClientset(node("node01", v1.ConditionUnknown), node("node02", v1.ConditionFalse)).CoreV1().Nodes()
	if found := w.nodeNames(""); !reflect.DeepEqual(found, []string{"node02"}) {
		t.Errorf("%v", found)
	}
	w.podNames("/pods")
	w.read(base+"/nodes/node01", http.StatusNotFound, &metav1.Status{})
	if w.scrapes["node01"] != 0 {
		t.Errorf("%v", w.scrapes)
	}
}

func TestAKubeletIsAskedAtItsAddressForTheLittleThatIsNeeded(t *testing.T) {
	answer := `{"node": {"nodeName": "node01", "cpu": {"time": "2030-05-17T12:00:00Z", "usageNanoCores": 7}}}`
	server := httptest.NewTLSServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if request.URL.String() != "/stats/summary?only_cpu_and_memory=true" {
			http.Error(writer, "another path", http.StatusForbidden)
			return
		}
		if _, err := writer.Write([]byte(answer)); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	address := server.Listener.Addr().(*net.TCPAddr)
	one := node("node01", v1.ConditionTrue)
	one.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeHostName, Address: "node01"}, {Type: v1.NodeInternalIP, Address: address.IP.String()}}
	one.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(address.Port)
	kubelets := Kubelets{server.Client().Transport}
	summary, err := kubelets.summary(context.Background(), one)
	must(t, err)
	if *summary.Node.CPU.UsageNanoCores != 7 || !summary.Node.CPU.Time.Time.Equal(start) {
		t.Errorf("%v", summary.Node)
	}
	if _, err := (Kubelets{http.DefaultTransport}).summary(context.Background(), one); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate was accepted: %v", err)
	}
	one.Status.Addresses = nil
	if _, err := kubelets.summary(context.Background(), one); err == nil {
		t.Error("a node without an address was asked")
	}
}
