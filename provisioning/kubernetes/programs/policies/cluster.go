package main

import (
	"context"
	"sort"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

// Objects are the input of Ruleset.
type Objects struct {
	Pods       []*v1.Pod
	Namespaces []*v1.Namespace
	Policies   []*networking.NetworkPolicy
}

// Cluster mirrors the fields of pods, namespaces and NetworkPolicies that rules need.
type Cluster struct {
	pods, namespaces, policies *shared.Mirror
	// changed holds one entry after a change, until the controller receives the entry.
	changed chan struct{}
}

func newCluster() *Cluster {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return &Cluster{
		pods:       shared.NewMirror(trimPod, cache.Indexers{}, tell),
		namespaces: shared.NewMirror(trimNamespace, cache.Indexers{}, tell),
		policies:   shared.NewMirror(trimPolicy, cache.Indexers{}, tell),
		changed:    changed,
	}
}

// sources returns where each kind of object is listed and watched.
type sources struct {
	pods, namespaces, policies cache.ListerWatcher
}

// follow keeps the stores up to date in the background, until ctx ends.
func (c *Cluster) follow(ctx context.Context, from sources) {
	go shared.Follow(ctx, "pods", from.pods, &v1.Pod{}, c.pods)
	go shared.Follow(ctx, "namespaces", from.namespaces, &v1.Namespace{}, c.namespaces)
	go shared.Follow(ctx, "networkpolicies", from.policies, &networking.NetworkPolicy{}, c.policies)
}

func listWatches(core, network *rest.RESTClient) sources {
	return sources{
		pods:       shared.ListWatch(core, "pods", func() runtime.Object { return &v1.PodList{} }),
		namespaces: shared.ListWatch(core, "namespaces", func() runtime.Object { return &v1.NamespaceList{} }),
		policies:   shared.ListWatch(network, "networkpolicies", func() runtime.Object { return &networking.NetworkPolicyList{} }),
	}
}

// synced reports whether each kind of object has been listed. Before, a policy that is missing here may exist.
func (c *Cluster) synced() bool {
	return c.pods.Synced() && c.namespaces.Synced() && c.policies.Synced()
}

// objects returns all objects, sorted by name: the same objects give the same rules.
func (c *Cluster) objects() Objects {
	var all Objects
	for _, key := range sortedKeys(c.pods) {
		if found, exists, _ := c.pods.GetByKey(key); exists {
			all.Pods = append(all.Pods, found.(*v1.Pod))
		}
	}
	for _, key := range sortedKeys(c.namespaces) {
		if found, exists, _ := c.namespaces.GetByKey(key); exists {
			all.Namespaces = append(all.Namespaces, found.(*v1.Namespace))
		}
	}
	for _, key := range sortedKeys(c.policies) {
		if found, exists, _ := c.policies.GetByKey(key); exists {
			all.Policies = append(all.Policies, found.(*networking.NetworkPolicy))
		}
	}
	return all
}

func sortedKeys(store *shared.Mirror) []string {
	keys := store.ListKeys()
	sort.Strings(keys)
	return keys
}

func trimPod(object interface{}) interface{} {
	full := object.(*v1.Pod)
	trimmed := &v1.Pod{ObjectMeta: trimMeta(full.ObjectMeta)}
	trimmed.Spec.NodeName = full.Spec.NodeName
	trimmed.Spec.HostNetwork = full.Spec.HostNetwork
	trimmed.Status.Phase = full.Status.Phase
	trimmed.Status.PodIP = full.Status.PodIP
	for _, container := range full.Spec.Containers {
		if len(container.Ports) > 0 {
			trimmed.Spec.Containers = append(trimmed.Spec.Containers, v1.Container{Ports: container.Ports})
		}
	}
	return trimmed
}

func trimNamespace(object interface{}) interface{} {
	return &v1.Namespace{ObjectMeta: trimMeta(object.(*v1.Namespace).ObjectMeta)}
}

func trimPolicy(object interface{}) interface{} {
	full := object.(*networking.NetworkPolicy)
	return &networking.NetworkPolicy{ObjectMeta: trimMeta(full.ObjectMeta), Spec: full.Spec}
}

func trimMeta(full metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: full.Namespace, Name: full.Name, Labels: full.Labels}
}
