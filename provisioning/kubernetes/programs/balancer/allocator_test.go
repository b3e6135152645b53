package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

func TestAStatusIsWrittenAndTheRestOfTheServiceKept(t *testing.T) {
	api := newAPI(balanced("web", asks("192.168.67.10")))
	api.allocate(t)
	written := api.service(t, "web")
	if addressOf(written) != "192.168.67.10" || written.Spec.Selector["app"] != "web" {
		t.Errorf("%+v", written)
	}
}

func TestAnAddressIsGivenBackByADeletionAndByAChangeOfType(t *testing.T) {
	api := newAPI(balanced("a"), balanced("b"))
	api.allocate(t)
	if a, b := api.address(t, "a"), api.address(t, "b"); a != "192.168.67.100" || b != "192.168.67.101" {
		t.Fatal(a, b)
	}
	must(t, api.client.CoreV1().Services("default").Delete(context.Background(), "a", metav1.DeleteOptions{}))
	changed := api.service(t, "b")
	changed.Spec.Type = v1.ServiceTypeClusterIP
	_, err := api.client.CoreV1().Services("default").Update(context.Background(), changed, metav1.UpdateOptions{})
	must(t, err)
	_, err = api.client.CoreV1().Services("default").Create(context.Background(), balanced("c", asks("192.168.67.101")), metav1.CreateOptions{})
	must(t, err)
	_, err = api.client.CoreV1().Services("default").Create(context.Background(), balanced("d"), metav1.CreateOptions{})
	must(t, err)
	api.allocate(t)
	if b, c, d := api.address(t, "b"), api.address(t, "c"), api.address(t, "d"); b != "" || c != "192.168.67.101" || d != "192.168.67.100" {
		t.Error(b, c, d)
	}
}

func TestAServiceThatWaitsGetsItsAddressOnceItIsFree(t *testing.T) {
	api := newAPI(balanced("a", asks("192.168.67.10"), older), balanced("b", asks("192.168.67.10")))
	api.allocate(t)
	if address := api.address(t, "b"); address != "" {
		t.Fatal(address)
	}
	must(t, api.client.CoreV1().Services("default").Delete(context.Background(), "a", metav1.DeleteOptions{}))
	api.allocate(t)
	if address := api.address(t, "b"); address != "192.168.67.10" {
		t.Error(address)
	}
}

func TestARestartedAllocatorContinuesFromTheStatuses(t *testing.T) {
	api := newAPI(balanced("a"), balanced("b"))
	api.allocate(t)
	must(t, api.client.CoreV1().Services("default").Delete(context.Background(), "a", metav1.DeleteOptions{}))
	api.allocator = nil
	api.allocate(t)
	if address := api.address(t, "b"); address != "192.168.67.101" {
		t.Error(address)
	}
}

func TestAStaleMirrorGivesNoAddressTwice(t *testing.T) {
	api := newAPI(balanced("a"), balanced("b"))
	api.allocate(t)
	_, err := api.client.CoreV1().Services("default").Create(context.Background(), balanced("c"), metav1.CreateOptions{})
	must(t, err)
	// The mirror has the new Service, and not the addresses of the others.
	must(t, api.allocator.allocate(context.Background(), []*v1.Service{balanced("c"), balanced("a", younger), balanced("b", younger)}))
	if c := api.address(t, "c"); c != "192.168.67.102" || api.address(t, "a") != "192.168.67.100" {
		t.Error(c)
	}
}

func TestARefusalIsOneEventOnTheService(t *testing.T) {
	api := newAPI(balanced("a", asks("192.168.66.101")))
	api.allocate(t)
	api.allocate(t)
	events, err := api.client.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{})
	must(t, err)
	if len(events.Items) != 1 {
		t.Fatal(events.Items)
	}
	event := events.Items[0]
	if event.Type != v1.EventTypeWarning || event.Reason != "AllocationFailed" || event.InvolvedObject.Kind != "Service" ||
		event.InvolvedObject.UID != "uid-a" || !strings.Contains(event.Message, "192.168.66.101") {
		t.Errorf("%+v", event)
	}
	if len(api.listed) > 0 {
		t.Error("the Services were listed without a change")
	}
}

func TestAFailedWriteDoesNotStopTheOthersAndIsRepeated(t *testing.T) {
	api := newAPI(balanced("a"), balanced("b"))
	api.failures = 1
	if err := api.tryToAllocate(t); err == nil {
		t.Error("no failure")
	}
	if a, b := api.address(t, "a"), api.address(t, "b"); a != "" || b != "192.168.67.101" {
		t.Error(a, b)
	}
	api.allocate(t)
	if a := api.address(t, "a"); a != "192.168.67.100" {
		t.Error(a)
	}
}

func TestARefusedEventIsNoFailure(t *testing.T) {
	api := newAPI(balanced("a", asks("10.0.0.1")))
	api.eventFailure = errors.New("the namespace is being terminated")
	api.allocate(t)
}

// fakeAPI is the fake client, as the allocator uses the API server.
type fakeAPI struct {
	client       *fake.Clientset
	allocator    *Allocator
	listed       []string
	failures     int
	eventFailure error
}

func newAPI(objects ...runtime.Object) *fakeAPI {
	return &fakeAPI{client: fake.NewSimpleClientset(objects...)}
}

func (f *fakeAPI) Services(ctx context.Context) ([]*v1.Service, error) {
	list, err := f.client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	var services []*v1.Service
	for i := range list.Items {
		services = append(services, list.Items[i].DeepCopy())
	}
	return services, err
}

func (f *fakeAPI) UpdateStatus(ctx context.Context, service *v1.Service) error {
	if f.failures > 0 {
		f.failures--
		return errors.New("conflict")
	}
	_, err := f.client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
	return err
}

func (f *fakeAPI) CreateEvent(ctx context.Context, event *v1.Event) error {
	if f.eventFailure != nil {
		return f.eventFailure
	}
	_, err := f.client.CoreV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
	return err
}

// counting records the lists.
type counting struct{ *fakeAPI }

func (c counting) Services(ctx context.Context) ([]*v1.Service, error) {
	c.listed = append(c.listed, "services")
	return c.fakeAPI.Services(ctx)
}

// allocate allocates as a process that has seen all Services.
func (f *fakeAPI) allocate(t *testing.T) {
	t.Helper()
	must(t, f.tryToAllocate(t))
}

func (f *fakeAPI) tryToAllocate(t *testing.T) error {
	t.Helper()
	if f.allocator == nil {
		f.allocator = newAllocator("node01", counting{f})
	}
	services, err := f.Services(context.Background())
	must(t, err)
	for i := range services {
		services[i] = trimService(services[i]).(*v1.Service)
	}
	return f.allocator.allocate(context.Background(), services)
}

func (f *fakeAPI) service(t *testing.T, name string) *v1.Service {
	t.Helper()
	found, err := f.client.CoreV1().Services("default").Get(context.Background(), name, metav1.GetOptions{})
	must(t, err)
	return found
}

func (f *fakeAPI) address(t *testing.T, name string) string {
	t.Helper()
	return addressOf(f.service(t, name))
}
