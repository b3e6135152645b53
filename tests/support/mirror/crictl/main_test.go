package main

import (
	"bytes"
	"context"
	"io/ioutil"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
)

// fakeRuntime has one pod, one container and the images that were pulled.
type fakeRuntime struct {
	runtime.UnimplementedRuntimeServiceServer
	runtime.UnimplementedImageServiceServer
	pulled  map[string]bool
	stopped []string
	states  []*runtime.ContainerStateValue
}

func (f *fakeRuntime) Status(context.Context, *runtime.StatusRequest) (*runtime.StatusResponse, error) {
	condition := &runtime.RuntimeCondition{Type: "RuntimeReady", Status: true}
	return &runtime.StatusResponse{Status: &runtime.RuntimeStatus{Conditions: []*runtime.RuntimeCondition{condition}}}, nil
}

func (f *fakeRuntime) ListPodSandbox(
	context.Context, *runtime.ListPodSandboxRequest,
) (*runtime.ListPodSandboxResponse, error) {
	pod := &runtime.PodSandbox{Id: "pod1", Metadata: &runtime.PodSandboxMetadata{Name: "etcd", Namespace: "kube-system"}}
	return &runtime.ListPodSandboxResponse{Items: []*runtime.PodSandbox{pod}}, nil
}

func (f *fakeRuntime) ListContainers(
	_ context.Context, request *runtime.ListContainersRequest,
) (*runtime.ListContainersResponse, error) {
	f.states = append(f.states, request.GetFilter().GetState())
	container := &runtime.Container{Id: "container1", PodSandboxId: "pod1"}
	return &runtime.ListContainersResponse{Containers: []*runtime.Container{container}}, nil
}

func (f *fakeRuntime) StopPodSandbox(
	_ context.Context, request *runtime.StopPodSandboxRequest,
) (*runtime.StopPodSandboxResponse, error) {
	f.stopped = append(f.stopped, request.PodSandboxId)
	return &runtime.StopPodSandboxResponse{}, nil
}

func (f *fakeRuntime) PullImage(
	_ context.Context, request *runtime.PullImageRequest,
) (*runtime.PullImageResponse, error) {
	f.pulled[request.Image.Image] = true
	return &runtime.PullImageResponse{ImageRef: "sha256:1"}, nil
}

func (f *fakeRuntime) ImageStatus(
	_ context.Context, request *runtime.ImageStatusRequest,
) (*runtime.ImageStatusResponse, error) {
	if !f.pulled[request.Image.Image] {
		return &runtime.ImageStatusResponse{}, nil
	}
	return &runtime.ImageStatusResponse{Image: &runtime.Image{Id: "sha256:1"}}, nil
}

func serve(t *testing.T) (*fakeRuntime, string) {
	socket := filepath.Join(t.TempDir(), "cri")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	fake, server := &fakeRuntime{pulled: map[string]bool{}}, grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(server, fake)
	runtime.RegisterImageServiceServer(server, fake)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return fake, socket
}

func output(t *testing.T, arguments ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(arguments, &out); err != nil {
		t.Fatalf("crictl %s: %v", strings.Join(arguments, " "), err)
	}
	return out.String()
}

func TestKubeadmsCommands(t *testing.T) {
	fake, socket := serve(t)
	if text := output(t, "-r", socket, "info"); !strings.Contains(text, "RuntimeReady") {
		t.Error(text)
	}
	if text := output(t, "-r", "unix://"+socket, "pods", "-q"); text != "pod1\n" {
		t.Errorf("%q", text)
	}
	if err := run([]string{"-r", socket, "inspecti", "pause:1"}, ioutil.Discard); err == nil {
		t.Error("an image that is not there was found")
	}
	output(t, "-r", socket, "pull", "pause:1")
	if text := output(t, "-r", socket, "inspecti", "pause:1"); !strings.Contains(text, "sha256:1") {
		t.Error(text)
	}
	output(t, "-r", socket, "stopp", "pod1")
	if len(fake.stopped) != 1 || fake.stopped[0] != "pod1" {
		t.Error(fake.stopped)
	}
}

func TestOnlyRunningContainersAreListedUnlessAllAreWanted(t *testing.T) {
	fake, socket := serve(t)
	if text := output(t, "--runtime-endpoint", socket, "ps", "-q"); text != "container1\n" {
		t.Errorf("%q", text)
	}
	output(t, "-r", socket, "ps", "-a")
	if fake.states[0].GetState() != runtime.ContainerState_CONTAINER_RUNNING || fake.states[1] != nil {
		t.Error(fake.states)
	}
}

func TestTheEndpointOfTheConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crictl.yaml")
	if endpointOf(path) != defaultEndpoint {
		t.Error("no default")
	}
	if err := ioutil.WriteFile(path, []byte("runtime-endpoint: unix:///run/x.sock\ntimeout: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if endpointOf(path) != "unix:///run/x.sock" {
		t.Error(endpointOf(path))
	}
}

func TestMistakesAreErrors(t *testing.T) {
	_, socket := serve(t)
	for _, arguments := range [][]string{{}, {"-r", socket, "pull"}, {"-r", socket, "dance", "x"}} {
		if run(arguments, ioutil.Discard) == nil {
			t.Error(arguments)
		}
	}
}
