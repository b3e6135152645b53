package main

import (
	"fmt"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

// direction is ingress or egress: nftables' names of the pod's address and of the peer's address.
type direction struct {
	name, own, peer string
}

var (
	ingress = direction{name: "ingress", own: "daddr", peer: "saddr"}
	egress  = direction{name: "egress", own: "saddr", peer: "daddr"}
)

// isolation is the allowed traffic of an address of this node in one direction: every match returns to the chain `forward`.
type isolation struct {
	address string
	matches []string
}

// Ruleset returns the text for `nft --file` that replaces all rules by those for the pods of `node`, in one transaction.
//
// The rules filter forwarded packets: there, a Service's address is already translated to a pod's, and the source is still
// the sending pod. Packets between a pod and its own node are not forwarded, hence always allowed, as the Kubernetes
// documentation requires.
func Ruleset(objects Objects, node string) string {
	peers := newPeers(objects)
	var text strings.Builder
	// The first line creates a missing table: deleting a missing table fails.
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

// writeForward writes the chain that every forwarded packet enters, before the chains of iptables. Accepted packets still
// pass those chains.
func writeForward(text *strings.Builder) {
	text.WriteString("\tchain forward {\n\t\ttype filter hook forward priority -10\n")
	for _, rule := range []string{
		"ct state established,related accept",
		// Pods have link-local IPv6 addresses: without this rule, two pods of a node would bypass every policy.
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
		// A pod can reach itself, also through a Service.
		fmt.Fprintf(text, "\t\tip %s %s return\n", way.peer, one.address)
		for _, match := range one.matches {
			text.WriteString("\t\t" + strings.TrimSpace(match+" return") + "\n")
		}
		text.WriteString("\t\tdrop\n\t}\n")
	}
}

// isolations returns the addresses of `node` that a policy isolates in one direction, in order. Two pods share an address
// only until the kubelet reports that one of the pods lost it; until then the policies of both apply.
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

// isolates reports whether a policy applies to a direction. The API server sets policyTypes; the default is the same.
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

// matches returns the packets that a policy allows for one pod.
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

// cross joins each match of peers with each match of ports.
func cross(peers, ports []string) []string {
	var all []string
	for _, peer := range peers {
		for _, port := range ports {
			all = append(all, strings.TrimSpace(peer+" "+port))
		}
	}
	return all
}

// distinct removes duplicates and keeps the order.
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
