package main

import (
	"context"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

// Other annotations are left out: they may hold secrets, such as the manifest that kubectl applied last.
const annotationPrefix = "prometheus.io/"

// Cluster mirrors the fields of Nodes, Services, Endpoints and Pods that targets need.
type Cluster struct {
	nodes, services, endpoints, pods *shared.Mirror
}

func newCluster() *Cluster {
	mirror := func(trim func(interface{}) interface{}) *shared.Mirror {
		return shared.NewMirror(trim, cache.Indexers{}, nil)
	}
	return &Cluster{mirror(trimNode), mirror(trimService), mirror(trimEndpoints), mirror(trimPod)}
}

// follow keeps the mirrors equal to the API server's objects, in the background, until ctx ends.
func (c *Cluster) follow(ctx context.Context, client rest.Interface) {
	for _, one := range []struct {
		name   string
		kind   runtime.Object
		list   func() runtime.Object
		mirror *shared.Mirror
	}{
		{"nodes", &v1.Node{}, func() runtime.Object { return &v1.NodeList{} }, c.nodes},
		{"services", &v1.Service{}, func() runtime.Object { return &v1.ServiceList{} }, c.services},
		{"endpoints", &v1.Endpoints{}, func() runtime.Object { return &v1.EndpointsList{} }, c.endpoints},
		{"pods", &v1.Pod{}, func() runtime.Object { return &v1.PodList{} }, c.pods},
	} {
		go shared.Follow(ctx, one.name, shared.ListWatch(client, one.name, one.list), one.kind, one.mirror)
	}
}

// synced reports whether each kind of object has been listed.
func (c *Cluster) synced() bool {
	return c.nodes.Synced() && c.services.Synced() && c.endpoints.Synced() && c.pods.Synced()
}

func (c *Cluster) serviceOf(endpoints *v1.Endpoints) *v1.Service {
	if found, exists, _ := c.services.GetByKey(endpoints.Namespace + "/" + endpoints.Name); exists {
		return found.(*v1.Service)
	}
	return nil
}

// sorted returns the objects of a mirror by namespace and name: equal lists have equal answers.
func sorted(mirror *shared.Mirror) []interface{} {
	keys := mirror.ListKeys()
	sort.Strings(keys)
	objects := make([]interface{}, 0, len(keys))
	for _, key := range keys {
		// Another goroutine may have deleted the object since ListKeys.
		if found, exists, _ := mirror.GetByKey(key); exists {
			objects = append(objects, found)
		}
	}
	return objects
}

func trimNode(object interface{}) interface{} {
	full := object.(*v1.Node)
	return &v1.Node{ObjectMeta: trimMeta(full.ObjectMeta), Status: v1.NodeStatus{
		Addresses: full.Status.Addresses, DaemonEndpoints: full.Status.DaemonEndpoints,
	}}
}

func trimService(object interface{}) interface{} {
	return &v1.Service{ObjectMeta: trimMeta(object.(*v1.Service).ObjectMeta)}
}

func trimEndpoints(object interface{}) interface{} {
	full := object.(*v1.Endpoints)
	return &v1.Endpoints{ObjectMeta: trimMeta(full.ObjectMeta), Subsets: full.Subsets}
}

func trimPod(object interface{}) interface{} {
	full := object.(*v1.Pod)
	trimmed := &v1.Pod{
		ObjectMeta: trimMeta(full.ObjectMeta),
		Spec:       v1.PodSpec{NodeName: full.Spec.NodeName},
		Status:     v1.PodStatus{Phase: full.Status.Phase, PodIP: full.Status.PodIP},
	}
	for _, container := range full.Spec.Containers {
		trimmed.Spec.Containers = append(trimmed.Spec.Containers, v1.Container{Name: container.Name, Ports: container.Ports})
	}
	for _, condition := range full.Status.Conditions {
		if condition.Type == v1.PodReady {
			kept := v1.PodCondition{Type: condition.Type, Status: condition.Status}
			trimmed.Status.Conditions = append(trimmed.Status.Conditions, kept)
		}
	}
	return trimmed
}

func trimMeta(full metav1.ObjectMeta) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{Namespace: full.Namespace, Name: full.Name, Labels: full.Labels}
	for name, value := range full.Annotations {
		if strings.HasPrefix(name, annotationPrefix) {
			if kept.Annotations == nil {
				kept.Annotations = map[string]string{}
			}
			kept.Annotations[name] = value
		}
	}
	return kept
}
