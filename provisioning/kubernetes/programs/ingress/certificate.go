package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	v1 "k8s.io/api/core/v1"
)

// Certificate is a file with a chain of certificates and their key. Its name is the hash of its content.
type Certificate struct {
	Name    string
	Content []byte
}

// newCertificate reads a Secret of type kubernetes.io/tls. The file has its certificates and its key, and nothing else of it.
func newCertificate(secret *v1.Secret) (*Certificate, error) {
	chain, key := secret.Data[v1.TLSCertKey], secret.Data[v1.TLSPrivateKeyKey]
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		return nil, fmt.Errorf("no certificate with its key: %v", err)
	}
	content := append(blocks(chain, true), blocks(key, false)...)
	hash := sha256.Sum256(content)
	return &Certificate{Name: hex.EncodeToString(hash[:]), Content: content}, nil
}

func blocks(text []byte, areCertificates bool) []byte {
	var found []byte
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return found
		}
		if (block.Type == "CERTIFICATE") == areCertificates {
			found = append(found, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		}
	}
}
