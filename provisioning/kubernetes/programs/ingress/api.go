package main

import (
	"context"
	"encoding/json"
	"time"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

const requestTimeout = 30 * time.Second

// restAPI is the API server. Not client-go's typed client: it would link all API groups, and register them at every start.
type restAPI struct {
	core, network rest.Interface
}

// SetAddresses replaces the addresses in an Ingress's status.
func (r restAPI) SetAddresses(ctx context.Context, ingress *networking.Ingress, addresses []v1.LoadBalancerIngress) error {
	status := map[string]interface{}{"loadBalancer": map[string]interface{}{"ingress": addresses}}
	patch, err := json.Marshal(map[string]interface{}{"status": status})
	if err != nil {
		return err
	}
	request := r.network.Patch(types.MergePatchType).Namespace(ingress.Namespace).Resource("ingresses").Name(ingress.Name)
	return request.SubResource("status").Body(patch).Timeout(requestTimeout).Do(ctx).Error()
}

func (r restAPI) CreateEvent(ctx context.Context, event *v1.Event) error {
	request := r.core.Post().Namespace(event.Namespace).Resource("events")
	return request.Body(event).Timeout(requestTimeout).Do(ctx).Error()
}
