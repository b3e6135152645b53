package main

import (
	"bufio"
	"log"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const hostsInterval = 5 * time.Second

// Hosts are the names of a hosts file: nodes and the registry.
type Hosts struct {
	path string

	mutex     sync.Mutex
	looked    time.Time
	modified  time.Time
	addresses map[string][]net.IP
	names     map[string][]string
}

func newHosts(path string) *Hosts { return &Hosts{path: path} }

// addressesOf returns the addresses of a name in lower case; none for an unknown name.
func (h *Hosts) addressesOf(name string) []net.IP {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.refresh(time.Now())
	return h.addresses[name]
}

// namesOf returns the names of an address: the first name of each line.
func (h *Hosts) namesOf(address net.IP) []string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.refresh(time.Now())
	return h.names[address.String()]
}

// refresh reads a changed file: the kubelet updates the files of a ConfigMap.
func (h *Hosts) refresh(now time.Time) {
	if h.path == "" || !h.looked.IsZero() && now.Sub(h.looked) < hostsInterval {
		return
	}
	h.looked = now
	status, err := os.Stat(h.path)
	if err == nil && status.ModTime().Equal(h.modified) {
		return
	}
	if err == nil {
		err = h.read()
	}
	if err != nil {
		log.Printf("hosts: %v: the previous names are kept", err)
		return
	}
	h.modified = status.ModTime()
}

func (h *Hosts) read() error {
	file, err := os.Open(h.path)
	if err != nil {
		return err
	}
	defer file.Close()
	addresses, names := map[string][]net.IP{}, map[string][]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(strings.SplitN(lines.Text(), "#", 2)[0])
		if len(fields) < 2 {
			continue
		}
		address := net.ParseIP(fields[0])
		if address == nil {
			log.Printf("hosts: %q is not an address", fields[0])
			continue
		}
		names[address.String()] = append(names[address.String()], dns.Fqdn(strings.ToLower(fields[1])))
		for _, name := range fields[1:] {
			name = dns.Fqdn(strings.ToLower(name))
			addresses[name] = append(addresses[name], address)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	h.addresses, h.names = addresses, names
	return nil
}
