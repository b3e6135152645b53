package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var start = time.Date(2030, 5, 17, 12, 0, 0, 0, time.UTC)

// made counts Ingresses: each is a minute younger than the one before.
var made int

func ingress(name string, rules ...networking.IngressRule) *networking.Ingress {
	made++
	class := "nginx"
	return &networking.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID(name),
			CreationTimestamp: metav1.NewTime(start.Add(time.Duration(made) * time.Minute)),
		},
		Spec: networking.IngressSpec{IngressClassName: &class, Rules: rules},
	}
}

func rule(host string, paths ...networking.HTTPIngressPath) networking.IngressRule {
	value := networking.IngressRuleValue{HTTP: &networking.HTTPIngressRuleValue{Paths: paths}}
	return networking.IngressRule{Host: host, IngressRuleValue: value}
}

func path(kind networking.PathType, text, service string) networking.HTTPIngressPath {
	return networking.HTTPIngressPath{Path: text, PathType: &kind, Backend: *backend(service)}
}

func prefix(text, service string) networking.HTTPIngressPath {
	return path(networking.PathTypePrefix, text, service)
}

func exact(text, service string) networking.HTTPIngressPath {
	return path(networking.PathTypeExact, text, service)
}

func backend(service string) *networking.IngressBackend {
	return &networking.IngressBackend{Service: &networking.IngressServiceBackend{
		Name: service, Port: networking.ServiceBackendPort{Number: 80},
	}}
}

func withDefault(one *networking.Ingress, service string) *networking.Ingress {
	one.Spec.DefaultBackend = backend(service)
	return one
}

func withTLS(one *networking.Ingress, secret string, hosts ...string) *networking.Ingress {
	one.Spec.TLS = append(one.Spec.TLS, networking.IngressTLS{Hosts: hosts, SecretName: secret})
	return one
}

func service(name string) *v1.Service {
	return &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: v1.ServiceSpec{Type: v1.ServiceTypeClusterIP, Ports: []v1.ServicePort{
			{Name: "http", Port: 80, Protocol: v1.ProtocolTCP}, {Name: "udp", Port: 53, Protocol: v1.ProtocolUDP},
		}},
	}
}

func endpoints(name, ip string, port int32) *v1.Endpoints {
	return &v1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Subsets: []v1.EndpointSubset{{
			Addresses:         []v1.EndpointAddress{{IP: ip}},
			NotReadyAddresses: []v1.EndpointAddress{{IP: "127.0.0.9"}},
			Ports:             []v1.EndpointPort{{Name: "http", Port: port, Protocol: v1.ProtocolTCP}},
		}},
	}
}

// authority signs certificates of a test.
type authority struct {
	*testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	certificate, err := x509.ParseCertificate(der)
	check(t, err)
	return &authority{t, certificate, key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// secret returns a Secret with a certificate for hosts.
func (a *authority) secret(name string, hosts ...string) *v1.Secret {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(a.T, err)
	return a.sign(name, key, key.Public(), hosts)
}

// weakSecret has a key that Go reads, and OpenSSL refuses.
func (a *authority) weakSecret(name string, hosts ...string) *v1.Secret {
	key, err := rsa.GenerateKey(rand.Reader, 512)
	check(a.T, err)
	return a.sign(name, key, key.Public(), hosts)
}

func (a *authority) sign(name string, key, public interface{}, hosts []string) *v1.Secret {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	check(a.T, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(a.T, err)
	return &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Type: v1.SecretTypeTLS,
		Data: map[string][]byte{
			v1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			v1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
