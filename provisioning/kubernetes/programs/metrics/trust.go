package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const (
	// The API server describes its aggregator in this ConfigMap.
	trustedConfigMap = "extension-apiserver-authentication"
	trustedAuthority = "requestheader-client-ca-file"
	trustedNames     = "requestheader-allowed-names"
	// A cluster's PKI does not change; a new front proxy's CA is trusted after this time.
	trustPeriod = 5 * time.Minute
	trustWait   = 30 * time.Second
)

// Trust accepts the API server's aggregator only, by its client certificate: nobody else's requests were authorised.
type Trust struct {
	configMaps corev1.ConfigMapInterface
	mutex      sync.Mutex
	authority  *x509.CertPool
	// No names: every certificate of the authority is accepted.
	names map[string]bool
}

func newTrust(configMaps corev1.ConfigMapInterface) *Trust { return &Trust{configMaps: configMaps} }

// follow loads the aggregator's authority until ctx ends.
func (t *Trust) follow(ctx context.Context) {
	backOff := shared.FirstBackOff
	for ctx.Err() == nil {
		pause := trustPeriod
		if err := t.load(ctx); err != nil {
			log.Printf("%s: %v", trustedConfigMap, err)
			pause, backOff = backOff, shared.NextBackOff(backOff)
		} else {
			backOff = shared.FirstBackOff
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (t *Trust) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, trustWait)
	defer cancel()
	configMap, err := t.configMaps.Get(ctx, trustedConfigMap, metav1.GetOptions{})
	if err != nil {
		return err
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM([]byte(configMap.Data[trustedAuthority])) {
		return fmt.Errorf("%s has no certificate: the API server has no aggregator", trustedAuthority)
	}
	var list []string
	if err := json.Unmarshal([]byte(configMap.Data[trustedNames]), &list); err != nil {
		return fmt.Errorf("%s: %w", trustedNames, err)
	}
	names := map[string]bool{}
	for _, name := range list {
		names[name] = true
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.authority, t.names = authority, names
	return nil
}

func (t *Trust) current() (*x509.CertPool, map[string]bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.authority, t.names
}

func (t *Trust) known() bool {
	authority, _ := t.current()
	return authority != nil
}

// newServer returns a server for the aggregator.
func newServer(address string, trust *Trust, certificate tls.Certificate, api http.Handler) *http.Server {
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{certificate},
		// A resumed session would skip the check of a certificate against a changed authority.
		SessionTicketsDisabled: true,
	}
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		authority, _ := trust.current()
		if authority == nil {
			return nil, errors.New("the aggregator's authority is not known yet")
		}
		checked := config.Clone()
		checked.ClientAuth, checked.ClientCAs = tls.RequireAndVerifyClientCert, authority
		return checked, nil
	}
	return &http.Server{
		Addr:              address,
		TLSConfig:         config,
		Handler:           trust.onlyAggregator(api),
		ReadHeaderTimeout: scrapeTimeout,
		IdleTimeout:       5 * time.Minute,
	}
}

// onlyAggregator refuses certificates of the aggregator's authority with another name.
func (t *Trust) onlyAggregator(api http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if name, ok := t.caller(request); !ok {
			refusal := apierrors.NewForbidden(schema.GroupResource{}, "", fmt.Errorf("%q is not the API server's aggregator", name))
			write(writer, request, statusOf(refusal))
			return
		}
		api.ServeHTTP(writer, request)
	})
}

func (t *Trust) caller(request *http.Request) (string, bool) {
	if request.TLS == nil || len(request.TLS.VerifiedChains) == 0 {
		return "", false
	}
	name := request.TLS.VerifiedChains[0][0].Subject.CommonName
	_, names := t.current()
	return name, len(names) == 0 || names[name]
}
