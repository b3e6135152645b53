// Package shared has what Dayfly's programs in a cluster have in common: how they reach the API server, how they follow its objects
// however it fails, and how they answer the kubelet's probes.
package shared

import (
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// Config is the pod's service account at the API server, by connections that notice when the other side is gone.
func Config(userAgent string) (*rest.Config, error) {
	// Read by client-go where it makes a connection. Its own limits are 30 and 15 seconds.
	for name, seconds := range map[string]string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "15", "HTTP2_PING_TIMEOUT_SECONDS": "5"} {
		if err := os.Setenv(name, seconds); err != nil {
			return nil, err
		}
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = userAgent
	return config, nil
}

// GroupClient knows one group of the API only: client-go's clientset would link, and register at every start, all groups there
// are. `register` is the group's AddToScheme.
func GroupClient(userAgent string, group schema.GroupVersion, register func(*runtime.Scheme) error) (*rest.RESTClient, error) {
	config, err := Config(userAgent)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := register(scheme); err != nil {
		return nil, err
	}
	config.APIPath = "/apis"
	if group.Group == "" {
		config.APIPath = "/api"
	}
	config.GroupVersion = &group
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeProtobuf
	return rest.RESTClientFor(config)
}
