package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const host = "metrics-server.kube-system.svc"

// signer is a certificate authority of a front proxy.
type signer struct {
	*testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newSigner(t *testing.T) *signer {
	authority := template("front-proxy-ca", 1, time.Now())
	authority.IsCA, authority.BasicConstraintsValid = true, true
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	s := &signer{t, authority, key}
	s.certificate = s.sign(authority, key)
	return s
}

func (s *signer) sign(one *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	content, err := x509.CreateCertificate(rand.Reader, one, s.certificate, key.Public(), s.key)
	must(s.T, err)
	parsed, err := x509.ParseCertificate(content)
	must(s.T, err)
	return parsed
}

func (s *signer) issue(name string, usage x509.ExtKeyUsage) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(s.T, err)
	leaf := template(name, 2, time.Now())
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return &tls.Certificate{Certificate: [][]byte{s.sign(leaf, key).Raw}, PrivateKey: key}
}

func (s *signer) trust(names string) *Trust {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Raw})
	return newTrust(configMaps(map[string]string{trustedAuthority: string(text), trustedNames: names}).CoreV1().ConfigMaps("kube-system"))
}

func configMaps(data map[string]string) *fake.Clientset {
	return fake.NewSimpleClientset(&v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: trustedConfigMap}, Data: data,
	})
}

// served is a server whose API answers "served", and a client that trusts it.
type served struct {
	*testing.T
	address   string
	authority []byte
}

func serve(t *testing.T, trust *Trust) served {
	certificate, authority, err := newCertificate(host, time.Now())
	must(t, err)
	server := newServer("127.0.0.1:0", trust, certificate, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if _, err := io.WriteString(writer, "served by "+request.Proto); err != nil {
			t.Error(err)
		}
	}))
	listener, err := net.Listen("tcp", server.Addr)
	must(t, err)
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { must(t, server.Close()) })
	return served{t, listener.Addr().String(), authority}
}

// ask requests with a client certificate, or without: the code and the text of the answer, 0 for a failed handshake.
func (s served) ask(client *tls.Certificate) (int, string) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.authority) {
		s.Fatalf("no certificate: %s", s.authority)
	}
	config := &tls.Config{RootCAs: pool, ServerName: host}
	if client != nil {
		config.Certificates = []tls.Certificate{*client}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("https://" + s.address + base + "/nodes")
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	must(s.T, err)
	return response.StatusCode, string(content)
}

func TestOnlyTheAggregatorIsServed(t *testing.T) {
	front, other := newSigner(t), newSigner(t)
	trust := front.trust(`["front-proxy-client"]`)
	must(t, trust.load(context.Background()))
	server := serve(t, trust)
	for name, one := range map[string]struct {
		client *tls.Certificate
		code   int
	}{
		"the aggregator":         {front.issue("front-proxy-client", x509.ExtKeyUsageClientAuth), http.StatusOK},
		"no certificate":         {nil, 0},
		"another authority":      {other.issue("front-proxy-client", x509.ExtKeyUsageClientAuth), 0},
		"a server's certificate": {front.issue("front-proxy-client", x509.ExtKeyUsageServerAuth), 0},
		"another name":           {front.issue("system:admin", x509.ExtKeyUsageClientAuth), http.StatusForbidden},
	} {
		code, text := server.ask(one.client)
		if code != one.code {
			t.Errorf("%s: %d %s", name, code, text)
		}
		if code == http.StatusOK && text != "served by HTTP/2.0" {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestWithoutAllowedNamesEveryCertificateOfTheAuthorityIsAccepted(t *testing.T) {
	front := newSigner(t)
	trust := front.trust(`[]`)
	must(t, trust.load(context.Background()))
	if code, text := serve(t, trust).ask(front.issue("any", x509.ExtKeyUsageClientAuth)); code != http.StatusOK {
		t.Errorf("%d %s", code, text)
	}
}

func TestBeforeTheAuthorityIsKnownNobodyIsServed(t *testing.T) {
	front := newSigner(t)
	trust := front.trust(`["front-proxy-client"]`)
	server, aggregator := serve(t, trust), front.issue("front-proxy-client", x509.ExtKeyUsageClientAuth)
	if code, _ := server.ask(aggregator); code != 0 || trust.known() {
		t.Errorf("%d", code)
	}
	must(t, trust.load(context.Background()))
	if code, text := server.ask(aggregator); code != http.StatusOK || !trust.known() {
		t.Errorf("%d %s", code, text)
	}
}

func TestAFailureKeepsTheKnownAuthority(t *testing.T) {
	front := newSigner(t)
	trust := front.trust(`["front-proxy-client"]`)
	must(t, trust.load(context.Background()))
	for _, data := range []map[string]string{{}, {trustedAuthority: "no certificate", trustedNames: "[]"}, nil} {
		client := configMaps(data)
		if data == nil {
			client = fake.NewSimpleClientset()
		}
		trust.configMaps = client.CoreV1().ConfigMaps("kube-system")
		if err := trust.load(context.Background()); err == nil || !trust.known() {
			t.Errorf("%v: %v", data, err)
		}
	}
}

func TestTheCertificateIsValidForTheServiceOnly(t *testing.T) {
	now := time.Now()
	certificate, authority, err := newCertificate(host, now)
	must(t, err)
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	for name, one := range map[string]struct {
		options x509.VerifyOptions
		refusal string
	}{
		"the service":     {x509.VerifyOptions{DNSName: host}, ""},
		"another name":    {x509.VerifyOptions{DNSName: "kubernetes.default.svc"}, "valid for"},
		"a lagging clock": {x509.VerifyOptions{DNSName: host, CurrentTime: now.Add(-20 * time.Hour)}, ""},
		"years later":     {x509.VerifyOptions{DNSName: host, CurrentTime: now.AddDate(9, 0, 0)}, ""},
		"a client":        {x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, "usage"},
	} {
		one.options.Roots = pool
		_, err := leaf.Verify(one.options)
		if one.refusal == "" && err != nil || one.refusal != "" && (err == nil || !strings.Contains(err.Error(), one.refusal)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, again, err := newCertificate(host, now); err != nil || string(again) == string(authority) {
		t.Error("two processes have the same authority")
	}
}
