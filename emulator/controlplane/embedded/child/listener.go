package child

import (
	"errors"
	"net"
	"sync"
)

// gate is the API server's listener: a private address on the loopback interface,
// by which the process reaches itself from the beginning, and the public socket
// once it is open. They are kept apart because two processes share the public one
// during an upgrade, where a connection may end up in either. Addr is the private
// address, from which the API server makes its loopback client.
type gate struct {
	private net.Listener
	conns   chan net.Conn
	done    chan struct{}

	mu     sync.Mutex
	public net.Listener
	closed bool
}

func newGate() (*gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l, err = net.Listen("tcp", "[::1]:0")
	}
	if err != nil {
		return nil, err
	}
	g := &gate{private: l, conns: make(chan net.Conn), done: make(chan struct{})}
	go g.accept(l)
	return g, nil
}

// open starts to accept from l, and owns it.
func (g *gate) open(l net.Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		l.Close()
		return
	}
	g.public = l
	go g.accept(l)
}

// closePublic stops accepting from outside; accepted connections live on.
func (g *gate) closePublic() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.public != nil {
		g.public.Close()
		g.public = nil
	}
}

func (g *gate) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && !errors.Is(err, net.ErrClosed) {
				continue // out of descriptors, or the peer left: the socket still works
			}
			return
		}
		select {
		case g.conns <- c:
		case <-g.done:
			c.Close()
			return
		}
	}
}

func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.done:
		return nil, net.ErrClosed
	}
}

func (g *gate) Close() error {
	g.closePublic()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	close(g.done)
	return g.private.Close()
}

func (g *gate) Addr() net.Addr { return g.private.Addr() }
