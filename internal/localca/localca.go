// Package localca makes a certificate authority of one's own, and server certificates signed by it, so that HTTPS
// works on a machine without any other. Keys stay in a folder only its owner can read.
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Lifetimes. Clients refuse server certificates that live longer than 398 days; one is renewed at start when less
// than a month is left.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 397 * 24 * time.Hour
	renewBefore   = 30 * 24 * time.Hour
)

// Authority is a certificate authority and the server certificate it signed.
type Authority struct {
	// CertificateFile is the authority's certificate in PEM, for clients to trust.
	CertificateFile string
	// Server is the certificate to serve with.
	Server tls.Certificate
	// Pool holds the authority, for clients in this process.
	Pool *x509.CertPool
}

// Open loads the authority in dir, or makes one; then a server certificate for the hosts (names or addresses),
// renewed where it is old or lacks one of them. now is the wall clock's time.
func Open(dir string, hosts []string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	ca, err := load(dir, "ca")
	if errors.Is(err, fs.ErrNotExist) {
		ca, err = issue(dir, "ca", nil, nil, now)
	}
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	hosts = slices.Compact(slices.Sorted(slices.Values(hosts)))
	server, err := load(dir, "server")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	if err != nil || stale(server.Leaf, ca.Leaf, hosts, now) {
		if server, err = issue(dir, "server", hosts, ca, now); err != nil {
			return nil, fmt.Errorf("issue server certificate: %w", err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	return &Authority{CertificateFile: filepath.Join(dir, "ca.pem"), Server: *server, Pool: pool}, nil
}

func stale(leaf, ca *x509.Certificate, hosts []string, now time.Time) bool {
	if leaf.NotAfter.Sub(now) < renewBefore || leaf.CheckSignatureFrom(ca) != nil {
		return true
	}
	for _, h := range hosts {
		if leaf.VerifyHostname(h) != nil {
			return true
		}
	}
	return false
}

func load(dir, name string) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, err
	}
	return &c, nil
}

func issue(dir, name string, hosts []string, ca *tls.Certificate, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(serverLife),
		Subject:     pkix.Name{CommonName: "Otus", Organization: []string{"Otus"}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	parent, signer := template, any(key)
	if ca == nil {
		host, _ := os.Hostname()
		template.Subject.CommonName = "Otus authority of " + host
		template.NotAfter = now.Add(authorityLife)
		template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		template.ExtKeyUsage = nil
	} else {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	// The key first: a crash in between leaves no certificate, and both are made again.
	if err := os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	return load(dir, name)
}
