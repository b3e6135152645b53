package main

import (
	"context"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"k8s.io/kubernetes/cmd/dayfly/shared/testworld"
)

var eventually = testworld.Eventually

func TestChangesOfObjectsAreFollowed(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	client := fake.NewSimpleClientset(namespace("prod"))
	from := sourcesOf(client)
	cluster := newCluster()
	cluster.follow(ctx, from)
	<-from.services.(*testworld.Source).Watched
	web := clusterService("prod", "web", "10.96.1.1")
	create(t, client, web)
	eventually(t, func() bool { return cluster.service("prod", "web") != nil })
	if err := client.CoreV1().Services("prod").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return cluster.service("prod", "web") == nil })
}

func TestAFailureOfTheServerIsOvercome(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	from := sourcesOf(fake.NewSimpleClientset(namespace("prod")))
	failing := &unreliable{ListerWatcher: from.namespaces, failures: 1}
	from.namespaces = failing
	cluster := newCluster()
	cluster.follow(ctx, from)
	eventually(t, func() bool { return cluster.services.Synced() && cluster.endpoints.Synced() })
	if cluster.synced() {
		t.Fatal("synced without the namespaces")
	}
	eventually(t, cluster.synced)
}

func TestOnlyWhatRecordsNeedIsKept(t *testing.T) {
	full := clusterService("prod", "web", "10.96.1.1")
	full.Annotations = map[string]string{"long": "text"}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	full.Spec.Selector = map[string]string{"app": "web"}
	kept := trimService(full).(*v1.Service)
	if kept.Annotations != nil || kept.ManagedFields != nil || kept.Spec.Selector != nil {
		t.Errorf("kept %+v", kept)
	}
	node := "node01"
	endpoints := endpointsOf("prod", "web", v1.EndpointSubset{Addresses: []v1.EndpointAddress{{
		IP: "10.244.1.1", Hostname: "web-0", NodeName: &node, TargetRef: &v1.ObjectReference{Name: "web-0"},
	}}})
	address := trimEndpoints(endpoints).(*v1.Endpoints).Subsets[0].Addresses[0]
	if address.NodeName != nil || address.TargetRef != nil || address.Hostname != "web-0" {
		t.Errorf("kept %+v", address)
	}
}

// unreliable fails its first lists.
type unreliable struct {
	cache.ListerWatcher
	failures int
}

func (u *unreliable) List(options metav1.ListOptions) (runtime.Object, error) {
	if u.failures > 0 {
		u.failures--
		return nil, context.DeadlineExceeded
	}
	return u.ListerWatcher.List(options)
}

func sourcesOf(client kubernetes.Interface) sources {
	core := client.CoreV1()
	return sources{
		services:   testworld.NewSource[*v1.ServiceList](core.Services("")),
		endpoints:  testworld.NewSource[*v1.EndpointsList](core.Endpoints("")),
		namespaces: testworld.NewSource[*v1.NamespaceList](core.Namespaces()),
	}
}

// clusterOf returns a synced cluster with these objects.
func clusterOf(t *testing.T, objects ...runtime.Object) *Cluster {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	cluster := newCluster()
	cluster.follow(ctx, sourcesOf(fake.NewSimpleClientset(objects...)))
	eventually(t, cluster.synced)
	return cluster
}

func create(t *testing.T, client kubernetes.Interface, service *v1.Service) {
	if _, err := client.CoreV1().Services(service.Namespace).Create(context.Background(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func namespace(name string) *v1.Namespace {
	return &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func clusterService(namespace, name, address string, ports ...v1.ServicePort) *v1.Service {
	return &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1.ServiceSpec{Type: v1.ServiceTypeClusterIP, ClusterIP: address, Ports: ports},
	}
}

func endpointsOf(namespace, name string, subsets ...v1.EndpointSubset) *v1.Endpoints {
	return &v1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Subsets: subsets}
}
