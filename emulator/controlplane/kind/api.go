package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/pki"
)

// admin is a client with full rights, whose certificate is of this moment.
func (b *Backend) admin(spec controlplane.Spec) (*rest.Config, error) {
	ca := pki.CA{Cert: spec.PKI.CACert, Key: spec.PKI.CAKey}
	cert, key, err := ca.Issue(pki.Request{CommonName: "ekslocal", Organization: []string{"system:masters"}}, b.cfg.Clock.Now())
	if err != nil {
		return nil, fmt.Errorf("administrator's certificate: %w", err)
	}
	host := b.cfg.ListenHost
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return &rest.Config{
		Host:            "https://" + net.JoinHostPort(host, strconv.Itoa(spec.Port)),
		TLSClientConfig: rest.TLSClientConfig{CAData: spec.PKI.Bundle(), CertData: cert, KeyData: key},
	}, nil
}

// apiPatience bounds the wait for an API server, which takes ten seconds when the
// machine has nothing else to do.
const apiPatience = 3 * time.Minute

// awaitAPI returns the version of the API server when that is ready.
func (b *Backend) awaitAPI(ctx context.Context, admin *rest.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	cfg := rest.CopyConfig(admin)
	cfg.Timeout = 5 * time.Second
	cfg.Dial = (&net.Dialer{}).DialContext // connections of its own: a pooled one may be to an API server that has gone
	client, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return "", err
	}
	tick := b.cfg.Clock.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			v, err := client.ServerVersion()
			if err == nil {
				return v.GitVersion, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the API server does not become ready: %w", errors.Join(ctx.Err(), err))
		case <-tick.C():
		}
	}
}

// minorOf is the minor version of a full one.
func minorOf(git string) string {
	parts := strings.SplitN(strings.TrimPrefix(git, "v"), ".", 3)
	if len(parts) < 2 {
		return git
	}
	return parts[0] + "." + parts[1]
}
