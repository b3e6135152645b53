package main

import (
	"fmt"
	"sort"

	v1 "k8s.io/api/core/v1"
)

// Decision is a Service whose status must change, or that cannot get an address.
type Decision struct {
	service *v1.Service
	// address is the Service's address from now on; "" for none.
	address string
	changes bool
	// refusal is why the Service gets no address, and what to do.
	refusal string
}

// plan returns the decisions for these Services, which are all Services. Their statuses are the record of addresses in use.
//
// Services keep their addresses. Then older Services are served before younger ones, and Services that ask for an address
// before all others.
func plan(services []*v1.Service) []Decision {
	services = append([]*v1.Service(nil), services...)
	sort.Slice(services, func(i, j int) bool { return isOlder(services[i], services[j]) })
	holders := map[string]*v1.Service{}
	var decisions []Decision
	var asking, others []*v1.Service
	for _, service := range services {
		address := keptAddress(service)
		switch {
		case !isBalanced(service):
			if holdsOurs(service) {
				decisions = append(decisions, Decision{service: service, changes: true})
			}
		case holdsForeign(service):
		case address != "" && holders[address] == nil:
			holders[address] = service
		case service.Spec.LoadBalancerIP != "":
			asking = append(asking, service)
		default:
			others = append(others, service)
		}
	}
	for _, service := range asking {
		address, refusal := askedAddress(service, holders)
		if refusal == "" {
			holders[address] = service
		}
		decisions = append(decisions, newDecision(service, address, refusal))
	}
	for _, service := range others {
		address, refusal := freeAddress(holders)
		if refusal == "" {
			holders[address] = service
		}
		decisions = append(decisions, newDecision(service, address, refusal))
	}
	return decisions
}

func newDecision(service *v1.Service, address, refusal string) Decision {
	// The address is never the present one: keptAddress would have returned it, or another Service has it.
	return Decision{service: service, address: address, changes: address != "" || holdsOurs(service), refusal: refusal}
}

func isOlder(one, other *v1.Service) bool {
	if !one.CreationTimestamp.Equal(&other.CreationTimestamp) {
		return one.CreationTimestamp.Before(&other.CreationTimestamp)
	}
	return nameOf(one) < nameOf(other)
}

func isBalanced(service *v1.Service) bool { return service.Spec.Type == v1.ServiceTypeLoadBalancer }

// addressOf returns the Service's address of the range; "" for none.
func addressOf(service *v1.Service) string {
	for _, one := range service.Status.LoadBalancer.Ingress {
		if address, ours := inRangeAddress(one.IP); ours {
			return address
		}
	}
	return ""
}

func holdsOurs(service *v1.Service) bool { return addressOf(service) != "" }

// holdsForeign reports whether another controller has given the Service its addresses.
func holdsForeign(service *v1.Service) bool {
	return len(service.Status.LoadBalancer.Ingress) > 0 && !holdsOurs(service)
}

// keptAddress returns the Service's address unless the Service asks for another one.
func keptAddress(service *v1.Service) string {
	address := addressOf(service)
	if asked := service.Spec.LoadBalancerIP; asked != "" {
		if wanted, _ := inRangeAddress(asked); wanted != address {
			return ""
		}
	}
	return address
}

func askedAddress(service *v1.Service, holders map[string]*v1.Service) (address, refusal string) {
	address, ours := inRangeAddress(service.Spec.LoadBalancerIP)
	if !ours {
		return "", fmt.Sprintf("loadBalancerIP %s is not available: ask for one of %s to %s, or for none",
			service.Spec.LoadBalancerIP, rangeAddress(1), rangeAddress(lastAddress))
	}
	if holder := holders[address]; holder != nil {
		return "", fmt.Sprintf("loadBalancerIP %s is not available: Service %s has it; ask for another one, or for none",
			address, nameOf(holder))
	}
	return address, ""
}

func freeAddress(holders map[string]*v1.Service) (address, refusal string) {
	for last := firstAutomatic; last <= lastAddress; last++ {
		if address := rangeAddress(last); holders[address] == nil {
			return address, ""
		}
	}
	return "", fmt.Sprintf("no address is free: other Services have all of %s to %s; delete a Service, or ask for a lower loadBalancerIP",
		rangeAddress(firstAutomatic), rangeAddress(lastAddress))
}

func nameOf(service *v1.Service) string { return service.Namespace + "/" + service.Name }
