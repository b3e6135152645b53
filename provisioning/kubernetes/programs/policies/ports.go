package main

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// portMatches returns the ports of a rule: one match per protocol. Without ports, the match is any packet. Named ports are
// those of `pod`'s containers; with a nil pod they are omitted.
func portMatches(ports []networking.NetworkPolicyPort, pod *v1.Pod) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	numbers := map[string][]int{}
	var all []string
	for _, port := range ports {
		protocol := protocolOf(port)
		switch {
		case port.Port == nil:
			all = append(all, "meta l4proto "+protocol)
		case port.Port.Type == intstr.Int:
			numbers[protocol] = append(numbers[protocol], port.Port.IntValue())
		case pod != nil:
			numbers[protocol] = append(numbers[protocol], namedPorts(pod, port)...)
		}
	}
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		if len(numbers[protocol]) > 0 {
			all = append(all, fmt.Sprintf("%s dport { %s }", protocol, joinNumbers(numbers[protocol])))
		}
	}
	return all
}

// namedPorts returns the numbers that a pod's containers give to a port's name and protocol.
func namedPorts(pod *v1.Pod, port networking.NetworkPolicyPort) []int {
	var numbers []int
	for _, container := range pod.Spec.Containers {
		for _, one := range container.Ports {
			if one.Name == port.Port.StrVal && protocolName(one.Protocol) == protocolOf(port) {
				numbers = append(numbers, int(one.ContainerPort))
			}
		}
	}
	return numbers
}

func protocolOf(port networking.NetworkPolicyPort) string {
	if port.Protocol == nil {
		return "tcp"
	}
	return protocolName(*port.Protocol)
}

func protocolName(protocol v1.Protocol) string {
	if protocol == "" {
		return "tcp"
	}
	return strings.ToLower(string(protocol))
}

// joinNumbers sorts and removes duplicates, as nftables does: otherwise equal rules would differ as text.
func joinNumbers(numbers []int) string {
	sorted := append([]int(nil), numbers...)
	sort.Ints(sorted)
	words := make([]string, 0, len(sorted))
	for _, number := range sorted {
		words = append(words, strconv.Itoa(number))
	}
	return strings.Join(distinct(words), ", ")
}
