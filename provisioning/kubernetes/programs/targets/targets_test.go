package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

var node02 = "node02"

func TestANodesTargetIsItsKubeletAtTheAddressOfItsCertificate(t *testing.T) {
	node := &v1.Node{ObjectMeta: object("", "node01", map[string]string{"kubernetes.io/os": "linux"}, nil)}
	node.Status.Addresses = []v1.NodeAddress{
		{Type: v1.NodeHostName, Address: "node01"},
		{Type: v1.NodeInternalIP, Address: "192.168.66.101"},
		{Type: v1.NodeInternalIP, Address: "192.168.66.201"},
	}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
	unregistered := &v1.Node{ObjectMeta: object("", "node02", nil, nil)}
	expect(t, "/nodes", newWorld(t, node, unregistered), []Group{{
		[]string{"192.168.66.101:10250"},
		Labels{meta + "node_name": "node01", meta + "node_label_kubernetes_io_os": "linux"},
	}})
}

func TestEndpointsHaveLabelsOfTheirService(t *testing.T) {
	service := &v1.Service{ObjectMeta: object("shop", "web", map[string]string{"app": "web"}, map[string]string{
		"prometheus.io/scrape":                             "true",
		"kubectl.kubernetes.io/last-applied-configuration": "secret",
	})}
	endpoints := &v1.Endpoints{ObjectMeta: object("shop", "web", nil, nil), Subsets: []v1.EndpointSubset{{
		Ports: []v1.EndpointPort{{Name: "http", Port: 80, Protocol: v1.ProtocolTCP}, {Name: "dns", Port: 53, Protocol: v1.ProtocolUDP}},
		Addresses: []v1.EndpointAddress{
			{IP: "10.244.1.2", NodeName: &node02, TargetRef: &v1.ObjectReference{Kind: "Pod", Name: "web-1"}},
		},
		NotReadyAddresses: []v1.EndpointAddress{{IP: "10.244.1.3"}},
	}}}
	orphan := &v1.Endpoints{ObjectMeta: object("test", "outside", nil, nil), Subsets: []v1.EndpointSubset{{
		Ports: []v1.EndpointPort{{Port: 443}}, Addresses: []v1.EndpointAddress{{IP: "192.168.66.101"}},
	}}}
	web := func(ready string) Labels {
		return Labels{
			meta + "namespace":                               "shop",
			meta + "endpoints_name":                          "web",
			meta + "endpoint_ready":                          ready,
			meta + "endpoint_port_name":                      "http",
			meta + "service_name":                            "web",
			meta + "service_label_app":                       "web",
			meta + "service_annotation_prometheus_io_scrape": "true",
		}
	}
	first := web("true")
	first[meta+"endpoint_node_name"], first[meta+"pod_name"] = "node02", "web-1"
	expect(t, "/endpoints", newWorld(t, service, endpoints, orphan), []Group{
		{[]string{"10.244.1.2:80"}, first},
		{[]string{"10.244.1.3:80"}, web("false")},
		{[]string{"192.168.66.101:443"}, Labels{
			meta + "namespace": "test", meta + "endpoints_name": "outside",
			meta + "endpoint_ready": "true", meta + "endpoint_port_name": "",
		}},
	})
}

func TestAPodHasATargetForEachTCPPort(t *testing.T) {
	two := pod("two", "10.244.0.2", v1.PodRunning, v1.Container{Name: "app", Ports: []v1.ContainerPort{
		{Name: "http", ContainerPort: 8080, Protocol: v1.ProtocolTCP},
		{ContainerPort: 9000},
		{ContainerPort: 53, Protocol: v1.ProtocolUDP},
	}})
	two.Status.Conditions = []v1.PodCondition{
		{Type: v1.PodScheduled, Status: v1.ConditionTrue}, {Type: v1.PodReady, Status: v1.ConditionFalse},
	}
	none := pod("none", "10.244.0.3", v1.PodRunning, v1.Container{Name: "app"})
	none.Annotations = map[string]string{"prometheus.io/port": "9100", "other": "secret"}
	ended := pod("ended", "10.244.0.4", v1.PodSucceeded, v1.Container{Name: "app"})
	failed := pod("failed", "10.244.0.6", v1.PodFailed, v1.Container{Name: "app"})
	starting := pod("starting", "", v1.PodPending, v1.Container{Name: "app"})
	labels := func(name, address string, more Labels) Labels {
		all := Labels{
			meta + "namespace": "shop", meta + "pod_name": name, meta + "pod_ip": address,
			meta + "pod_node_name": "node02", meta + "pod_phase": "Running",
		}
		for name, value := range more {
			all[name] = value
		}
		return all
	}
	port := func(name, number string) Labels {
		return labels("two", "10.244.0.2", Labels{
			meta + "pod_ready": "false", meta + "pod_container_name": "app",
			meta + "pod_container_port_name": name, meta + "pod_container_port_number": number,
		})
	}
	expect(t, "/pods", newWorld(t, two, none, ended, failed, starting), []Group{
		{[]string{"10.244.0.3"}, labels("none", "10.244.0.3", Labels{meta + "pod_annotation_prometheus_io_port": "9100"})},
		{[]string{"10.244.0.2:8080"}, port("http", "8080")},
		{[]string{"10.244.0.2:9000"}, port("", "9000")},
	})
}

func TestAnEmptyClusterHasEmptyLists(t *testing.T) {
	for _, path := range []string{"/nodes", "/endpoints", "/pods"} {
		expect(t, path, newWorld(t), []Group{})
	}
}

func TestThereAreNoListsBeforeAllObjectsAreKnown(t *testing.T) {
	cluster := newCluster()
	for _, mirror := range []*shared.Mirror{cluster.nodes, cluster.services, cluster.endpoints, cluster.pods} {
		if answer := get(cluster, "/pods"); answer.Code != http.StatusServiceUnavailable {
			t.Fatalf("%d: %s", answer.Code, answer.Body)
		}
		check(t, mirror.Replace(nil, "1"))
	}
	if answer := get(cluster, "/pods"); answer.Code != http.StatusOK || answer.Body.String() != "[]\n" {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
}

// newWorld has all objects listed.
func newWorld(t *testing.T, objects ...interface{}) *Cluster {
	t.Helper()
	cluster := newCluster()
	var nodes, services, endpoints, pods []interface{}
	for _, one := range objects {
		switch one.(type) {
		case *v1.Node:
			nodes = append(nodes, one)
		case *v1.Service:
			services = append(services, one)
		case *v1.Endpoints:
			endpoints = append(endpoints, one)
		case *v1.Pod:
			pods = append(pods, one)
		}
	}
	check(t, cluster.nodes.Replace(nodes, "1"))
	check(t, cluster.services.Replace(services, "1"))
	check(t, cluster.endpoints.Replace(endpoints, "1"))
	check(t, cluster.pods.Replace(pods, "1"))
	return cluster
}

func object(namespace, name string, labels, annotations map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels, Annotations: annotations}
}

func pod(name, address string, phase v1.PodPhase, containers ...v1.Container) *v1.Pod {
	return &v1.Pod{
		ObjectMeta: object("shop", name, nil, nil),
		Spec:       v1.PodSpec{NodeName: node02, Containers: containers},
		Status:     v1.PodStatus{Phase: phase, PodIP: address},
	}
}

func get(cluster *Cluster, path string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	handler(cluster).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer
}

// expect compares a list as Prometheus reads it.
func expect(t *testing.T, path string, cluster *Cluster, wanted []Group) {
	t.Helper()
	answer := get(cluster, path)
	if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d, %s", answer.Code, answer.Header())
	}
	var groups []Group
	check(t, json.Unmarshal(answer.Body.Bytes(), &groups))
	if groups == nil || !reflect.DeepEqual(groups, wanted) {
		t.Errorf("%s is\n%v, not\n%v", path, groups, wanted)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
