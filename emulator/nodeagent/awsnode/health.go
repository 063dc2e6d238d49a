//go:build linux

package awsnode

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// health is whether the daemon serves, as far as the probes are concerned.
type health struct {
	now func() time.Time

	mu      sync.Mutex
	serving bool
	lost    time.Time // since when the emulator is away, zero if it is not
}

func (h *health) set(serving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving, h.lost = serving, time.Time{}
}

func (h *health) away() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost.IsZero() {
		h.lost = h.now()
	}
}

func (h *health) ok() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.serving && (h.lost.IsZero() || h.now().Sub(h.lost) < patience)
}

// ServeHTTP implements http.Handler.
func (h *health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if !h.ok() {
		http.Error(w, "NOT_SERVING", http.StatusServiceUnavailable)
	}
}

// Probe is grpc-health-probe with the flags of EKS's manifest. It asks in HTTP what the
// real one asks in gRPC, and says the same.
func Probe(ctx context.Context, args []string, out io.Writer, now func() time.Time) int {
	addr, within := ":50051", 5*time.Second
	for _, a := range args {
		name, value, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch name {
		case "addr":
			addr = value
		case "connect-timeout":
			if d, err := time.ParseDuration(value); err == nil && d > 0 {
				within = d
			}
		}
	}
	host := addr
	if strings.HasPrefix(addr, ":") {
		host = "127.0.0.1" + addr
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	say := func(text string) {
		fmt.Fprintf(out, "{\"level\":\"info\",\"ts\":%q,\"msg\":%q}\n", now().UTC().Format("2006-01-02T15:04:05.000Z"), text)
	}
	for ctx.Err() == nil { // as the real one: until something listens, or the time is up
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", http.NoBody)
		if err != nil {
			say(fmt.Sprintf("error: bad address %q: %v", addr, err))
			return 1
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				say("status: SERVING")
				return 0
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	say(fmt.Sprintf("timeout: failed to connect service %q within %s", addr, within))
	return 2
}
