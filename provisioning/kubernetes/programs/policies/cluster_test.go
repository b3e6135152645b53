package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"k8s.io/kubernetes/cmd/dayfly/shared/testworld"
)

var must, eventually = testworld.Must, testworld.Eventually

func TestChangesOfObjectsAreFollowed(t *testing.T) {
	client := fake.NewSimpleClientset(namespace("a", ""), pod("a/web", "node01", "app=web"))
	written := enforced(t, client)
	eventually(t, func() bool { return written.last() != "" })
	if strings.Contains(written.last(), "chain") {
		t.Fatalf("isolated without a policy: %s", written.last())
	}

	ctx, api := context.Background(), client.NetworkingV1().NetworkPolicies("a")
	policy := policies(t, `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}`)[0]
	policy.Name = "web"
	_, err := api.Create(ctx, policy, metav1.CreateOptions{})
	must(t, err)
	attempt := packet{addresses["client"], addresses["web"], "tcp", "8080"}
	eventually(t, func() bool { return !parse(t, written.last()).allows(attempt) })

	_, err = client.CoreV1().Pods("a").Create(ctx, pod("a/client", "node02", "app=client"), metav1.CreateOptions{})
	must(t, err)
	eventually(t, func() bool { return parse(t, written.last()).allows(attempt) })

	_, err = client.CoreV1().Pods("a").Update(ctx, pod("a/client", "node02", "app=other"), metav1.UpdateOptions{})
	must(t, err)
	eventually(t, func() bool { return !parse(t, written.last()).allows(attempt) })

	must(t, api.Delete(ctx, "web", metav1.DeleteOptions{}))
	eventually(t, func() bool { return !strings.Contains(written.last(), "chain") })
}

func TestNothingIsWrittenBeforeAllIsListed(t *testing.T) {
	cluster := newCluster()
	written := &memory{intact: true}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan struct{})
	controller := Controller{node: "node01", cluster: cluster, table: written}
	go func() { controller.run(ctx); close(done) }()
	must(t, cluster.pods.Replace(nil, "1"))
	must(t, cluster.namespaces.Replace(nil, "1"))
	// The channel holds one entry: a second send succeeds only after the controller received the first.
	eventually(t, func() bool { return len(cluster.changed) == 0 })
	if written.last() != "" {
		t.Error("rules without having seen the policies")
	}
	must(t, cluster.policies.Replace(nil, "1"))
	eventually(t, func() bool { return written.last() != "" })
	stop()
	<-done
}

func TestRulesAreWrittenOnlyWhereTheyDiffer(t *testing.T) {
	written := &memory{intact: true}
	controller := Controller{node: "node01", cluster: newCluster(), table: written}
	for _, step := range []struct {
		what           string
		checks, intact bool
		failure        error
		writes         int
	}{
		{"the start", false, true, nil, 1},
		{"no change", false, true, nil, 1},
		{"no change, and a check", true, true, nil, 1},
		{"a flush that nobody has looked for", false, false, nil, 1},
		{"a flush", true, false, nil, 2},
		{"a flush, and nft fails", true, false, errors.New("busy"), 3},
		{"the attempt after a failure", false, true, nil, 4},
		{"no change afterwards", false, true, nil, 4},
	} {
		written.intact, written.failure = step.intact, step.failure
		if err := controller.enforce(step.checks); err != step.failure {
			t.Errorf("%s: %v", step.what, err)
		}
		if written.writes != step.writes {
			t.Errorf("%d writes after %s, not %d", written.writes, step.what, step.writes)
		}
	}
}

func TestOnlyWhatRulesNeedIsKept(t *testing.T) {
	full := pod("a/web", "node01", "app=web", port("http", tcp, 8080))
	full.Annotations = map[string]string{"long": "text"}
	full.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady}}
	kept := trimPod(full).(*v1.Pod)
	if kept.Annotations != nil || kept.Status.Conditions != nil || kept.Spec.Containers[0].Name != "" {
		t.Errorf("kept %+v", kept)
	}
	objects := place()
	objects.Policies = policies(t, `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}}], ports: [{port: http}]}]}`)
	trimmed := Objects{}
	for _, one := range objects.Pods {
		trimmed.Pods = append(trimmed.Pods, trimPod(one).(*v1.Pod))
	}
	for _, one := range objects.Namespaces {
		trimmed.Namespaces = append(trimmed.Namespaces, trimNamespace(one).(*v1.Namespace))
	}
	for _, one := range objects.Policies {
		trimmed.Policies = append(trimmed.Policies, trimPolicy(one).(*networking.NetworkPolicy))
	}
	if Ruleset(trimmed, "node01") != Ruleset(objects, "node01") {
		t.Error("the rules of what is kept are others")
	}
}

// memory is a table that records writes.
type memory struct {
	sync.Mutex
	rules   string
	writes  int
	intact  bool
	failure error
}

func (m *memory) Write(rules string) error {
	m.Lock()
	defer m.Unlock()
	m.writes++
	m.rules = rules
	return m.failure
}

func (m *memory) Intact() bool { return m.intact }

func (m *memory) last() string {
	m.Lock()
	defer m.Unlock()
	return m.rules
}

// enforced runs a controller for node01 and waits for its watches.
func enforced(t *testing.T, client kubernetes.Interface) *memory {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	pods := testworld.NewSource[*v1.PodList](client.CoreV1().Pods(""))
	namespaces := testworld.NewSource[*v1.NamespaceList](client.CoreV1().Namespaces())
	policies := testworld.NewSource[*networking.NetworkPolicyList](client.NetworkingV1().NetworkPolicies(""))
	cluster := newCluster()
	cluster.follow(ctx, sources{pods, namespaces, policies})
	written := &memory{intact: true}
	controller := Controller{node: "node01", cluster: cluster, table: written}
	go controller.run(ctx)
	for _, one := range []*testworld.Source{pods, namespaces, policies} {
		<-one.Watched
	}
	return written
}
