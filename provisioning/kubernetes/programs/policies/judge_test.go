package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// packet is the first of a connection, where it is forwarded.
type packet struct {
	source, destination, protocol, port string
}

// table is a ruleset as nftables understands it: what the tests ask is the text that the kernel gets, and no model beside it.
type table struct {
	elements map[string][]string
	chains   map[string][]string
}

// parse reads what Ruleset writes, and fails on everything else.
func parse(t *testing.T, text string) table {
	t.Helper()
	const head = "table inet dayfly\ndelete table inet dayfly\ntable inet dayfly {\n"
	if !strings.HasPrefix(text, head) || !strings.HasSuffix(text, "}\n") {
		t.Fatalf("not a table: %s", text)
	}
	parsed := table{elements: map[string][]string{}, chains: map[string][]string{}}
	kind, name := "", ""
	for _, line := range strings.Split(strings.TrimSuffix(strings.TrimPrefix(text, head), "}\n"), "\n") {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case line == "":
		case line == "}":
			kind = ""
		case kind == "":
			kind, name = words[0], words[1]
			if kind == "chain" {
				parsed.chains[name] = []string{}
			}
		case kind == "chain":
			parsed.chains[name] = append(parsed.chains[name], line)
		case words[0] == "elements":
			inner := strings.TrimSuffix(strings.TrimPrefix(line, "elements = { "), " }")
			parsed.elements[name] = strings.Split(inner, ", ")
			if inner == "" || strings.ContainsAny(inner, "{}") {
				t.Fatalf("not elements: %s", line)
			}
		case words[0] != "type":
			t.Fatalf("unknown line: %s", line)
		}
	}
	return parsed
}

// allows is whether the packet leaves the table.
func (t table) allows(p packet) bool {
	if _, hooked := t.chains["forward"]; !hooked {
		return true
	}
	return t.walk("forward", p) != "drop"
}

// walk is the verdict of a chain: "drop", or nothing.
func (t table) walk(chain string, p packet) string {
	rules, exists := t.chains[chain]
	if !exists {
		panic("no chain " + chain)
	}
	for _, rule := range rules {
		switch verdict := t.apply(strings.Fields(rule), p); {
		case verdict == "drop" || verdict == "return":
			return strings.TrimPrefix(verdict, "return")
		case strings.HasPrefix(verdict, "jump "):
			if t.walk(strings.TrimPrefix(verdict, "jump "), p) == "drop" {
				return "drop"
			}
		}
	}
	return ""
}

// apply is the verdict of a rule where all its matches hold.
func (t table) apply(words []string, p packet) string {
	for len(words) > 0 {
		matches, used := true, 0
		switch words[0] {
		case "return", "drop":
			return words[0]
		case "type", "ct": // the chain's hook; a packet of a known connection
			return ""
		case "meta":
			matches, used = words[1] == "l4proto" && words[2] == p.protocol, 3
			if words[1] == "nfproto" {
				matches = words[2] == "ipv6" && strings.Contains(p.source, ":")
			}
		case "tcp", "udp", "sctp":
			matches, used = words[0] == p.protocol && words[1] == "dport" && words[2] == "{", 3
			found := false
			for ; words[used] != "}"; used++ {
				found = found || strings.TrimSuffix(words[used], ",") == p.port
			}
			matches, used = matches && found, used+1
		case "ip":
			address := map[string]string{"saddr": p.source, "daddr": p.destination}[words[1]]
			switch words[2] {
			case "vmap":
				return t.lookUp(strings.TrimPrefix(words[3], "@"), address)
			case "!=":
				matches, used = !t.contains(words[3], address), 4
			default:
				matches, used = t.contains(words[2], address), 3
			}
		default:
			panic(fmt.Sprintf("unknown match %v", words))
		}
		if !matches {
			return ""
		}
		words = words[used:]
	}
	return ""
}

func (t table) lookUp(name, address string) string {
	for _, element := range t.elements[name] {
		if strings.HasPrefix(element, address+" : ") {
			return strings.TrimPrefix(element, address+" : ")
		}
	}
	return ""
}

// contains is whether `of`, an address, a block or a set's name, has the address.
func (t table) contains(of, address string) bool {
	if strings.HasPrefix(of, "@") {
		elements, exists := t.elements[of[1:]]
		if !exists {
			panic("no set " + of)
		}
		for _, element := range elements {
			if element == address {
				return true
			}
		}
		return false
	}
	if _, network, err := net.ParseCIDR(of); err == nil {
		return network.Contains(net.ParseIP(address))
	}
	return of == address
}
