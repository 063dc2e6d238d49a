package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// maxReview is more than the largest object twice, as an update's review has it.
	maxReview = 8 << 20
	// patience is as long as webhooks may take at most.
	patience = 30 * time.Second
)

// emulator asks the emulator.
type emulator struct {
	file   string // the relay's configuration
	client http.Client
}

// newEmulator asks without the node's proxy, which is for the Internet.
func newEmulator(file string) *emulator {
	return &emulator{file: file, client: http.Client{Transport: &http.Transport{}}}
}

// post returns an error for every answer but 200.
func (e *emulator) post(ctx context.Context, path string, body []byte) ([]byte, error) {
	c, err := ReadConfig(e.file)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Emulator+path, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("relay's configuration: Emulator is not a URL") // without the secret in it
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ekslocal does not answer at %s: %w", r.URL.Host, cause(err))
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxReview))
	if err != nil {
		return nil, fmt.Errorf("ekslocal's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ekslocal: %s", bytes.TrimSpace(answer))
	}
	return answer, nil
}

// cause leaves out the URL, which has the secret in it.
func cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// serveWebhooks answers the API server on l until ctx ends.
func serveWebhooks(ctx context.Context, l net.Listener, pair tls.Certificate, ask *emulator, log *slog.Logger) error {
	handler := http.NewServeMux()
	handler.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		review, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := ask.post(r.Context(), "/admit"+r.URL.EscapedPath(), review)
		if err != nil {
			log.Warn("webhook", "path", r.URL.Path, "error", err)
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // an API server that went away needs no answer
	})
	s := &http.Server{
		Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("relay at %s: %w", l.Addr(), err)
	}
	return nil
}
