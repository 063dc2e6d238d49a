package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
)

// ChildArg is the first argument of a process that must become a control plane:
// cmd/ekslocal hands the rest of the arguments to child.Main.
const ChildArg = "__control-plane"

// File descriptors that a child inherits, after stdin, stdout and stderr.
const (
	// ControlFD is a unix stream socket for Messages, both ways. Its end of file
	// means that the parent is gone.
	ControlFD = 3
	// AccessFD is a unix stream socket on which the parent serves HTTP/2: the
	// questions of the child's authenticator and authorizer.
	AccessFD = 4
)

// Kind says what a Message is.
type Kind string

// What the parent says.
const (
	// Boot starts an API server that only the child itself can reach. First message.
	Boot Kind = "boot"
	// Serve hands over the public listening socket and starts the controllers.
	Serve Kind = "serve"
	// StopControllers ends kube-controller-manager and kube-scheduler, for the next
	// child's may only start when these have ended.
	StopControllers Kind = "stop-controllers"
	// Audit says which audit log is wanted; without it the short one is.
	Audit Kind = "audit"
	// Drain ends the child without an error to any client.
	Drain Kind = "drain"
)

// What the child says.
const (
	Ready              Kind = "ready"
	Serving            Kind = "serving"
	ControllersStopped Kind = "controllers-stopped"
	// Draining says that it takes no more connections.
	Draining Kind = "draining"
	Failed   Kind = "failed"
)

// Message is one line of JSON on the control socket.
type Message struct {
	Kind  Kind
	Plan  *Plan  `json:",omitempty"` // with Boot
	Error string `json:",omitempty"` // with Failed
	Full  bool   `json:",omitempty"` // with Audit
	// HasFile tells that a file descriptor travels with the message.
	HasFile bool `json:",omitempty"`
}

// Plan is all a child needs to know. Secrets are not in it but in files below Dir.
type Plan struct {
	ID          string
	Version     string // minor version to emulate, such as "1.34"
	GitVersion  string
	ServiceCIDR string
	Issuer      string
	// EtcdEndpoint and EtcdPrefix are where the cluster's data are.
	EtcdEndpoint, EtcdPrefix string
	// Dir is the control plane's and takes its logs; Keys, below it, is the child's own
	// and holds the certificates, see the file names in pki.go.
	Dir, Keys string
	// EgressSocket is the unix socket of an HTTP CONNECT proxy to nodes, pods and
	// services; empty for direct connections.
	EgressSocket string
	// SimulatedWebhooks is SkipWebhooks or FailWebhooks.
	SimulatedWebhooks string
}

// Conn carries Messages and file descriptors over a unix stream socket. Send may
// be called from several goroutines, Receive from one.
type Conn struct {
	c   *net.UnixConn
	wmu sync.Mutex
	buf []byte
	fds []int
}

// NewConn takes over f.
func NewConn(f *os.File) (*Conn, error) {
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("control socket is a %T", c)
	}
	return &Conn{c: u}, nil
}

// Close ends the connection; the other side reads an end of file.
func (c *Conn) Close() error { return c.c.Close() }

// Send writes m, and with it a duplicate of the descriptor fd unless that is
// negative.
func (c *Conn) Send(m Message, fd int) error {
	var rights []byte
	if m.HasFile = fd >= 0; m.HasFile {
		rights = syscall.UnixRights(fd)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	c.wmu.Lock()
	defer c.wmu.Unlock()
	n, _, err := c.c.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = c.c.Write(b[n:]) // the rights travel with the first byte
	}
	if err != nil {
		return fmt.Errorf("sending %s: %w", m.Kind, err)
	}
	return nil
}

// Receive returns the next message and the descriptor that came with it, or nil.
func (c *Conn) Receive() (Message, *os.File, error) {
	for {
		if i := bytes.IndexByte(c.buf, '\n'); i >= 0 {
			var m Message
			err := json.Unmarshal(c.buf[:i], &m)
			c.buf = c.buf[i+1:]
			if err != nil {
				return m, nil, fmt.Errorf("control message: %w", err)
			}
			if !m.HasFile {
				return m, nil, nil
			}
			if len(c.fds) == 0 {
				return m, nil, errors.New("control message came without its descriptor")
			}
			f := os.NewFile(uintptr(c.fds[0]), string(m.Kind))
			c.fds = c.fds[1:]
			return m, f, nil
		}
		var b [4096]byte
		var oob [64]byte
		n, oobn, _, _, err := c.c.ReadMsgUnix(b[:], oob[:])
		if err != nil {
			return Message{}, nil, err
		}
		if n == 0 && oobn == 0 {
			return Message{}, nil, net.ErrClosed
		}
		if err := c.keepRights(oob[:oobn]); err != nil {
			return Message{}, nil, err
		}
		c.buf = append(c.buf, b[:n]...)
	}
}

func (c *Conn) keepRights(oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	cms, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	for i := range cms {
		fds, err := syscall.ParseUnixRights(&cms[i])
		if err != nil {
			return fmt.Errorf("control message: %w", err)
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
		}
		c.fds = append(c.fds, fds...)
	}
	return nil
}
