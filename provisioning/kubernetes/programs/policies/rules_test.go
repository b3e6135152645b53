package main

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const (
	tcp = v1.ProtocolTCP
	udp = v1.ProtocolUDP
)

// addresses are those of the pods of `place`, and of peers that are not pods.
var addresses = map[string]string{
	"web": "10.244.1.10", "api": "10.244.1.11", "client": "10.244.2.10", "plain": "10.244.2.11",
	"b/web": "10.244.2.20", "b/client": "10.244.1.20", "c/client": "10.244.2.30",
	"ended": "10.244.1.40", "failed": "10.244.1.41",
	"node01": "192.168.66.101", "node02": "192.168.66.102", "outside": "203.0.113.7", "near": "203.0.113.200",
}

// place is a cluster of two nodes and three namespaces. Its policies are in the namespace `a`.
func place() Objects {
	return Objects{
		Namespaces: []*v1.Namespace{
			namespace("a", "team=a"), namespace("b", "team=b,stage=prod"), namespace("c", "stage=test"),
		},
		Pods: []*v1.Pod{
			pod("a/web", "node01", "app=web", port("http", tcp, 8080), port("names", udp, 5353), port("both", tcp, 7000), port("both", udp, 7001)),
			pod("a/api", "node01", "app=api,tier=back", port("http", tcp, 9090)),
			pod("a/client", "node02", "app=client,tier=front"),
			pod("a/plain", "node02", ""),
			pod("b/web", "node02", "app=web", port("http", tcp, 8081)),
			pod("b/client", "node01", "app=client"),
			pod("c/client", "node02", "app=client"),
			inPhase(pod("a/ended", "node01", "app=client"), v1.PodSucceeded),
			inPhase(pod("a/failed", "node01", "app=web", port("http", tcp, 8080)), v1.PodFailed),
			inPhase(pod("a/starting", "node01", "app=web"), v1.PodPending),
			onHost(pod("a/node01", "node01", "app=web", port("http", tcp, 10250))),
		},
	}
}

// check evaluates packets, written "from > to protocol port", on every node that forwards them.
func check(t *testing.T, objects Objects, allowed bool, packets []string) {
	t.Helper()
	tables := map[string]table{}
	for _, node := range []string{"node01", "node02"} {
		tables[node] = parse(t, Ruleset(objects, node))
	}
	for _, text := range packets {
		words := strings.Fields(text)
		if len(words) != 5 || addressOf(words[0]) == "" || addressOf(words[2]) == "" {
			t.Fatalf("not a packet: %s", text)
		}
		sent := packet{addressOf(words[0]), addressOf(words[2]), words[3], words[4]}
		passed := true
		for _, table := range tables {
			passed = passed && table.allows(sent)
		}
		if passed != allowed {
			t.Errorf("%s: allowed is %v", text, passed)
		}
	}
}

func addressOf(name string) string {
	if address, known := addresses[name]; known {
		return address
	}
	if strings.ContainsAny(name, ".:") {
		return name
	}
	return ""
}

// policies reads specs of NetworkPolicies of the namespace `a`, divided by lines of three dashes.
func policies(t *testing.T, text string) []*networking.NetworkPolicy {
	t.Helper()
	var all []*networking.NetworkPolicy
	for _, one := range strings.Split(text, "\n---\n") {
		policy := &networking.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a"}}
		if err := yaml.UnmarshalStrict([]byte(one), &policy.Spec); err != nil {
			t.Fatalf("%v: %s", err, one)
		}
		all = append(all, policy)
	}
	return all
}

func namespace(name, of string) *v1.Namespace {
	return &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelled(of)}}
}

func pod(key, node, of string, ports ...v1.ContainerPort) *v1.Pod {
	parts := strings.Split(key, "/")
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: parts[0], Name: parts[1], Labels: labelled(of)},
		Spec:       v1.PodSpec{NodeName: node, Containers: []v1.Container{{Name: "first"}, {Name: "second", Ports: ports}}},
		Status:     v1.PodStatus{Phase: v1.PodRunning, PodIP: addresses[strings.TrimPrefix(key, "a/")]},
	}
}

func inPhase(pod *v1.Pod, phase v1.PodPhase) *v1.Pod {
	pod.Status.Phase = phase
	return pod
}

func onHost(pod *v1.Pod) *v1.Pod {
	pod.Spec.HostNetwork = true
	return pod
}

func port(name string, protocol v1.Protocol, number int32) v1.ContainerPort {
	return v1.ContainerPort{Name: name, Protocol: protocol, ContainerPort: number}
}

func labelled(of string) map[string]string {
	all := map[string]string{}
	for _, one := range strings.Split(of, ",") {
		if parts := strings.Split(one, "="); len(parts) == 2 {
			all[parts[0]] = parts[1]
		}
	}
	return all
}
