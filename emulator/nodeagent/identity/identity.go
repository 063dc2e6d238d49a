//go:build linux

// Package identity is the EKS Pod Identity agent: pods ask it for credentials at a
// link-local address of their node, by a token that says who they are.
package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

// The agent's address and its interface (eks-pod-identity-agent, configuration).
const (
	address   = "169.254.170.23"
	linkName  = "pod-id-link0"
	maxSecret = 64 << 10 // more than any token
)

// patience is more than SDKs wait for credentials.
const patience = 10 * time.Second

// Main is the program eks-pod-identity-agent. It returns the exit code.
func Main(ctx context.Context, args []string, out io.Writer) int {
	if len(args) > 0 && args[0] == "initialize" {
		if err := ensureAddress(); err != nil {
			fmt.Fprintf(out, "{\"level\":\"fatal\",\"msg\":%q}\n", err.Error())
			return 1
		}
		return 0
	}
	port, probes := "80", "2703"
	for i := 1; i < len(args); i++ {
		name, value, has := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if !has && i+1 < len(args) {
			i++
			value = args[i]
		}
		switch name {
		case "port":
			port = value
		case "probe-port":
			probes = value
		}
	}
	if err := serve(ctx, port, probes); err != nil && ctx.Err() == nil {
		fmt.Fprintf(out, "{\"level\":\"fatal\",\"msg\":%q}\n", err.Error())
		return 1
	}
	return 0
}

func serve(ctx context.Context, port, probes string) error {
	a := Agent{Asks: protocol.Local()}
	healthy := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	errs := make(chan error, 2)
	var lc net.ListenConfig
	for _, s := range []struct {
		at string
		h  http.Handler
	}{{net.JoinHostPort(address, port), a}, {net.JoinHostPort("localhost", probes), healthy}} {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("port %q is none", port)
		}
		l, err := lc.Listen(ctx, "tcp", s.at)
		if err != nil {
			return err
		}
		srv := &http.Server{Handler: s.h, ReadHeaderTimeout: 5 * time.Second}
		context.AfterFunc(ctx, func() { _ = srv.Close() })
		go func() { errs <- srv.Serve(l) }()
	}
	return <-errs
}

// Agent answers SDKs.
type Agent struct{ Asks *protocol.Client }

// ServeHTTP implements http.Handler.
func (a Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/credentials" {
		http.NotFound(w, r)
		return
	}
	token := r.Header.Get("Authorization")
	if token == "" || len(token) > maxSecret {
		http.Error(w, "Service account token cannot be empty", http.StatusBadRequest)
		return
	}
	// A client that has said all it has to say may close its side: that is not its end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience)
	defer cancel()
	var c protocol.PodCredentials
	if err := a.Asks.Call(ctx, protocol.Credentials, protocol.CredentialsRequest{Token: token}, &c); err != nil {
		status := http.StatusInternalServerError
		if no := new(protocol.Error); errors.As(err, &no) && no.Code != "" {
			status = no.Status
			err = fmt.Errorf("(%s): %s, fault: client", no.Code, no.Message)
		}
		http.Error(w, err.Error(), status)
		return
	}
	protocol.Answer(w, c)
}

// ensureAddress gives the node the agent's address: on an interface of its own, as on
// EKS, or on the loopback where the kernel has no such interfaces.
func ensureAddress() error {
	link, err := netlink.LinkByName(linkName)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = linkName
		err = netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
		if err == nil {
			link, err = netlink.LinkByName(linkName)
		} else if errors.Is(err, syscall.EOPNOTSUPP) {
			link, err = netlink.LinkByName("lo")
		}
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", linkName, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("interface %s: %w", link.Attrs().Name, err)
	}
	ip := netip.MustParseAddr(address)
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrReplace(link, a); err != nil {
		return fmt.Errorf("address %s: %w", address, err)
	}
	return nil
}
