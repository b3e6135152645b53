package main

import (
	"math/rand"
	"net"
	"strings"

	"github.com/miekg/dns"
	v1 "k8s.io/api/core/v1"
)

// member is an address of a Service: a cluster IP or an endpoint.
type member struct {
	address net.IP
	label   string // of an endpoint, below the Service's name
	name    string // the name with this address
	ports   []port
}

type port struct {
	name, protocol string
	number         uint16
}

// portFilter reports whether a port has an SRV record at the queried name.
type portFilter func(port) bool

func anyPort(port) bool { return true }

// named selects named ports of a protocol; with `name`, only ports of that name.
func named(name, protocol string) portFilter {
	return func(p port) bool {
		return p.name != "" && (name == "" || p.name == name) && strings.EqualFold(p.protocol, protocol)
	}
}

// members returns a Service's cluster IPs, or the endpoints of a headless Service.
func (z *Zone) members(service *v1.Service) []member {
	if isHeadless(service) {
		return z.endpointMembers(service)
	}
	var members []member
	ports := portsOf(service)
	for _, text := range clusterIPs(service) {
		if address := net.ParseIP(text); address != nil {
			name := z.serviceName(service.Namespace, service.Name)
			members = append(members, member{address: address, name: name, ports: ports})
		}
	}
	return members
}

// endpointMembers returns a Service's ready endpoints; with publishNotReadyAddresses, all endpoints.
func (z *Zone) endpointMembers(service *v1.Service) []member {
	var members []member
	for _, subset := range z.cluster.endpointsOf(service).Subsets {
		var ports []port
		for _, one := range subset.Ports {
			ports = append(ports, port{one.Name, string(one.Protocol), uint16(one.Port)})
		}
		for _, address := range published(service, subset) {
			label := endpointLabel(address)
			name := label + "." + z.serviceName(service.Namespace, service.Name)
			if parsed := net.ParseIP(address.IP); parsed != nil {
				members = append(members, member{address: parsed, label: label, name: name, ports: ports})
			}
		}
	}
	return members
}

func published(service *v1.Service, subset v1.EndpointSubset) []v1.EndpointAddress {
	if !service.Spec.PublishNotReadyAddresses {
		return subset.Addresses
	}
	all := make([]v1.EndpointAddress, 0, len(subset.Addresses)+len(subset.NotReadyAddresses))
	return append(append(all, subset.Addresses...), subset.NotReadyAddresses...)
}

// endpointLabel returns the pod's hostname, or its address with dashes.
func endpointLabel(address v1.EndpointAddress) string {
	if address.Hostname != "" {
		return address.Hostname
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(address.IP)
}

func labelled(members []member, label string) []member {
	var found []member
	for _, one := range members {
		if one.label == label {
			found = append(found, one)
		}
	}
	return found
}

// declares reports whether the Service has such a port, with or without endpoints.
func declares(service *v1.Service, wanted portFilter) bool {
	for _, one := range portsOf(service) {
		if wanted(one) {
			return true
		}
	}
	return false
}

func portsOf(service *v1.Service) []port {
	ports := make([]port, 0, len(service.Spec.Ports))
	for _, one := range service.Spec.Ports {
		ports = append(ports, port{one.Name, string(one.Protocol), uint16(one.Port)})
	}
	return ports
}

// addressRecords returns the records in random order: many clients take the first record.
func addressRecords(owner string, members []member) []dns.RR {
	records := make([]dns.RR, 0, len(members))
	known := map[string]bool{}
	for _, one := range members {
		if key := string(one.address.To16()); !known[key] {
			known[key] = true
			records = append(records, addressRecord(owner, one.address))
		}
	}
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return records
}

// srvRecords returns the SRV records of the members' ports, and the addresses of their targets.
func srvRecords(owner string, members []member, wanted portFilter) (records, targets []dns.RR) {
	type target struct {
		name   string
		number uint16
	}
	known, addressed := map[target]bool{}, map[string]bool{}
	for _, one := range members {
		for _, offered := range one.ports {
			if !wanted(offered) {
				continue
			}
			if key := (target{one.name, offered.number}); !known[key] {
				known[key] = true
				records = append(records, &dns.SRV{Hdr: header(owner, dns.TypeSRV), Weight: 100, Port: key.number, Target: key.name})
			}
			if key := one.name + string(one.address.To16()); !addressed[key] {
				addressed[key] = true
				targets = append(targets, addressRecord(one.name, one.address))
			}
		}
	}
	return records, targets
}
