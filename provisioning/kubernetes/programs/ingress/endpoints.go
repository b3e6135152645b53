package main

import (
	"sort"

	v1 "k8s.io/api/core/v1"
)

// endpointsOf returns the addresses of a backend's ready endpoints; none where the Service or its port does not exist.
func endpointsOf(backend Backend, service *v1.Service, endpoints *v1.Endpoints) []string {
	if service == nil || endpoints == nil || service.Spec.Type == v1.ServiceTypeExternalName {
		return nil
	}
	for _, port := range service.Spec.Ports {
		isAsked := port.Name == backend.Port.Name
		if backend.Port.Name == "" {
			isAsked = port.Port == backend.Port.Number
		}
		if isAsked && (port.Protocol == v1.ProtocolTCP || port.Protocol == "") {
			return addresses(endpoints, port.Name)
		}
	}
	return nil
}

// addresses returns the addresses of a port; an endpoint's port has the name of its Service's port.
func addresses(endpoints *v1.Endpoints, port string) []string {
	found := map[string]bool{}
	for _, subset := range endpoints.Subsets {
		for _, one := range subset.Ports {
			if one.Name != port || (one.Protocol != v1.ProtocolTCP && one.Protocol != "") {
				continue
			}
			for _, address := range subset.Addresses {
				if text := addressText(address.IP, one.Port); text != "" {
					found[text] = true
				}
			}
		}
	}
	sorted := make([]string, 0, len(found))
	for text := range found {
		sorted = append(sorted, text)
	}
	sort.Strings(sorted)
	return sorted
}
