package main

import (
	"fmt"
	"net"
)

// The same as in service/dayfly/domain/cluster/network.py.
const (
	// addressRange has the addresses of Services: .1 to .254.
	addressRange = "192.168.67.0/24"
	// nodeSubnet is the network between the nodes and the network container.
	nodeSubnet = "192.168.66.0/24"
)

// Automatic addresses begin here: those below are free for Services that ask for an address.
const firstAutomatic, lastAddress = 100, 254

var inRange, ofNodes = mustParse(addressRange), mustParse(nodeSubnet)

func mustParse(text string) *net.IPNet {
	_, parsed, err := net.ParseCIDR(text)
	if err != nil {
		panic(err)
	}
	return parsed
}

// inRangeAddress returns the canonical text of an address of the range; false for any other text.
func inRangeAddress(text string) (string, bool) {
	ip := net.ParseIP(text).To4()
	if ip == nil || !inRange.Contains(ip) || ip[3] < 1 || ip[3] > lastAddress {
		return "", false
	}
	return ip.String(), true
}

// rangeAddress returns the address with that last byte: 192.168.67.100 for 100.
func rangeAddress(last int) string {
	base := inRange.IP
	return fmt.Sprintf("%d.%d.%d.%d", base[0], base[1], base[2], last)
}
