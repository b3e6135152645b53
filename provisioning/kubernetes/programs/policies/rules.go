package main

import (
	"fmt"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

// direction is one of the two in which a pod is isolated: how nftables calls its address, and that of its peer.
type direction struct {
	name, own, peer string
}

var (
	ingress = direction{name: "ingress", own: "daddr", peer: "saddr"}
	egress  = direction{name: "egress", own: "saddr", peer: "daddr"}
)

// isolation is what one address of this node may do in one direction: every match returns to the chain `forward`.
type isolation struct {
	address string
	matches []string
}

// Ruleset is the text for `nft --file` that puts the rules for the pods of `node` in the place of all earlier ones, in one
// transaction.
//
// A packet is judged where it is forwarded: by then a Service's address has become that of a pod, and the source is still
// that of the pod that sent it. A packet between a pod and its own node is not forwarded, hence always allowed, as the
// Kubernetes documentation asks for.
func Ruleset(objects Objects, node string) string {
	peers := newPeers(objects)
	var text strings.Builder
	// The first line makes the table where there is none: only then can it be deleted.
	text.WriteString("table inet dayfly\ndelete table inet dayfly\ntable inet dayfly {\n")
	incoming := isolations(objects, node, ingress, peers)
	outgoing := isolations(objects, node, egress, peers)
	if len(incoming)+len(outgoing) > 0 {
		peers.writeSets(&text)
		writeMap(&text, egress, outgoing)
		writeMap(&text, ingress, incoming)
		writeChains(&text, egress, outgoing)
		writeChains(&text, ingress, incoming)
		writeForward(&text)
	}
	text.WriteString("}\n")
	return text.String()
}

// writeForward writes the chain that every forwarded packet enters, before those of iptables; what it accepts still goes
// through them.
func writeForward(text *strings.Builder) {
	text.WriteString("\tchain forward {\n\t\ttype filter hook forward priority -10\n")
	for _, rule := range []string{
		"ct state established,related accept",
		// Pods have no IPv6 but link-local addresses: by these, two of a node would pass every policy.
		"meta nfproto ipv6 drop",
		"ip saddr vmap @egress",
		"ip daddr vmap @ingress",
	} {
		text.WriteString("\t\t" + rule + "\n")
	}
	text.WriteString("\t}\n")
}

func writeMap(text *strings.Builder, way direction, all []isolation) {
	fmt.Fprintf(text, "\tmap %s {\n\t\ttype ipv4_addr : verdict\n", way.name)
	if len(all) > 0 {
		elements := make([]string, 0, len(all))
		for _, one := range all {
			elements = append(elements, fmt.Sprintf("%s : jump %s-%s", one.address, way.name, one.address))
		}
		fmt.Fprintf(text, "\t\telements = { %s }\n", strings.Join(elements, ", "))
	}
	text.WriteString("\t}\n")
}

func writeChains(text *strings.Builder, way direction, all []isolation) {
	for _, one := range all {
		fmt.Fprintf(text, "\tchain %s-%s {\n", way.name, one.address)
		// A pod reaches itself, through a Service as well.
		fmt.Fprintf(text, "\t\tip %s %s return\n", way.peer, one.address)
		for _, match := range one.matches {
			text.WriteString("\t\t" + strings.TrimSpace(match+" return") + "\n")
		}
		text.WriteString("\t\tdrop\n\t}\n")
	}
}

// isolations are the addresses of `node` that a policy isolates in one direction, in order. Two pods have one address
// only for a moment, when the kubelet has not reported yet that one of them lost it: then the policies of both hold.
func isolations(objects Objects, node string, way direction, peers *peers) []isolation {
	found := map[string][]string{}
	for _, policy := range objects.Policies {
		if !isolates(policy, way) {
			continue
		}
		for _, pod := range objects.Pods {
			if pod.Spec.NodeName != node || !hasAddress(pod) || !selectsPod(policy, pod) {
				continue
			}
			address := pod.Status.PodIP
			found[address] = append(found[address], matches(policy, pod, way, peers)...)
		}
	}
	all := make([]isolation, 0, len(found))
	for address, allowed := range found {
		all = append(all, isolation{address, distinct(allowed)})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].address < all[j].address })
	return all
}

// isolates is whether a policy speaks of a direction. The API server fills in policyTypes; without them the same holds.
func isolates(policy *networking.NetworkPolicy, way direction) bool {
	if len(policy.Spec.PolicyTypes) == 0 {
		return way == ingress || len(policy.Spec.Egress) > 0
	}
	for _, one := range policy.Spec.PolicyTypes {
		if (one == networking.PolicyTypeIngress && way == ingress) || (one == networking.PolicyTypeEgress && way == egress) {
			return true
		}
	}
	return false
}

func selectsPod(policy *networking.NetworkPolicy, pod *v1.Pod) bool {
	return policy.Namespace == pod.Namespace && selector(&policy.Spec.PodSelector).Matches(labelsOf(pod))
}

// matches are the packets that a policy allows for one pod.
func matches(policy *networking.NetworkPolicy, pod *v1.Pod, way direction, peers *peers) []string {
	var all []string
	if way == ingress {
		for _, rule := range policy.Spec.Ingress {
			all = append(all, cross(peers.matches(policy.Namespace, rule.From, way), portMatches(rule.Ports, pod))...)
		}
		return all
	}
	for _, rule := range policy.Spec.Egress {
		all = append(all, cross(peers.matches(policy.Namespace, rule.To, way), portMatches(rule.Ports, nil))...)
		all = append(all, peers.namedPortMatches(policy.Namespace, rule.To, rule.Ports)...)
	}
	return all
}

// cross joins each match of peers with each of ports.
func cross(peers, ports []string) []string {
	var all []string
	for _, peer := range peers {
		for _, port := range ports {
			all = append(all, strings.TrimSpace(peer+" "+port))
		}
	}
	return all
}

// distinct keeps the order.
func distinct(all []string) []string {
	seen := map[string]bool{}
	kept := all[:0]
	for _, one := range all {
		if !seen[one] {
			seen[one] = true
			kept = append(kept, one)
		}
	}
	return kept
}
