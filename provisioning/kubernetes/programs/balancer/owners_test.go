package main

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOwners(t *testing.T) {
	three := []*v1.Node{node("node01", true), node("node02", true), node("node03", true)}
	for name, one := range map[string]struct {
		service   *v1.Service
		endpoints *v1.Endpoints
		nodes     []*v1.Node
		among     []string
	}{
		"any Ready node":     {balanced("web", has("192.168.67.100")), endpointsOn("web", "node01"), three, []string{"node01", "node02", "node03"}},
		"the only Ready one": {balanced("web", has("192.168.67.100")), nil, []*v1.Node{node("node01", false), node("node02", true)}, []string{"node02"}},
		"none is Ready":      {balanced("web", has("192.168.67.100")), nil, []*v1.Node{node("node01", false)}, []string{"node01"}},
		"no node":            {balanced("web", has("192.168.67.100")), nil, nil, []string{""}},
		"Local":              {balanced("web", has("192.168.67.100"), local), endpointsOn("web", "node03"), three, []string{"node03"}},
		"Local, of those the Ready one": {
			balanced("web", has("192.168.67.100"), local), endpointsOn("web", "node01", "node02"),
			[]*v1.Node{node("node01", false), node("node02", true), node("node03", true)}, []string{"node02"},
		},
		"Local, and none is Ready": {
			balanced("web", has("192.168.67.100"), local), endpointsOn("web", "node01"),
			[]*v1.Node{node("node01", false), node("node02", true)}, []string{"node01"},
		},
		"Local without an endpoint": {balanced("web", has("192.168.67.100"), local), nil, three, []string{""}},
	} {
		found := owner(one.service, one.endpoints, one.nodes)
		if !contains(one.among, found) {
			t.Errorf("%s: %q", name, found)
		}
	}
}

func TestOwnersAreSpreadAndStable(t *testing.T) {
	nodes := []*v1.Node{node("node01", true), node("node02", true), node("node03", true)}
	owned := map[string]int{}
	for last := 1; last <= lastAddress; last++ {
		service := balanced("web", has(rangeAddress(last)))
		before := owner(service, nil, nodes)
		owned[before]++
		reversed := []*v1.Node{nodes[2], nodes[1], nodes[0]}
		if owner(service, nil, reversed) != before {
			t.Fatalf("%d: the order of the nodes decides", last)
		}
		more := append(reversed, node("node04", true))
		if after := owner(service, nil, more); after != before && after != "node04" {
			t.Fatalf("%d: a new node moved an address from %s to %s", last, before, after)
		}
	}
	for _, one := range nodes {
		if owned[one.Name] < 60 {
			t.Errorf("%s owns %d addresses of %d", one.Name, owned[one.Name], lastAddress)
		}
	}
	first := map[string]bool{}
	for last := firstAutomatic; last < firstAutomatic+10; last++ {
		first[owner(balanced("web", has(rangeAddress(last))), nil, nodes)] = true
	}
	if len(first) != len(nodes) {
		t.Errorf("of ten neighbouring addresses, all belong to %v", first)
	}
}

func node(name string, ready bool) *v1.Node {
	status := v1.ConditionUnknown
	if ready {
		status = v1.ConditionTrue
	}
	made := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	made.Status.Conditions = []v1.NodeCondition{
		{Type: v1.NodeMemoryPressure, Status: v1.ConditionTrue}, {Type: v1.NodeReady, Status: status, LastHeartbeatTime: metav1.Now()},
	}
	return made
}

// endpointsOn returns Endpoints with a ready address on each node, and one that is not ready on node99.
func endpointsOn(name string, nodes ...string) *v1.Endpoints {
	subset := v1.EndpointSubset{NotReadyAddresses: []v1.EndpointAddress{addressOn("node99")}}
	for _, one := range nodes {
		subset.Addresses = append(subset.Addresses, addressOn(one))
	}
	return &v1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Subsets: []v1.EndpointSubset{subset}}
}

func addressOn(node string) v1.EndpointAddress {
	return v1.EndpointAddress{IP: "10.244.1.1", NodeName: &node}
}

func contains(all []string, one string) bool { return len(without([]string{one}, all)) == 0 }
