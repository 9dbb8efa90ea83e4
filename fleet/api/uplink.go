package api

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/fleet"
)

// Bounds of what a sensor may send. A batch is 1 MiB of records, or one record of at most 4 MiB.
const (
	maxTokenBody = 4 << 10
	maxSent      = 5 << 20 // as it comes
	maxInflated  = 8 << 20 // as JSON
	maxDecoding  = 4       // batches held in memory as JSON at once
)

// problem is an error in the form of RFC 9457.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Expected is the sequence a batch had to begin with; only with status 409 of the uplink.
	Expected uint64 `json:"expected,omitempty"`
}

func writeProblem(w http.ResponseWriter, p problem) {
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}

// refuse answers an error of the fleet.
func (s *service) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var gap *event.SequenceError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &gap):
		writeProblem(w, problem{Status: http.StatusConflict, Detail: err.Error(), Expected: gap.Expected})
		return
	case errors.As(err, &large) || errors.Is(err, errTooLarge):
		writeProblem(w, problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("at most %d bytes, %d inflated", maxSent, maxInflated)})
		return
	case r.Context().Err() != nil:
		return // nobody is listening
	}
	code, telling := statusOf(err)
	p := problem{Status: code, Detail: "internal error"}
	if telling {
		p.Detail = err.Error()
	} else {
		s.o.OnError(r.Context(), err)
	}
	writeProblem(w, p)
}

var errTooLarge = errors.New("body too large")

func (s *service) registerUplink(mux *http.ServeMux) {
	decoding := make(chan struct{}, maxDecoding)
	mux.HandleFunc("POST /otus/v1/uplink/activate", s.activate)
	mux.HandleFunc("POST /otus/v1/uplink/batches", func(w http.ResponseWriter, r *http.Request) { s.batch(w, r, decoding) })
}

func (s *service) activate(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Token string `json:"token"`
	}
	if err := decode(w, r, maxTokenBody, maxTokenBody, &question); err != nil {
		s.refuse(w, r, err)
		return
	}
	id, key, err := s.Activate(r.Context(), question.Token)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	writeJSON(w, struct {
		SensorID string `json:"sensorId"`
		Key      string `json:"key"`
	}{id, key})
}

func (s *service) batch(w http.ResponseWriter, r *http.Request, decoding chan struct{}) {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		s.refuse(w, r, fmt.Errorf("%w: a sensor's key is needed", fleet.ErrUnauthorised))
		return
	}
	sensorID, err := s.Authenticate(r.Context(), key)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	b, err := receive(r.Context(), w, r, decoding)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	if b.SensorID != sensorID {
		s.refuse(w, r, fmt.Errorf("%w: the key belongs to another sensor than %q", fleet.ErrInvalid, b.SensorID))
		return
	}
	// The wait for a command is bounded by Send and may be longer than the server's write timeout; a server that
	// cannot lift it just cuts the wait short.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	ack, err := s.Send(r.Context(), b)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	writeJSON(w, ack)
}

// receive reads a batch; only so many at once, because their JSON is held in memory.
func receive(ctx context.Context, w http.ResponseWriter, r *http.Request, decoding chan struct{}) (b event.Batch, err error) {
	select {
	case decoding <- struct{}{}:
		defer func() { <-decoding }()
	case <-ctx.Done():
		return b, ctx.Err()
	}
	err = decode(w, r, maxSent, maxInflated, &b)
	return b, err
}

// decode reads a JSON body, gzipped or not, within bounds. Unknown members are left alone: a sensor may be newer.
func decode(w http.ResponseWriter, r *http.Request, sent, inflated int64, target any) error {
	var in io.Reader = http.MaxBytesReader(w, r.Body, sent)
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		zip, err := gzip.NewReader(in)
		if err != nil {
			return unreadable(err)
		}
		defer zip.Close()
		in = zip
	default:
		return fmt.Errorf("%w: content encoding %q", fleet.ErrInvalid, encoding)
	}
	limited := &io.LimitedReader{R: in, N: inflated + 1}
	content, err := io.ReadAll(limited)
	if err != nil {
		return unreadable(err)
	}
	if limited.N == 0 {
		return errTooLarge
	}
	if err := json.Unmarshal(content, target); err != nil {
		return unreadable(err)
	}
	return nil
}

// unreadable keeps the error of a body that is too long, and calls any other the sender's fault.
func unreadable(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	return fmt.Errorf("%w: read body: %w", fleet.ErrInvalid, err)
}
