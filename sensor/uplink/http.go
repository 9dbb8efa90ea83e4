package uplink

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/otus-project/otus/event"
)

// Paths of the fleet's uplink.
const (
	pathActivate = "/otus/v1/uplink/activate"
	pathBatches  = "/otus/v1/uplink/batches"
)

// maxAnswer bounds what is read of an answer: commands are some 300 bytes each, and the fleet sends 100 at most.
const maxAnswer = 1 << 20

// answerTime is how long the fleet may take beyond a wait that was asked for.
const answerTime = 30 * time.Second

// StatusError is an answer of the fleet that is neither success nor a gap.
type StatusError struct {
	Status int // HTTP status
	Detail string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("fleet answered %d: %s", e.Status, e.Detail)
}

// HTTPSender sends batches to a fleet over HTTPS.
type HTTPSender struct {
	base   string
	key    string
	client *http.Client
}

// NewHTTPSender gives a sender to the fleet at base, such as "https://fleet.example:8443", that shows key. Plain HTTP
// is refused but on loopback. A nil config trusts the system's authorities; see PinnedCA.
func NewHTTPSender(base, key string, config *tls.Config) (*HTTPSender, error) {
	client, base, err := newClient(base, config)
	if err != nil {
		return nil, err
	}
	if key == "" {
		return nil, errors.New("uplink needs a key")
	}
	return &HTTPSender{base: base, key: key, client: client}, nil
}

// PinnedCA gives a TLS configuration that trusts the certificate authorities in pem and no other.
func PinnedCA(pem []byte) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("pin certificate authority: no certificate in PEM form found")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

func newClient(base string, config *tls.Config) (*http.Client, string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, "", fmt.Errorf("uplink address: %w", err)
	}
	if u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return nil, "", fmt.Errorf("uplink address %q: want https://host:port", base)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, "", fmt.Errorf("uplink address %q: want https", base)
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        2,
		IdleConnTimeout:     90 * time.Second,
	}
	client := &http.Client{
		Transport: transport,
		// A redirect would carry the key to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client, u.Scheme + "://" + u.Host, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Send implements Sender.
func (s *HTTPSender) Send(ctx context.Context, b event.Batch) (event.Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.WaitSeconds)*time.Second+answerTime)
	defer cancel()
	var ack event.Ack
	err := post(ctx, s.client, s.base+pathBatches, s.key, b, &ack)
	return ack, err
}

// Close closes idle connections.
func (s *HTTPSender) Close() { s.client.CloseIdleConnections() }

// Activate trades a one-time onboarding token for the sensor's id and its lasting key.
func Activate(ctx context.Context, base, token string, config *tls.Config) (sensorID, key string, err error) {
	client, base, err := newClient(base, config)
	if err != nil {
		return "", "", err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var answer struct {
		SensorID string `json:"sensorId"`
		Key      string `json:"key"`
	}
	question := struct {
		Token string `json:"token"`
	}{token}
	if err := post(ctx, client, base+pathActivate, "", question, &answer); err != nil {
		return "", "", fmt.Errorf("activate sensor: %w", err)
	}
	return answer.SensorID, answer.Key, nil
}

func post(ctx context.Context, client *http.Client, address, key string, question, answer any) error {
	var body bytes.Buffer
	zip, err := gzip.NewWriterLevel(&body, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(zip).Encode(question); err != nil {
		return fmt.Errorf("encode for uplink: %w", err)
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("encode for uplink: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, &body)
	if err != nil {
		return fmt.Errorf("uplink: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("uplink: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read answer of the fleet: %w", err)
	case len(content) > maxAnswer:
		return fmt.Errorf("answer of the fleet is longer than %d bytes", maxAnswer)
	case response.StatusCode == http.StatusOK:
		if err := json.Unmarshal(content, answer); err != nil {
			return fmt.Errorf("read answer of the fleet: %w", err)
		}
		return nil
	}
	return refusal(response, content)
}

// refusal turns a problem document into an error.
func refusal(response *http.Response, content []byte) error {
	var problem struct {
		Title    string `json:"title"`
		Detail   string `json:"detail"`
		Expected uint64 `json:"expected"`
	}
	if !strings.HasSuffix(response.Header.Get("Content-Type"), "json") || json.Unmarshal(content, &problem) != nil {
		return &StatusError{Status: response.StatusCode, Detail: http.StatusText(response.StatusCode)}
	}
	if response.StatusCode == http.StatusConflict && problem.Expected > 0 {
		return &event.SequenceError{Expected: problem.Expected}
	}
	if problem.Detail == "" {
		problem.Detail = problem.Title
	}
	return &StatusError{Status: response.StatusCode, Detail: problem.Detail}
}
