package main

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

const requestTimeout = 30 * time.Second

// restAPI is the API server. Not client-go's typed client: it would link all API groups, and register them at every start.
type restAPI struct {
	client rest.Interface
}

// Services returns whole objects, read from etcd.
func (r restAPI) Services(ctx context.Context) ([]*v1.Service, error) {
	list := &v1.ServiceList{}
	if err := r.client.Get().Resource("services").Timeout(requestTimeout).Do(ctx).Into(list); err != nil {
		return nil, err
	}
	services := make([]*v1.Service, 0, len(list.Items))
	for i := range list.Items {
		services = append(services, &list.Items[i])
	}
	return services, nil
}

// UpdateStatus fails if the object has changed since it was read.
func (r restAPI) UpdateStatus(ctx context.Context, service *v1.Service) error {
	request := r.client.Put().Namespace(service.Namespace).Resource("services").Name(service.Name).SubResource("status")
	return request.Body(service).Timeout(requestTimeout).Do(ctx).Error()
}

func (r restAPI) CreateEvent(ctx context.Context, event *v1.Event) error {
	request := r.client.Post().Namespace(event.Namespace).Resource("events")
	return request.Body(event).Timeout(requestTimeout).Do(ctx).Error()
}
