package main

import (
	"context"
	"sort"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

// Cluster mirrors the fields of Services, nodes and Endpoints that addresses need. Nodes are followed only after a Service
// got an address, and Endpoints only after a Service with externalTrafficPolicy Local got one: each watch takes processor
// time on every node.
type Cluster struct {
	services, nodes, endpoints *shared.Mirror
	// changed holds one entry after a change, until the controller receives the entry.
	changed chan struct{}

	ctx                              context.Context
	from                             sources
	nodesFollowed, endpointsFollowed bool
}

// sources returns where each kind of object is listed and watched.
type sources struct {
	services, nodes, endpoints cache.ListerWatcher
}

// newCluster follows the Services in the background, until ctx ends.
func newCluster(ctx context.Context, from sources) *Cluster {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	cluster := &Cluster{
		services:  shared.NewMirror(trimService, cache.Indexers{}, tell),
		nodes:     shared.NewMirror(trimNode, cache.Indexers{}, tell),
		endpoints: shared.NewMirror(trimEndpoints, cache.Indexers{}, tell),
		changed:   changed, ctx: ctx, from: from,
	}
	go shared.Follow(ctx, "services", from.services, &v1.Service{}, cluster.services)
	return cluster
}

func listWatches(client *rest.RESTClient) sources {
	return sources{
		services:  shared.ListWatch(client, "services", func() runtime.Object { return &v1.ServiceList{} }),
		nodes:     shared.ListWatch(client, "nodes", func() runtime.Object { return &v1.NodeList{} }),
		endpoints: shared.ListWatch(client, "endpoints", func() runtime.Object { return &v1.EndpointsList{} }),
	}
}

// synced reports whether the Services have been listed. Before, a Service that is missing here may exist.
func (c *Cluster) synced() bool { return c.services.Synced() }

func (c *Cluster) listServices() []*v1.Service {
	var services []*v1.Service
	for _, one := range c.services.List() {
		services = append(services, one.(*v1.Service))
	}
	return services
}

// ownedBy returns the addresses that the node owns. They are unknown (false) until the objects that decide are listed.
func (c *Cluster) ownedBy(name string) (owned []string, known bool) {
	var balanced []*v1.Service
	isLocalUsed := false
	for _, service := range c.listServices() {
		if isBalanced(service) && holdsOurs(service) {
			balanced = append(balanced, service)
			isLocalUsed = isLocalUsed || isLocal(service)
		}
	}
	if len(balanced) == 0 {
		return nil, true
	}
	if !c.follow(isLocalUsed) {
		return nil, false
	}
	var nodes []*v1.Node
	for _, one := range c.nodes.List() {
		nodes = append(nodes, one.(*v1.Node))
	}
	for _, service := range balanced {
		if owner(service, c.endpointsOf(service), nodes) == name {
			owned = append(owned, addressOf(service))
		}
	}
	sort.Strings(owned)
	return owned, true
}

// follow follows nodes, and if needed Endpoints. It reports whether they have been listed.
func (c *Cluster) follow(needsEndpoints bool) bool {
	if !c.nodesFollowed {
		c.nodesFollowed = true
		go shared.Follow(c.ctx, "nodes", c.from.nodes, &v1.Node{}, c.nodes)
	}
	if needsEndpoints && !c.endpointsFollowed {
		c.endpointsFollowed = true
		go shared.Follow(c.ctx, "endpoints", c.from.endpoints, &v1.Endpoints{}, c.endpoints)
	}
	return c.nodes.Synced() && (!needsEndpoints || c.endpoints.Synced())
}

func (c *Cluster) endpointsOf(service *v1.Service) *v1.Endpoints {
	if found, exists, _ := c.endpoints.GetByKey(nameOf(service)); exists {
		return found.(*v1.Endpoints)
	}
	return nil
}

func trimService(object interface{}) interface{} {
	full := object.(*v1.Service)
	meta := metav1.ObjectMeta{Namespace: full.Namespace, Name: full.Name}
	trimmed := &v1.Service{ObjectMeta: meta, Spec: v1.ServiceSpec{Type: full.Spec.Type}}
	trimmed.Status.LoadBalancer = full.Status.LoadBalancer
	if isBalanced(full) {
		trimmed.UID, trimmed.CreationTimestamp = full.UID, full.CreationTimestamp
		trimmed.Spec.LoadBalancerIP = full.Spec.LoadBalancerIP
		trimmed.Spec.ExternalTrafficPolicy = full.Spec.ExternalTrafficPolicy
	}
	return trimmed
}

func trimNode(object interface{}) interface{} {
	full := object.(*v1.Node)
	trimmed := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: full.Name}}
	if isReady(full) {
		// Without the times: each heartbeat changes one.
		trimmed.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
	}
	return trimmed
}

func trimEndpoints(object interface{}) interface{} {
	full := object.(*v1.Endpoints)
	var names []string
	for name := range nodesOf(full) {
		names = append(names, name)
	}
	sort.Strings(names)
	trimmed := &v1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: full.Namespace, Name: full.Name}}
	if len(names) > 0 {
		trimmed.Subsets = []v1.EndpointSubset{{}}
	}
	for i := range names {
		address := v1.EndpointAddress{NodeName: &names[i]}
		trimmed.Subsets[0].Addresses = append(trimmed.Subsets[0].Addresses, address)
	}
	return trimmed
}
