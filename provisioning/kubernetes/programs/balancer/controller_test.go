package main

import (
	"context"
	"errors"
	"reflect"
	"sort"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"k8s.io/kubernetes/cmd/dayfly/shared/testworld"
)

var must, eventually = testworld.Must, testworld.Eventually

func TestTheRunningProgramAllocatesAndHolds(t *testing.T) {
	api := newAPI(node("node01", true))
	held := newMemory("192.168.67.200")
	from := start(t, api, "node01", held)
	// An address of an earlier process.
	eventually(t, func() bool { return held.are() })

	services := api.client.CoreV1().Services("default")
	_, err := services.Create(context.Background(), balanced("web", asks("192.168.67.10")), metav1.CreateOptions{})
	must(t, err)
	eventually(t, func() bool { return api.address(t, "web") == "192.168.67.10" && held.are("192.168.67.10") })
	if held.announced("192.168.67.10") == 0 {
		t.Error("not announced")
	}
	if from.endpoints.IsWatched() {
		t.Error("the Endpoints are followed without a Service of policy Local")
	}

	changed := api.service(t, "web")
	changed.Spec.Type = v1.ServiceTypeClusterIP
	_, err = services.Update(context.Background(), changed, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, func() bool { return api.address(t, "web") == "" && held.are() })

	_, err = services.Create(context.Background(), balanced("other"), metav1.CreateOptions{})
	must(t, err)
	eventually(t, func() bool { return held.are("192.168.67.100") })
	must(t, services.Delete(context.Background(), "other", metav1.DeleteOptions{}))
	eventually(t, func() bool { return held.are() })
}

func TestAnAddressFollowsTheEndpointsOfALocalService(t *testing.T) {
	api := newAPI(node("node01", true), node("node02", true), balanced("web", has("192.168.67.10"), local), endpointsOn("web", "node01"))
	first, second := newMemory(), newMemory("192.168.67.10")
	from := start(t, api, "node01", first)
	start(t, api, "node02", second)
	eventually(t, func() bool { return first.are("192.168.67.10") && second.are() })
	eventually(t, from.endpoints.IsWatched)
	_, err := api.client.CoreV1().Endpoints("default").Update(context.Background(), endpointsOn("web", "node02"), metav1.UpdateOptions{})
	must(t, err)
	eventually(t, func() bool { return first.are() && second.are("192.168.67.10") })
	if second.announced("192.168.67.10") == 0 {
		t.Error("the move was not announced")
	}
}

func TestOneNodeHoldsEachAddress(t *testing.T) {
	objects := []runtime.Object{node("node01", true), node("node02", true), node("node03", false)}
	for last := 10; last < 30; last++ {
		objects = append(objects, balanced(rangeAddress(last), has(rangeAddress(last))))
	}
	api := newAPI(objects...)
	all := []*memory{newMemory(), newMemory(), newMemory("192.168.67.10")}
	for i, held := range all {
		start(t, api, []string{"node01", "node02", "node03"}[i], held)
	}
	eventually(t, func() bool {
		return len(all[0].list()) > 0 && len(all[1].list()) > 0 && len(all[0].list())+len(all[1].list()) == 20 && all[2].are()
	})
}

func TestAddressesOfAnEarlierProcessStayUntilTheirOwnersAreKnown(t *testing.T) {
	cluster := newMirrors(t)
	held := newMemory("192.168.67.10", "192.168.67.11")
	controller := newController("node01", cluster, held)
	must(t, controller.pass(context.Background()))
	if !held.are("192.168.67.10", "192.168.67.11") {
		t.Fatal("removed before the Services were listed", held.list())
	}
	must(t, cluster.services.Replace([]interface{}{balanced("web", has("192.168.67.10"))}, "1"))
	must(t, controller.pass(context.Background()))
	if !held.are("192.168.67.10", "192.168.67.11") {
		t.Fatal("removed before the nodes were listed", held.list())
	}
	must(t, cluster.nodes.Replace([]interface{}{node("node01", true)}, "1"))
	must(t, controller.pass(context.Background()))
	if !held.are("192.168.67.10") {
		t.Error(held.list())
	}
}

func TestAFailureOfTheKernelIsRepeatedAndStopsNoOtherAddress(t *testing.T) {
	cluster := newMirrors(t)
	must(t, cluster.services.Replace([]interface{}{balanced("a", has("192.168.67.10")), balanced("b", has("192.168.67.11"))}, "1"))
	must(t, cluster.nodes.Replace([]interface{}{node("node01", true)}, "1"))
	held := newMemory()
	held.failures = 1
	controller := newController("node01", cluster, held)
	if err := controller.pass(context.Background()); err == nil || !held.are("192.168.67.11") {
		t.Error(err, held.list())
	}
	must(t, controller.pass(context.Background()))
	if !held.are("192.168.67.10", "192.168.67.11") {
		t.Error(held.list())
	}
}

func TestAMoveIsAnnouncedAgain(t *testing.T) {
	held := newMemory("192.168.67.10", "192.168.67.11")
	newController("node01", newMirrors(t), held).announceAll()
	if held.announced("192.168.67.10") != 1 || held.announced("192.168.67.11") != 1 {
		t.Error(held.announcements)
	}
}

func TestOnlyWhatAddressesNeedIsKept(t *testing.T) {
	full := balanced("web", has("192.168.67.10"), asks("192.168.67.10"), local)
	full.Annotations = map[string]string{"long": "text"}
	kept := trimService(full).(*v1.Service)
	if kept.Annotations != nil || kept.Spec.Selector != nil {
		t.Errorf("%+v", kept)
	}
	if len(plan([]*v1.Service{kept})) > 0 || !isLocal(kept) || kept.UID == "" {
		t.Errorf("%+v", kept)
	}
	if first, second := trimNode(node("node01", true)), trimNode(node("node01", true)); !reflect.DeepEqual(first, second) {
		t.Error("a heartbeat changes a node")
	}
	one, other := endpointsOn("web", "node01", "node02"), endpointsOn("web", "node02", "node01", "node01")
	one.Subsets[0].Addresses[0].TargetRef = &v1.ObjectReference{Name: "web-1"}
	if !reflect.DeepEqual(trimEndpoints(one), trimEndpoints(other)) {
		t.Error("a pod that is replaced on its node changes the Endpoints")
	}
	if found := nodesOf(trimEndpoints(one).(*v1.Endpoints)); !reflect.DeepEqual(found, nodesOf(one)) {
		t.Error(found)
	}
}

// memory holds a node's addresses.
type memory struct {
	sync.Mutex
	addresses     map[string]bool
	announcements []string
	failures      int
}

func newMemory(addresses ...string) *memory {
	made := &memory{addresses: map[string]bool{}}
	for _, one := range addresses {
		made.addresses[one] = true
	}
	return made
}

func (m *memory) List() ([]string, error) { return m.list(), nil }

func (m *memory) Add(address string) error {
	m.Lock()
	defer m.Unlock()
	if m.failures > 0 {
		m.failures--
		return errors.New("no buffer space")
	}
	m.addresses[address] = true
	return nil
}

func (m *memory) Remove(address string) error {
	m.Lock()
	defer m.Unlock()
	delete(m.addresses, address)
	return nil
}

func (m *memory) Announce(address string) error {
	m.Lock()
	defer m.Unlock()
	m.announcements = append(m.announcements, address)
	return nil
}

func (m *memory) announced(address string) (times int) {
	m.Lock()
	defer m.Unlock()
	for _, one := range m.announcements {
		if one == address {
			times++
		}
	}
	return times
}

func (m *memory) list() []string {
	m.Lock()
	defer m.Unlock()
	all := []string{}
	for one := range m.addresses {
		all = append(all, one)
	}
	sort.Strings(all)
	return all
}

func (m *memory) are(addresses ...string) bool {
	return reflect.DeepEqual(m.list(), append([]string{}, addresses...))
}

// started are the sources of a running program.
type started struct{ services, nodes, endpoints *testworld.Source }

// start runs the program of a node, which allocates on node01, and waits for its watch of Services.
func start(t *testing.T, api *fakeAPI, name string, held Interface) started {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	from := sourcesOf(api.client)
	controller := newController(name, newCluster(ctx, sources{from.services, from.nodes, from.endpoints}), held)
	if name == "node01" {
		controller.allocator = newAllocator(name, api)
	}
	go controller.run(ctx)
	<-from.services.Watched
	return from
}

// newMirrors returns a cluster with empty mirrors. What would be followed never answers.
func newMirrors(t *testing.T) *Cluster {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	silent := &cache.ListWatch{
		ListFunc:  func(metav1.ListOptions) (runtime.Object, error) { <-ctx.Done(); return nil, ctx.Err() },
		WatchFunc: func(metav1.ListOptions) (watch.Interface, error) { <-ctx.Done(); return nil, ctx.Err() },
	}
	return newCluster(ctx, sources{silent, silent, silent})
}

func sourcesOf(client kubernetes.Interface) started {
	core := client.CoreV1()
	return started{
		services:  testworld.NewSource[*v1.ServiceList](core.Services("")),
		nodes:     testworld.NewSource[*v1.NodeList](core.Nodes()),
		endpoints: testworld.NewSource[*v1.EndpointsList](core.Endpoints("")),
	}
}
