package main

import (
	"bytes"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAnAnnouncementIsAGratuitousRequest(t *testing.T) {
	mac := net.HardwareAddr{0x52, 0x55, 0, 0xd1, 0x55, 1}
	packet := announcement(mac, net.IPv4(192, 168, 67, 10).To4())
	expected := []byte{
		0, 1, 8, 0, 6, 4, 0, 1,
		0x52, 0x55, 0, 0xd1, 0x55, 1, 192, 168, 67, 10,
		0, 0, 0, 0, 0, 0, 192, 168, 67, 10,
	}
	if !bytes.Equal(packet, expected) {
		t.Errorf("%x", packet)
	}
	if bigEndian(unix.ETH_P_ARP) != 0x0608 {
		t.Error("the protocol is not in network order")
	}
}

func TestAddressesOfTheRange(t *testing.T) {
	for text, expected := range map[string]string{
		"192.168.67.1": "192.168.67.1", "192.168.67.254": "192.168.67.254", "::ffff:192.168.67.9": "192.168.67.9",
		"192.168.67.0": "", "192.168.67.255": "", "192.168.66.9": "", "192.168.67": "", "": "",
	} {
		if address, ours := inRangeAddress(text); address != expected || ours != (expected != "") {
			t.Errorf("%q: %q, %v", text, address, ours)
		}
	}
}
