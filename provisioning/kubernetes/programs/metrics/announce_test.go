package main

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/fake"
)

func announcement(caBundle string) *v1.APIService {
	return &v1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1beta1.metrics.k8s.io"},
		Spec:       v1.APIServiceSpec{Group: "metrics.k8s.io", Version: "v1beta1", GroupPriorityMinimum: 100, CABundle: []byte(caBundle)},
	}
}

func TestTheAuthorityIsAnnouncedWhereItIsMissing(t *testing.T) {
	client := fake.NewSimpleClientset(announcement("of the last process"))
	services := client.ApiregistrationV1().APIServices()
	announcer := newAnnouncer(services, []byte("of this process"))
	expect := func(when string, announced bool, patches int) {
		t.Helper()
		_, err := announcer.announce(context.Background())
		must(t, err)
		found := 0
		for _, action := range client.Actions() {
			if action.GetVerb() == "patch" {
				found++
			}
		}
		if announcer.announced() != announced || found != patches {
			t.Errorf("%s: %v after %d patches", when, announcer.announced(), found)
		}
	}
	expect("before the list", false, 0)
	must(t, announcer.mirror.Replace(nil, "1"))
	expect("without an APIService", false, 0)
	must(t, announcer.mirror.Add(announcement("of the last process")))
	expect("with another authority", false, 1)
	service, err := services.Get(context.Background(), apiService, metav1.GetOptions{})
	must(t, err)
	if string(service.Spec.CABundle) != "of this process" || service.Spec.GroupPriorityMinimum != 100 {
		t.Errorf("%v", service.Spec)
	}
	must(t, announcer.mirror.Update(service))
	expect("with its own", true, 1)
	must(t, announcer.mirror.Delete(service))
	expect("after the removal", false, 1)
	must(t, announcer.mirror.Add(announcement("")))
	expect("with a new APIService", false, 2)
}

func TestAFailedAnnouncementIsRepeated(t *testing.T) {
	client := fake.NewSimpleClientset(announcement(""))
	failures, done := 2, make(chan struct{})
	client.PrependReactor("patch", "apiservices", func(clienttesting.Action) (bool, runtime.Object, error) {
		if failures--; failures >= 0 {
			return true, nil, errors.New("the API server starts")
		}
		close(done)
		return false, nil, nil
	})
	announcer := newAnnouncer(client.ApiregistrationV1().APIServices(), []byte("of this process"))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go announcer.run(ctx)
	must(t, announcer.mirror.Add(announcement("")))
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the announcement was not repeated")
	}
}
