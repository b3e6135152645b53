package main

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

// sources returns where each kind of object is listed and watched.
type sources struct {
	services, endpoints, namespaces cache.ListerWatcher
}

// follow keeps the stores up to date in the background, until ctx ends.
func (c *Cluster) follow(ctx context.Context, from sources) {
	go shared.Follow(ctx, "services", from.services, &v1.Service{}, c.services)
	go shared.Follow(ctx, "endpoints", from.endpoints, &v1.Endpoints{}, c.endpoints)
	go shared.Follow(ctx, "namespaces", from.namespaces, &v1.Namespace{}, c.namespaces)
}

func listWatches(client *rest.RESTClient) sources {
	return sources{
		services:   shared.ListWatch(client, "services", func() runtime.Object { return &v1.ServiceList{} }),
		endpoints:  shared.ListWatch(client, "endpoints", func() runtime.Object { return &v1.EndpointsList{} }),
		namespaces: shared.ListWatch(client, "namespaces", func() runtime.Object { return &v1.NamespaceList{} }),
	}
}
