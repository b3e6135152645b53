package main

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const addressIndex = "address"

// Cluster mirrors the fields of Services, Endpoints and Namespaces that records need.
type Cluster struct {
	services, endpoints, namespaces *shared.Mirror
}

func newCluster() *Cluster {
	return &Cluster{
		services:   shared.NewMirror(trimService, byAddress(addressesOfService), nil),
		endpoints:  shared.NewMirror(trimEndpoints, byAddress(addressesOfEndpoints), nil),
		namespaces: shared.NewMirror(trimNamespace, cache.Indexers{}, nil),
	}
}

// synced reports whether each kind of object has been listed. Before, a name that is missing here may exist.
func (c *Cluster) synced() bool {
	return c.services.Synced() && c.endpoints.Synced() && c.namespaces.Synced()
}

func (c *Cluster) namespaceExists(name string) bool {
	_, exists, _ := c.namespaces.GetByKey(name)
	return exists
}

func (c *Cluster) service(namespace, name string) *v1.Service {
	if found, exists, _ := c.services.GetByKey(namespace + "/" + name); exists {
		return found.(*v1.Service)
	}
	return nil
}

func (c *Cluster) servicesAt(address string) []*v1.Service {
	found, _ := c.services.ByIndex(addressIndex, address)
	services := make([]*v1.Service, 0, len(found))
	for _, one := range found {
		services = append(services, one.(*v1.Service))
	}
	return services
}

func (c *Cluster) endpointsOf(service *v1.Service) *v1.Endpoints {
	if found, exists, _ := c.endpoints.GetByKey(service.Namespace + "/" + service.Name); exists {
		return found.(*v1.Endpoints)
	}
	return &v1.Endpoints{}
}

func (c *Cluster) endpointsAt(address string) []*v1.Endpoints {
	found, _ := c.endpoints.ByIndex(addressIndex, address)
	endpoints := make([]*v1.Endpoints, 0, len(found))
	for _, one := range found {
		endpoints = append(endpoints, one.(*v1.Endpoints))
	}
	return endpoints
}

func byAddress(addresses cache.IndexFunc) cache.Indexers {
	return cache.Indexers{addressIndex: addresses}
}

func trimNamespace(object interface{}) interface{} {
	return &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: object.(*v1.Namespace).Name}}
}

func trimService(object interface{}) interface{} {
	full := object.(*v1.Service)
	trimmed := &v1.Service{ObjectMeta: trimMeta(full.ObjectMeta), Spec: v1.ServiceSpec{
		Type:                     full.Spec.Type,
		ClusterIP:                full.Spec.ClusterIP,
		ClusterIPs:               full.Spec.ClusterIPs,
		ExternalName:             full.Spec.ExternalName,
		PublishNotReadyAddresses: full.Spec.PublishNotReadyAddresses,
	}}
	for _, port := range full.Spec.Ports {
		kept := v1.ServicePort{Name: port.Name, Protocol: port.Protocol, Port: port.Port}
		trimmed.Spec.Ports = append(trimmed.Spec.Ports, kept)
	}
	return trimmed
}

func trimEndpoints(object interface{}) interface{} {
	full := object.(*v1.Endpoints)
	trimmed := &v1.Endpoints{ObjectMeta: trimMeta(full.ObjectMeta)}
	for _, subset := range full.Subsets {
		kept := v1.EndpointSubset{Ports: subset.Ports}
		for _, address := range subset.Addresses {
			kept.Addresses = append(kept.Addresses, trimAddress(address))
		}
		for _, address := range subset.NotReadyAddresses {
			kept.NotReadyAddresses = append(kept.NotReadyAddresses, trimAddress(address))
		}
		trimmed.Subsets = append(trimmed.Subsets, kept)
	}
	return trimmed
}

func trimAddress(full v1.EndpointAddress) v1.EndpointAddress {
	return v1.EndpointAddress{IP: full.IP, Hostname: full.Hostname}
}

func trimMeta(full metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: full.Namespace, Name: full.Name}
}

func addressesOfService(object interface{}) ([]string, error) {
	return clusterIPs(object.(*v1.Service)), nil
}

func addressesOfEndpoints(object interface{}) ([]string, error) {
	var addresses []string
	for _, subset := range object.(*v1.Endpoints).Subsets {
		for _, address := range append(subset.NotReadyAddresses[:len(subset.NotReadyAddresses):len(subset.NotReadyAddresses)], subset.Addresses...) {
			addresses = append(addresses, address.IP)
		}
	}
	return addresses, nil
}

// clusterIPs returns the addresses of a Service. Headless Services and ExternalNames have none.
func clusterIPs(service *v1.Service) []string {
	if isHeadless(service) || service.Spec.Type == v1.ServiceTypeExternalName {
		return nil
	}
	if len(service.Spec.ClusterIPs) > 0 {
		return service.Spec.ClusterIPs
	}
	if service.Spec.ClusterIP != "" {
		return []string{service.Spec.ClusterIP}
	}
	return nil
}

func isHeadless(service *v1.Service) bool {
	return service.Spec.Type != v1.ServiceTypeExternalName && service.Spec.ClusterIP == v1.ClusterIPNone
}
