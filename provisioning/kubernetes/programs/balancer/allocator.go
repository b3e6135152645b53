package main

import (
	"context"
	"log"

	v1 "k8s.io/api/core/v1"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

// Allocator writes the addresses of Services to their statuses. It keeps no state: a restarted process continues from the
// statuses. One process of a cluster may allocate.
type Allocator struct {
	api    API
	events *shared.Events
}

// API is what the allocator does at the API server.
type API interface {
	Services(ctx context.Context) ([]*v1.Service, error)
	UpdateStatus(ctx context.Context, service *v1.Service) error
	CreateEvent(ctx context.Context, event *v1.Event) error
}

func newAllocator(node string, api API) *Allocator {
	return &Allocator{api: api, events: shared.NewEvents(component, node, "AllocationFailed", api.CreateEvent)}
}

// allocate carries out the plan for the mirrored Services, and returns the last failure. Before it writes, it lists the
// Services anew: the mirror may not have the addresses of the last writes, and has not the whole objects.
func (a *Allocator) allocate(ctx context.Context, mirrored []*v1.Service) (err error) {
	decisions := plan(mirrored)
	for _, one := range decisions {
		if one.changes {
			services, failed := a.api.Services(ctx)
			if failed != nil {
				return failed
			}
			decisions = plan(services)
			break
		}
	}
	for _, one := range decisions {
		if failed := a.apply(ctx, one); failed != nil {
			err = failed
		}
	}
	return err
}

func (a *Allocator) apply(ctx context.Context, decision Decision) error {
	service := decision.service
	if decision.changes {
		changed := service.DeepCopy()
		changed.Status.LoadBalancer = v1.LoadBalancerStatus{}
		if decision.address != "" {
			changed.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: decision.address}}
		}
		if err := a.api.UpdateStatus(ctx, changed); err != nil {
			return err
		}
		log.Printf("%s: address %q, before %q", nameOf(service), decision.address, addressOf(service))
	}
	if decision.refusal != "" {
		// Not a failure of the allocation: a namespace that is being deleted takes no events.
		if err := a.events.Warn(ctx, referenceTo(service), decision.refusal); err != nil {
			log.Printf("%s: its event: %v", nameOf(service), err)
		}
	}
	return nil
}

func referenceTo(service *v1.Service) v1.ObjectReference {
	return v1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name,
		UID: service.UID, ResourceVersion: service.ResourceVersion,
	}
}
