package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestPlans(t *testing.T) {
	for name, one := range map[string]struct {
		services []*v1.Service
		// The decisions as "name address", "name -" for a cleared status, or "name: words of the refusal".
		expected []string
	}{
		"nothing to do": {services: []*v1.Service{balanced("a", has("192.168.67.100")), service("b", v1.ServiceTypeClusterIP)}},
		"the lowest free address": {
			services: []*v1.Service{balanced("a", has("192.168.67.100")), balanced("b"), balanced("c", has("192.168.67.102")), balanced("d")},
			expected: []string{"b 192.168.67.101", "d 192.168.67.103"},
		},
		"asked addresses before automatic ones, older Services before younger ones": {
			services: []*v1.Service{balanced("a"), balanced("b", asks("192.168.67.100")), balanced("c", asks("192.168.67.7"), older), balanced("d", asks("192.168.67.7"))},
			expected: []string{"c 192.168.67.7", "b 192.168.67.100", "d: Service default/c has it", "a 192.168.67.101"},
		},
		"an asked address that another Service holds": {
			services: []*v1.Service{balanced("a", has("192.168.67.100")), balanced("b", asks("192.168.67.100"), older)},
			expected: []string{"b: Service default/a has it"},
		},
		"addresses outside": {
			services: []*v1.Service{
				balanced("a", asks("192.168.66.101")), balanced("b", asks("192.168.67.0")), balanced("c", asks("192.168.67.255")),
				balanced("d", asks("web")), balanced("e", asks("fd00::1")),
			},
			expected: []string{
				"a: 192.168.66.101 is not available: ask for one of 192.168.67.1 to 192.168.67.254", "b: not available", "c: not available",
				"d: not available", "e: not available",
			},
		},
		"an asked address that changes": {
			services: []*v1.Service{balanced("a", has("192.168.67.10"), asks("192.168.67.11"))},
			expected: []string{"a 192.168.67.11"},
		},
		"an asked address that changes to one that is taken": {
			services: []*v1.Service{balanced("a", has("192.168.67.10"), asks("192.168.67.11")), balanced("b", has("192.168.67.11"))},
			expected: []string{"a -", "a: Service default/b has it"},
		},
		"an address that is no longer asked for is kept": {services: []*v1.Service{balanced("a", has("192.168.67.10"))}},
		"a change of type": {
			services: []*v1.Service{service("a", v1.ServiceTypeNodePort, has("192.168.67.100")), balanced("b", asks("192.168.67.100"))},
			expected: []string{"a -", "b 192.168.67.100"},
		},
		"two Services with one address": {
			services: []*v1.Service{balanced("a", has("192.168.67.100")), balanced("b", has("192.168.67.100"), older)},
			expected: []string{"a 192.168.67.101"},
		},
		"Services of another controller": {
			services: []*v1.Service{balanced("a", has("10.1.1.1")), service("b", v1.ServiceTypeClusterIP, has("10.1.1.2")), balanced("c", hasHostname)},
		},
	} {
		if made := texts(plan(one.services)); !matches(made, one.expected) {
			t.Errorf("%s: %q, not %q", name, made, one.expected)
		}
	}
}

func TestAFullRangeRefuses(t *testing.T) {
	var services []*v1.Service
	for last := firstAutomatic; last <= lastAddress; last++ {
		services = append(services, balanced(fmt.Sprintf("a%d", last), has(rangeAddress(last))))
	}
	services = append(services, balanced("late"), balanced("asking", asks("192.168.67.99")))
	expected := []string{"asking 192.168.67.99", "late: other Services have all of 192.168.67.100 to 192.168.67.254"}
	if made := texts(plan(services)); !matches(made, expected) {
		t.Errorf("%q", made)
	}
}

func TestAPlanThatIsCarriedOutNeedsNoOther(t *testing.T) {
	services := []*v1.Service{balanced("a"), balanced("b", asks("192.168.67.9")), service("c", v1.ServiceTypeClusterIP, has("192.168.67.9"))}
	for _, one := range plan(services) {
		one.service.Status.LoadBalancer = v1.LoadBalancerStatus{}
		if one.address != "" {
			has(one.address)(one.service)
		}
	}
	if again := plan(services); len(again) > 0 {
		t.Errorf("%q", texts(again))
	}
}

// texts returns each decision's change, and each refusal.
func texts(decisions []Decision) []string {
	var all []string
	for _, one := range decisions {
		if one.changes {
			address := one.address
			if address == "" {
				address = "-"
			}
			all = append(all, one.service.Name+" "+address)
		}
		if one.refusal != "" {
			all = append(all, one.service.Name+": "+one.refusal)
		}
	}
	return all
}

// matches compares texts; of a refusal, only the expected words.
func matches(made, expected []string) bool {
	if len(made) != len(expected) {
		return false
	}
	for i := range made {
		name := strings.SplitN(expected[i], ": ", 2)
		if len(name) == 1 && made[i] != expected[i] {
			return false
		}
		if len(name) == 2 && !(strings.HasPrefix(made[i], name[0]+": ") && strings.Contains(made[i], name[1])) {
			return false
		}
	}
	return true
}

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func balanced(name string, changes ...func(*v1.Service)) *v1.Service {
	return service(name, v1.ServiceTypeLoadBalancer, changes...)
}

func service(name string, kind v1.ServiceType, changes ...func(*v1.Service)) *v1.Service {
	made := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(began)},
		Spec:       v1.ServiceSpec{Type: kind, Selector: map[string]string{"app": name}},
	}
	for _, change := range changes {
		change(made)
	}
	return made
}

func has(address string) func(*v1.Service) {
	return func(s *v1.Service) {
		s.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: address}}
	}
}

func hasHostname(s *v1.Service) {
	s.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{Hostname: "web.example.com"}}
}

func asks(address string) func(*v1.Service) {
	return func(s *v1.Service) { s.Spec.LoadBalancerIP = address }
}

func older(s *v1.Service) { s.CreationTimestamp = metav1.NewTime(began.Add(-time.Hour)) }

func younger(s *v1.Service) { s.CreationTimestamp = metav1.NewTime(began.Add(time.Hour)) }

func local(s *v1.Service) {
	s.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyTypeLocal
}
