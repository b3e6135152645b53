package main

import (
	"context"
	"errors"
	"log"
	"reflect"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

// Changes within this time are handled together: a rollout changes many Endpoints.
const gatherTime = 300 * time.Millisecond

// Controller keeps nginx's configuration and the Ingresses' statuses equal to the cluster's objects.
type Controller struct {
	cluster *Cluster
	nginx   *Nginx
	layout  Layout
	api     restAPI
	events  *shared.Events
	// service is the key of the Service that leads to nginx; its addresses are those of the Ingresses.
	service string
	// judged has what nginx said of single Ingresses in the last pass, by their configuration's generation.
	judged map[string]error

	mutex sync.Mutex
	// failed is why the last pass has not made nginx's configuration.
	failed error
}

func newController(cluster *Cluster, nginx *Nginx, api restAPI, service string) *Controller {
	return &Controller{
		cluster: cluster, nginx: nginx, layout: nginx.layout, api: api, service: service,
		events: shared.NewEvents(component, "", "Rejected", api.CreateEvent),
		failed: errors.New("no configuration yet"),
	}
}

// run handles changes until ctx ends.
func (c *Controller) run(ctx context.Context) {
	var retry <-chan time.Time
	backOff := shared.FirstBackOff
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.cluster.changed:
		case <-retry:
		}
		retry = nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(gatherTime):
		}
		if err := c.pass(ctx); err != nil {
			log.Printf("pass: %v", err)
			retry, backOff = time.After(backOff), shared.NextBackOff(backOff)
		} else {
			backOff = shared.FirstBackOff
		}
	}
}

// pass handles the present objects, and returns the last failure.
func (c *Controller) pass(ctx context.Context) error {
	if !c.cluster.synced() {
		return nil
	}
	ours, others := c.cluster.list()
	problems, err := c.configure(ctx, ours)
	c.mutex.Lock()
	c.failed = err
	c.mutex.Unlock()
	for _, one := range problems {
		if failed := c.warn(ctx, one); failed != nil {
			err = failed
		}
	}
	if failed := c.writeStatuses(ctx, ours, others); failed != nil {
		err = failed
	}
	return err
}

// configure gives nginx the configuration of the Ingresses. It leaves out those that nginx refuses.
func (c *Controller) configure(ctx context.Context, ingresses []*networking.Ingress) ([]Problem, error) {
	plan := newPlan(ingresses, c.cluster.secret)
	problems := plan.Problems
	configuration := configure(plan, c.cluster.endpointsOf, c.layout)
	if c.nginx.IsCurrent(ctx, configuration) {
		return problems, nil
	}
	err := c.nginx.Test(ctx, configuration)
	if errors.As(err, &refusal{}) {
		var accepted []*networking.Ingress
		var refused []Problem
		if accepted, refused, err = c.judge(ctx, ingresses); err != nil {
			return problems, err
		}
		plan = newPlan(accepted, c.cluster.secret)
		problems = append(plan.Problems, refused...)
		configuration = configure(plan, c.cluster.endpointsOf, c.layout)
		if c.nginx.IsCurrent(ctx, configuration) {
			return problems, nil
		}
		err = c.nginx.Test(ctx, configuration)
	}
	if err != nil {
		return problems, err
	}
	log.Printf("configuration %.12s: %d Ingresses, %d hosts", configuration.Generation, len(ingresses), len(plan.hosts)-1)
	return problems, c.nginx.Apply(ctx, configuration)
}

// judge tests each Ingress alone, and returns those that nginx takes, and why it refuses the others.
func (c *Controller) judge(ctx context.Context, ingresses []*networking.Ingress) (accepted []*networking.Ingress, refused []Problem, err error) {
	judged := map[string]error{}
	for _, ingress := range ingresses {
		alone := configure(newPlan([]*networking.Ingress{ingress}, c.cluster.secret), c.cluster.endpointsOf, c.layout)
		verdict, known := c.judged[alone.Generation]
		if !known {
			verdict = c.nginx.Test(ctx, alone)
			if verdict != nil && !errors.As(verdict, &refusal{}) {
				return nil, nil, verdict
			}
		}
		judged[alone.Generation] = verdict
		if verdict == nil {
			accepted = append(accepted, ingress)
		} else {
			refused = append(refused, Problem{ingress, verdict.Error()})
		}
	}
	c.judged = judged
	return accepted, refused, nil
}

func (c *Controller) warn(ctx context.Context, problem Problem) error {
	about := v1.ObjectReference{
		APIVersion: networking.SchemeGroupVersion.String(), Kind: "Ingress",
		Namespace: problem.Ingress.Namespace, Name: problem.Ingress.Name, UID: problem.Ingress.UID,
	}
	// An Ingress or a namespace that is being deleted takes no events.
	if err := c.events.Warn(ctx, about, problem.Message); err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// writeStatuses gives our Ingresses the Service's addresses, and takes these from others, which are no longer ours.
func (c *Controller) writeStatuses(ctx context.Context, ours, others []*networking.Ingress) (err error) {
	addresses := c.addresses()
	write := func(ingress *networking.Ingress, wanted []v1.LoadBalancerIngress) {
		if failed := c.api.SetAddresses(ctx, ingress, wanted); failed != nil && !apierrors.IsNotFound(failed) {
			err = failed
		}
	}
	for _, ingress := range ours {
		if found := ingress.Status.LoadBalancer.Ingress; !isSame(found, addresses) {
			write(ingress, addresses)
		}
	}
	for _, ingress := range others {
		if found := ingress.Status.LoadBalancer.Ingress; len(found) > 0 && isSame(found, addresses) {
			write(ingress, []v1.LoadBalancerIngress{})
		}
	}
	return err
}

// addresses returns the Service's addresses; none once it is deleted.
func (c *Controller) addresses() []v1.LoadBalancerIngress {
	if service := c.cluster.service(c.service); service != nil && service.Spec.Type == v1.ServiceTypeLoadBalancer {
		return service.Status.LoadBalancer.Ingress
	}
	return []v1.LoadBalancerIngress{}
}

func isSame(one, other []v1.LoadBalancerIngress) bool {
	return (len(one) == 0 && len(other) == 0) || reflect.DeepEqual(one, other)
}

// healthy returns why nginx does not serve the cluster's present Ingresses; nil if it does.
func (c *Controller) healthy(ctx context.Context) error {
	if !c.cluster.synced() {
		return errors.New("the caches are not synced")
	}
	c.mutex.Lock()
	failed := c.failed
	c.mutex.Unlock()
	if failed != nil {
		return failed
	}
	return c.nginx.Healthy(ctx)
}
