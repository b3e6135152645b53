package main

import (
	"context"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const (
	// controllerName is this program in an IngressClass.
	controllerName = "dayfly.local/ingress"
	// annotatedClass is the class that the annotation of earlier versions names, which needs no IngressClass.
	annotatedClass  = "nginx"
	classAnnotation = "kubernetes.io/ingress.class"
)

// Cluster mirrors the fields of objects that the configuration needs.
type Cluster struct {
	ingresses, classes, services, endpoints, secrets *shared.Mirror
	// changed holds one entry after a change, until the controller receives the entry.
	changed chan struct{}
}

func newCluster() *Cluster {
	cluster := &Cluster{changed: make(chan struct{}, 1)}
	mirror := func(trim func(interface{}) interface{}) *shared.Mirror {
		return shared.NewMirror(trim, cache.Indexers{}, cluster.wake)
	}
	cluster.ingresses, cluster.classes = mirror(trimIngress), mirror(trimClass)
	cluster.services, cluster.endpoints, cluster.secrets = mirror(trimService), mirror(trimEndpoints), mirror(trimSecret)
	return cluster
}

func (c *Cluster) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// follow keeps the mirrors up to date in the background, until ctx ends.
func (c *Cluster) follow(ctx context.Context, core, network rest.Interface) {
	one := func(client rest.Interface, resource string, list func() runtime.Object, kind runtime.Object, mirror *shared.Mirror) {
		go shared.Follow(ctx, resource, shared.ListWatch(client, resource, list), kind, mirror)
	}
	one(network, "ingresses", func() runtime.Object { return &networking.IngressList{} }, &networking.Ingress{}, c.ingresses)
	one(network, "ingressclasses", func() runtime.Object { return &networking.IngressClassList{} }, &networking.IngressClass{}, c.classes)
	one(core, "services", func() runtime.Object { return &v1.ServiceList{} }, &v1.Service{}, c.services)
	one(core, "endpoints", func() runtime.Object { return &v1.EndpointsList{} }, &v1.Endpoints{}, c.endpoints)
	secrets := shared.ListWatch(core, "secrets", func() runtime.Object { return &v1.SecretList{} })
	go shared.Follow(ctx, "secrets", onlyTLS(secrets), &v1.Secret{}, c.secrets)
}

// onlyTLS leaves out Secrets of other types: tokens and passwords never reach this process.
func onlyTLS(all cache.ListerWatcher) cache.ListerWatcher {
	selector := fields.OneTermEqualSelector("type", string(v1.SecretTypeTLS)).String()
	return &cache.ListWatch{
		ListFunc: func(options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			return all.List(options)
		},
		WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			return all.Watch(options)
		},
	}
}

// synced reports whether all kinds have been listed. Before, an object that is missing here may exist.
func (c *Cluster) synced() bool {
	for _, mirror := range []*shared.Mirror{c.ingresses, c.classes, c.services, c.endpoints, c.secrets} {
		if !mirror.Synced() {
			return false
		}
	}
	return true
}

// list returns the Ingresses of this program's classes, and all others.
func (c *Cluster) list() (ours, others []*networking.Ingress) {
	for _, one := range c.ingresses.List() {
		if ingress := one.(*networking.Ingress); c.isOurs(ingress) {
			ours = append(ours, ingress)
		} else {
			others = append(others, ingress)
		}
	}
	return ours, others
}

// isOurs follows the specification: the annotation has precedence, and an Ingress without a class is nobody's. The API
// server gives the default class to new Ingresses.
func (c *Cluster) isOurs(ingress *networking.Ingress) bool {
	if name, annotated := ingress.Annotations[classAnnotation]; annotated {
		return name == annotatedClass || c.isOurClass(name)
	}
	return ingress.Spec.IngressClassName != nil && c.isOurClass(*ingress.Spec.IngressClassName)
}

func (c *Cluster) isOurClass(name string) bool {
	found, exists, _ := c.classes.GetByKey(name)
	return exists && found.(*networking.IngressClass).Spec.Controller == controllerName
}

func (c *Cluster) service(key string) *v1.Service {
	if found, exists, _ := c.services.GetByKey(key); exists {
		return found.(*v1.Service)
	}
	return nil
}

func (c *Cluster) secret(namespace, name string) *v1.Secret {
	if found, exists, _ := c.secrets.GetByKey(namespace + "/" + name); exists {
		return found.(*v1.Secret)
	}
	return nil
}

func (c *Cluster) endpointsOf(backend Backend) []string {
	key := backend.Namespace + "/" + backend.Service
	found, exists, _ := c.endpoints.GetByKey(key)
	if !exists {
		return nil
	}
	return endpointsOf(backend, c.service(key), found.(*v1.Endpoints))
}

func trimIngress(object interface{}) interface{} {
	full := object.(*networking.Ingress)
	trimmed := &networking.Ingress{ObjectMeta: nameOf(full), Spec: full.Spec, Status: full.Status}
	trimmed.UID, trimmed.CreationTimestamp = full.UID, full.CreationTimestamp
	if class, annotated := full.Annotations[classAnnotation]; annotated {
		trimmed.Annotations = map[string]string{classAnnotation: class}
	}
	return trimmed
}

func trimClass(object interface{}) interface{} {
	full := object.(*networking.IngressClass)
	return &networking.IngressClass{ObjectMeta: nameOf(full), Spec: networking.IngressClassSpec{Controller: full.Spec.Controller}}
}

func trimService(object interface{}) interface{} {
	full := object.(*v1.Service)
	trimmed := &v1.Service{ObjectMeta: nameOf(full), Spec: v1.ServiceSpec{Type: full.Spec.Type, Ports: full.Spec.Ports}}
	trimmed.Status.LoadBalancer = full.Status.LoadBalancer
	return trimmed
}

func trimEndpoints(object interface{}) interface{} {
	full := object.(*v1.Endpoints)
	trimmed := &v1.Endpoints{ObjectMeta: nameOf(full)}
	for _, subset := range full.Subsets {
		kept := v1.EndpointSubset{Ports: subset.Ports}
		for _, address := range subset.Addresses {
			kept.Addresses = append(kept.Addresses, v1.EndpointAddress{IP: address.IP})
		}
		trimmed.Subsets = append(trimmed.Subsets, kept)
	}
	return trimmed
}

func trimSecret(object interface{}) interface{} {
	full := object.(*v1.Secret)
	return &v1.Secret{ObjectMeta: nameOf(full), Type: full.Type, Data: full.Data}
}

func nameOf(object metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: object.GetNamespace(), Name: object.GetName()}
}
