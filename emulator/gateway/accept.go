package gateway

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Connections that say nothing for so long are closed. Clients connect ahead of
// need, and find out only when they write.
const firstByteTimeout = 5 * time.Minute

func (g *Gateway) newServer() *http.Server {
	s := &http.Server{
		Handler: g, ReadHeaderTimeout: 30 * time.Second,
		// Longer than SDKs keep idle connections: they should close first, or
		// requests run into a connection that is just going away.
		IdleTimeout: 10 * time.Minute,
		ErrorLog:    slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	if g.cfg.TLS != nil {
		s.TLSConfig = g.cfg.TLS.Clone()
		for _, p := range []string{"h2", "http/1.1"} {
			if !slices.Contains(s.TLSConfig.NextProtos, p) {
				s.TLSConfig.NextProtos = append(s.TLSConfig.NextProtos, p)
			}
		}
	}
	return s
}

// listener tells HTTPS from HTTP by the first byte, so that one port answers
// both. The byte is awaited outside of Accept, which must not wait for anybody
// in particular.
type listener struct {
	net.Listener
	tls   *tls.Config
	ready chan net.Conn
	done  chan struct{}

	mu      sync.Mutex
	pending map[net.Conn]struct{} // accepted, first byte outstanding
	err     error                 // why accepting ended
	closed  sync.Once
}

func newListener(ln net.Listener, c *tls.Config) net.Listener {
	if c == nil {
		return ln
	}
	l := &listener{Listener: ln, tls: c, ready: make(chan net.Conn), done: make(chan struct{}), pending: map[net.Conn]struct{}{}}
	go l.acceptLoop()
	return l
}

func (l *listener) acceptLoop() {
	var delay time.Duration
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			delay = 0
			if l.track(c) {
				go l.sniff(c)
			}
			continue
		}
		// Out of file descriptors and the like: it may pass, as in net/http.
		var ne net.Error
		if errors.As(err, &ne) && ne.Temporary() { //nolint:staticcheck // net/http does the same
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(delay):
				continue
			case <-l.done:
			}
		}
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
		l.stop()
		return
	}
}

// track adds c to the pending ones, or closes it if the listener is closed.
func (l *listener) track(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		c.Close()
		return false
	default:
		l.pending[c] = struct{}{}
		return true
	}
}

func (l *listener) sniff(c net.Conn) {
	var first [1]byte
	// A deadline that cannot be set shows in Read: the connection is gone.
	_ = c.SetReadDeadline(time.Now().Add(firstByteTimeout))
	n, err := c.Read(first[:])
	_ = c.SetReadDeadline(time.Time{})
	l.mu.Lock()
	delete(l.pending, c)
	l.mu.Unlock()
	if n == 0 || err != nil {
		c.Close()
		return
	}
	var out net.Conn = &peeked{Conn: c, first: first[0], has: true}
	if first[0] == 0x16 { // a TLS handshake record; no HTTP method begins so
		out = tls.Server(out, l.tls)
	}
	select {
	case l.ready <- out:
	case <-l.done:
		c.Close()
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.err != nil {
			return nil, l.err
		}
		return nil, net.ErrClosed
	}
}

func (l *listener) stop() {
	l.closed.Do(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.done)
		for c := range l.pending {
			c.Close()
		}
	})
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.stop()
	return l.Listener.Close()
}

// peeked is a connection with its first byte put back.
type peeked struct {
	net.Conn
	first byte
	has   bool
}

func (p *peeked) Read(b []byte) (int, error) {
	if !p.has || len(b) == 0 {
		return p.Conn.Read(b)
	}
	p.has = false
	b[0] = p.first
	return 1, nil
}

// isSigV4 tells whether r is an AWS request by its looks.
func isSigV4(r *http.Request) bool {
	a := r.Header.Get("Authorization")
	return len(a) > 5 && a[:5] == "AWS4-"
}
