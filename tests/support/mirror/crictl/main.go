// Command crictl is a client of container runtimes with the commands that kubeadm and the checks of a bake run. Debian has
// no package of cri-tools. It is compiled in Kubernetes' source tree (build.sh).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/ioutil"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
	"sigs.k8s.io/yaml"
)

const (
	defaultEndpoint = "unix:///run/containerd/containerd.sock"
	configFile      = "/etc/crictl.yaml"
)

// config has the fields of /etc/crictl.yaml that this program knows.
type config struct {
	RuntimeEndpoint string `json:"runtime-endpoint"`
}

// client talks to the two services of one runtime, and prints to out.
type client struct {
	ctx      context.Context
	runtime  runtime.RuntimeServiceClient
	images   runtime.ImageServiceClient
	quiet    bool
	all      bool
	out      io.Writer
	endpoint string
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

func run(arguments []string, out io.Writer) error {
	c := &client{out: out, endpoint: endpointOf(configFile)}
	global := flag.NewFlagSet("crictl", flag.ContinueOnError)
	timeout := global.Duration("timeout", 5*time.Minute, "limit of the whole command")
	for _, name := range []string{"r", "runtime-endpoint"} {
		global.StringVar(&c.endpoint, name, c.endpoint, "the runtime's socket")
	}
	if err := global.Parse(arguments); err != nil {
		return err
	}
	if global.NArg() == 0 {
		return fmt.Errorf("a command is missing: version, info, images, inspecti, pull, ps, pods, stopp or rmp")
	}
	command := flag.NewFlagSet(global.Arg(0), flag.ContinueOnError)
	for _, name := range []string{"q", "quiet"} {
		command.BoolVar(&c.quiet, name, false, "print identifiers only")
	}
	for _, name := range []string{"a", "all"} {
		command.BoolVar(&c.all, name, false, "list containers that have ended, too")
	}
	if err := command.Parse(global.Args()[1:]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if !strings.HasPrefix(c.endpoint, "unix://") {
		c.endpoint = "unix://" + c.endpoint
	}
	connection, err := grpc.DialContext(ctx, c.endpoint, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer connection.Close()
	c.ctx, c.runtime, c.images = ctx, runtime.NewRuntimeServiceClient(connection), runtime.NewImageServiceClient(connection)
	return c.perform(global.Arg(0), command.Args())
}

func endpointOf(path string) string {
	var known config
	content, err := ioutil.ReadFile(path)
	if err == nil && yaml.Unmarshal(content, &known) == nil && known.RuntimeEndpoint != "" {
		return known.RuntimeEndpoint
	}
	return defaultEndpoint
}

func (c *client) perform(command string, names []string) error {
	switch command {
	case "version":
		answer, err := c.runtime.Version(c.ctx, &runtime.VersionRequest{})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, "RuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n",
			answer.RuntimeName, answer.RuntimeVersion, answer.RuntimeApiVersion)
		return err
	case "info":
		answer, err := c.runtime.Status(c.ctx, &runtime.StatusRequest{Verbose: true})
		if err != nil {
			return err
		}
		return c.print(answer)
	case "images":
		return c.listImages()
	case "ps":
		return c.listContainers()
	case "pods":
		answer, err := c.runtime.ListPodSandbox(c.ctx, &runtime.ListPodSandboxRequest{})
		if err != nil {
			return err
		}
		for _, pod := range answer.Items {
			c.line(pod.Id, pod.State.String(), pod.Metadata.GetNamespace(), pod.Metadata.GetName())
		}
		return nil
	}
	if len(names) == 0 {
		return fmt.Errorf("%s: a name is missing, or there is no such command", command)
	}
	for _, name := range names {
		if err := c.performOn(command, name); err != nil {
			return fmt.Errorf("%s %s: %v", command, name, err)
		}
	}
	return nil
}

func (c *client) performOn(command, name string) error {
	image := &runtime.ImageSpec{Image: name}
	switch command {
	case "pull":
		answer, err := c.images.PullImage(c.ctx, &runtime.PullImageRequest{Image: image})
		if err == nil {
			c.line(answer.ImageRef)
		}
		return err
	case "inspecti":
		answer, err := c.images.ImageStatus(c.ctx, &runtime.ImageStatusRequest{Image: image, Verbose: true})
		if err != nil {
			return err
		}
		if answer.Image == nil {
			return fmt.Errorf("no such image")
		}
		return c.print(answer)
	case "stopp":
		_, err := c.runtime.StopPodSandbox(c.ctx, &runtime.StopPodSandboxRequest{PodSandboxId: name})
		return err
	case "rmp":
		_, err := c.runtime.RemovePodSandbox(c.ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: name})
		return err
	}
	return fmt.Errorf("no such command")
}

func (c *client) listImages() error {
	answer, err := c.images.ListImages(c.ctx, &runtime.ListImagesRequest{})
	if err != nil {
		return err
	}
	for _, image := range answer.Images {
		c.line(image.Id, strings.Join(image.RepoTags, " "), fmt.Sprint(image.Size_))
	}
	return nil
}

func (c *client) listContainers() error {
	request := &runtime.ListContainersRequest{}
	if !c.all {
		running := &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING}
		request.Filter = &runtime.ContainerFilter{State: running}
	}
	answer, err := c.runtime.ListContainers(c.ctx, request)
	if err != nil {
		return err
	}
	for _, container := range answer.Containers {
		c.line(container.Id, container.State.String(), container.Metadata.GetName(), container.PodSandboxId)
	}
	return nil
}

// line prints an object's identifier, and the rest of its line unless only identifiers are wanted.
func (c *client) line(id string, rest ...string) {
	if c.quiet {
		rest = nil
	}
	fmt.Fprintln(c.out, strings.Join(append([]string{id}, rest...), "\t"))
}

func (c *client) print(answer interface{}) error {
	encoder := json.NewEncoder(c.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(answer)
}
