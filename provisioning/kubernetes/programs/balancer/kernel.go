package main

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Loopback holds the addresses as /32 on the interface `lo` of this network namespace.
//
// Linux answers ARP requests for the addresses of all its interfaces (arp_ignore is 0). `lo` exists everywhere, and neither
// the kubelet nor the CNI changes it. The scope `host` keeps the kernel from choosing such an address as the source of the
// node's own connections.
type Loopback struct{}

const device = "lo"

// List returns the present addresses of the range.
func (Loopback) List() ([]string, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return nil, err
	}
	found, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, one := range found {
		if inRange.Contains(one.IP) {
			addresses = append(addresses, one.IP.String())
		}
	}
	return addresses, nil
}

// Add adds the address.
func (Loopback) Add(address string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	return netlink.AddrReplace(link, &netlink.Addr{IPNet: single(address), Scope: int(netlink.SCOPE_HOST)})
}

// Remove removes the address.
func (Loopback) Remove(address string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	return netlink.AddrDel(link, &netlink.Addr{IPNet: single(address)})
}

func single(address string) *net.IPNet {
	return &net.IPNet{IP: net.ParseIP(address).To4(), Mask: net.CIDRMask(32, 32)}
}

// Announce broadcasts a gratuitous ARP request on the nodes' network. Without it, the network container would send to the
// former owner until its neighbour entry is no longer confirmed: measured, 50 seconds.
func (Loopback) Announce(address string) error {
	node, err := nodeInterface()
	if err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ARP), Ifindex: node.Index, Halen: 6}
	copy(to.Addr[:], broadcast)
	return unix.Sendto(socket, announcement(node.HardwareAddr, net.ParseIP(address).To4()), 0, to)
}

var broadcast = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// announcement returns an ARP request of which sender and target are the same address (RFC 5227, section 3).
func announcement(sender net.HardwareAddr, address net.IP) []byte {
	const ethernet, ipv4, request = 1, 0x0800, 1
	packet := make([]byte, 8, 28)
	binary.BigEndian.PutUint16(packet[0:], ethernet)
	binary.BigEndian.PutUint16(packet[2:], ipv4)
	packet[4], packet[5] = byte(len(sender)), byte(len(address))
	binary.BigEndian.PutUint16(packet[6:], request)
	packet = append(append(packet, sender...), address...)
	return append(append(packet, make([]byte, len(sender))...), address...)
}

// bigEndian returns the value that has the bytes of `value` in network order on a little-endian machine.
func bigEndian(value uint16) uint16 { return value<<8 | value>>8 }

// nodeInterface returns the interface with this node's address.
func nodeInterface() (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range all {
		addresses, err := all[i].Addrs()
		if err != nil {
			return nil, err
		}
		for _, one := range addresses {
			if held, ok := one.(*net.IPNet); ok && ofNodes.Contains(held.IP) {
				return &all[i], nil
			}
		}
	}
	return nil, fmt.Errorf("no interface has an address of %s", nodeSubnet)
}
