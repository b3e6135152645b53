package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// ranges are the cluster's own addresses. Reverse queries for them are not forwarded.
type ranges []*net.IPNet

func parseRanges(text string) (ranges, error) {
	var networks ranges
	for _, one := range strings.Split(text, ",") {
		_, network, err := net.ParseCIDR(strings.TrimSpace(one))
		if err != nil {
			return nil, fmt.Errorf("-ranges: %v", err)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// around returns the name of the smallest reverse zone of whole labels with the range of `address`, or "".
func (r ranges) around(address net.IP) string {
	for _, network := range r {
		if !network.Contains(address) {
			continue
		}
		name, _ := dns.ReverseAddr(network.IP.String())
		ones, bits := network.Mask.Size()
		perLabel := 8
		if bits == 128 {
			perLabel = 4
		}
		labels := dns.SplitDomainName(name)
		return dns.Fqdn(strings.Join(labels[bits/perLabel-ones/perLabel:], "."))
	}
	return ""
}

// addressOf returns the address of a reverse name in lower case, or nil.
func addressOf(name string) net.IP {
	labels := dns.SplitDomainName(name)
	switch {
	case strings.HasSuffix(name, ".in-addr.arpa.") && len(labels) == 6:
		for _, label := range labels[:4] {
			if number, err := strconv.ParseUint(label, 10, 8); err != nil || strconv.FormatUint(number, 10) != label {
				return nil
			}
		}
		return net.ParseIP(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
	case strings.HasSuffix(name, ".ip6.arpa.") && len(labels) == 34:
		var text strings.Builder
		for i := 31; i >= 0; i-- {
			text.WriteString(labels[i])
			if i%4 == 0 && i > 0 {
				text.WriteByte(':')
			}
		}
		return net.ParseIP(text.String())
	}
	return nil
}

// namesOf returns the names of the Services and endpoints at an address.
func (z *Zone) namesOf(address net.IP) []string {
	var names []string
	for _, service := range z.cluster.servicesAt(address.String()) {
		names = append(names, z.serviceName(service.Namespace, service.Name))
	}
	for _, endpoints := range z.cluster.endpointsAt(address.String()) {
		service := z.cluster.service(endpoints.Namespace, endpoints.Name)
		if service == nil {
			continue
		}
		known := map[string]bool{}
		for _, one := range z.endpointMembers(service) {
			if one.address.Equal(address) && !known[one.name] {
				known[one.name] = true
				names = append(names, one.name)
			}
		}
	}
	return names
}
