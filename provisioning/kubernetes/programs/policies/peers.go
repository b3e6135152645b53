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

// peers finds whom a rule speaks of, and keeps the sets of addresses that rules refer to: each once, however many pods
// of a node have the same policy.
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

// matches are the peers of a rule: one match for all pods together, and one per block. No peers are all peers.
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

// namedPortMatches are the named ports of an egress rule: what number a name has, each destination pod tells. A block
// has no names.
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

// selected are the pods that any of the peers selects, seen from a policy in `namespace`.
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

// set names the set of the pods' addresses; no set is empty.
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

// blockMatch is a block without its exceptions; empty for one of IPv6, which no pod has.
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

// networkOf is a block of IPv4 as nftables writes it, without bits beyond its prefix.
func networkOf(cidr string) string {
	_, network, err := net.ParseCIDR(cidr)
	if err != nil || network.IP.To4() == nil {
		return ""
	}
	return network.String()
}

// hasAddress is whether a pod has an IPv4 address of its own: none that shares its node's, and none that has ended.
func hasAddress(pod *v1.Pod) bool {
	ended := pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
	return !ended && !pod.Spec.HostNetwork && net.ParseIP(pod.Status.PodIP).To4() != nil
}

func labelsOf(pod *v1.Pod) labels.Set { return pod.Labels }

// selector selects nothing where it is none that the API server would have let pass.
func selector(of *metav1.LabelSelector) labels.Selector {
	found, err := metav1.LabelSelectorAsSelector(of)
	if err != nil {
		return labels.Nothing()
	}
	return found
}
