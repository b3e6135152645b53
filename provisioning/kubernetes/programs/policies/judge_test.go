package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// packet is the first packet of a connection, when forwarded.
type packet struct {
	source, destination, protocol, port string
}

// table is a parsed ruleset: the tests evaluate the text that the kernel gets.
type table struct {
	elements map[string][]string
	chains   map[string][]string
}

// parse reads the output of Ruleset, and fails on any other text.
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

// allows reports whether the packet passes the table.
func (t table) allows(p packet) bool {
	if _, hooked := t.chains["forward"]; !hooked {
		return true
	}
	return t.walk("forward", p) != "drop"
}

// walk returns the verdict of a chain: "drop" or "".
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

// apply returns the verdict of a rule if all its matches hold.
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

// contains reports whether `of` (an address, a block or a set's name) contains the address.
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
