package main

import (
	"fmt"
	"net"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// peers finds the pods that a rule selects, and keeps the rules' sets of addresses. Pods of a node with the same policy
// share a set.
type peers struct {
	pods       []*v1.Pod
	namespaces map[string]labels.Set
	sets       []string
	names      map[string]string
}

func newPeers(objects Objects) *peers {
	found := &peers{namespaces: map[string]labels.Set{}, names: map[string]string{}}
	for _, namespace := range objects.Namespaces {
		found.namespaces[namespace.Name] = namespace.Labels
	}
	for _, pod := range objects.Pods {
		if hasAddress(pod) {
			found.pods = append(found.pods, pod)
		}
	}
	return found
}

// matches returns the peers of a rule: one match for all pods together, and one per block. Without peers, all peers match.
func (p *peers) matches(namespace string, all []networking.NetworkPolicyPeer, way direction) []string {
	if len(all) == 0 {
		return []string{""}
	}
	var found []string
	if name := p.set(p.selected(namespace, all)); name != "" {
		found = append(found, fmt.Sprintf("ip %s @%s", way.peer, name))
	}
	for _, peer := range all {
		if peer.IPBlock != nil {
			if match := blockMatch(peer.IPBlock, way); match != "" {
				found = append(found, match)
			}
		}
	}
	return found
}

// namedPortMatches returns the named ports of an egress rule. Each destination pod defines the number of a name; blocks
// have no named ports.
func (p *peers) namedPortMatches(namespace string, all []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort) []string {
	pods := p.pods
	if len(all) > 0 {
		pods = p.selected(namespace, all)
	}
	var found []string
	for _, port := range ports {
		if port.Port == nil || port.Port.Type != intstr.String {
			continue
		}
		byNumber := map[int][]*v1.Pod{}
		for _, pod := range pods {
			for _, number := range namedPorts(pod, port) {
				byNumber[number] = append(byNumber[number], pod)
			}
		}
		numbers := make([]int, 0, len(byNumber))
		for number := range byNumber {
			numbers = append(numbers, number)
		}
		sort.Ints(numbers)
		for _, number := range numbers {
			name := p.set(byNumber[number])
			found = append(found, fmt.Sprintf("ip daddr @%s %s dport { %d }", name, protocolOf(port), number))
		}
	}
	return found
}

// selected returns the pods that any of the peers selects, for a policy in `namespace`.
func (p *peers) selected(namespace string, all []networking.NetworkPolicyPeer) []*v1.Pod {
	var found []*v1.Pod
	for _, pod := range p.pods {
		for i := range all {
			if p.selects(namespace, &all[i], pod) {
				found = append(found, pod)
				break
			}
		}
	}
	return found
}

func (p *peers) selects(namespace string, peer *networking.NetworkPolicyPeer, pod *v1.Pod) bool {
	if peer.IPBlock != nil || (peer.PodSelector == nil && peer.NamespaceSelector == nil) {
		return false
	}
	if peer.NamespaceSelector == nil {
		if pod.Namespace != namespace {
			return false
		}
	} else {
		ofNamespace, known := p.namespaces[pod.Namespace]
		if !known || !selector(peer.NamespaceSelector).Matches(ofNamespace) {
			return false
		}
	}
	return peer.PodSelector == nil || selector(peer.PodSelector).Matches(labelsOf(pod))
}

// set returns the name of the set of the pods' addresses; sets are never empty.
func (p *peers) set(pods []*v1.Pod) string {
	addresses := make([]string, 0, len(pods))
	for _, pod := range pods {
		addresses = append(addresses, pod.Status.PodIP)
	}
	sort.Strings(addresses)
	elements := strings.Join(distinct(addresses), ", ")
	if elements == "" {
		return ""
	}
	if _, known := p.names[elements]; !known {
		p.sets = append(p.sets, elements)
		p.names[elements] = fmt.Sprintf("peers%d", len(p.sets))
	}
	return p.names[elements]
}

func (p *peers) writeSets(text *strings.Builder) {
	for _, elements := range p.sets {
		fmt.Fprintf(text, "\tset %s {\n\t\ttype ipv4_addr\n\t\telements = { %s }\n\t}\n", p.names[elements], elements)
	}
}

// blockMatch returns the match of a block without its exceptions; "" for IPv6, which pods do not have.
func blockMatch(block *networking.IPBlock, way direction) string {
	network := networkOf(block.CIDR)
	if network == "" {
		return ""
	}
	match := fmt.Sprintf("ip %s %s", way.peer, network)
	for _, except := range block.Except {
		if excluded := networkOf(except); excluded != "" {
			match += fmt.Sprintf(" ip %s != %s", way.peer, excluded)
		}
	}
	return match
}

// networkOf returns an IPv4 block in nftables' form, without bits beyond the prefix.
func networkOf(cidr string) string {
	_, network, err := net.ParseCIDR(cidr)
	if err != nil || network.IP.To4() == nil {
		return ""
	}
	return network.String()
}

// hasAddress reports whether a pod has its own IPv4 address. Host-network pods and ended pods have none.
func hasAddress(pod *v1.Pod) bool {
	ended := pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
	return !ended && !pod.Spec.HostNetwork && net.ParseIP(pod.Status.PodIP).To4() != nil
}

func labelsOf(pod *v1.Pod) labels.Set { return pod.Labels }

// selector converts a label selector. A selector that the API server would refuse selects nothing.
func selector(of *metav1.LabelSelector) labels.Selector {
	found, err := metav1.LabelSelectorAsSelector(of)
	if err != nil {
		return labels.Nothing()
	}
	return found
}
