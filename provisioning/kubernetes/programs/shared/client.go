// Package shared is the common code of Dayfly's programs in a cluster: the API server's client, mirrors of its objects that
// survive its failures, and the kubelet's probes.
package shared

import (
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// Config returns the client configuration of the pod's service account; its connections detect a lost peer.
func Config(userAgent string) (*rest.Config, error) {
	// client-go reads these for each new connection; its defaults are 30 and 15 seconds.
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

// GroupClient returns a client of one API group. client-go's clientset would link all groups, and register them at every
// start. `register` is the group's AddToScheme.
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
