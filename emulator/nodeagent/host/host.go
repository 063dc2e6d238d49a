//go:build linux

// Package host is the agent's service on the node itself: it speaks to the emulator for
// whatever on the node stands in AWS's place, and does for them what needs the node's own
// programs.
package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/registry"
)

// Agent is the service.
type Agent struct {
	Config string // the node's configuration file
	Ledger protocol.Ledger
	Images *registry.Images
	Log    *slog.Logger
	// Masquerade applies a node's rules for traffic that leaves it.
	Masquerade func(context.Context, protocol.NodeNetwork) error
	// Pause waits between two words about the node's sandboxes.
	Pause func(context.Context) error
	// direct ignores the node's proxy, which is for the Internet.
	direct http.Transport
}

// pace is how often the emulator is told which sandboxes there are: an address that a
// sandbox forgot to give back waits for that, and nothing else does.
const pace = 15 * time.Second

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pace):
		return nil
	}
}

// Main serves until ctx ends.
func Main(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	images, err := registry.FromFile(protocol.Program)
	if err != nil {
		return err
	}
	a := &Agent{
		Config: protocol.ConfigFile, Ledger: protocol.Ledger{Dir: protocol.SandboxDir}, Images: images, Log: log, Masquerade: masquerade, Pause: pause,
	}
	var lc net.ListenConfig
	socket, err := lc.Listen(ctx, "unix", protocol.Socket)
	if err != nil {
		return fmt.Errorf("the node's agent runs already: %w", err)
	}
	mirror, err := lc.Listen(ctx, "tcp", protocol.RegistryAddress)
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	for from, to := range cfg.Relay {
		l, err := lc.Listen(ctx, "tcp", from)
		if err != nil {
			log.Warn("the cluster's endpoint cannot be reached by its public address from here", "error", err)
			continue
		}
		go relay(ctx, l, to)
	}
	errs := make(chan error, 2)
	for _, s := range []struct {
		l net.Listener
		h http.Handler
	}{{socket, a.Handler()}, {mirror, images.Handler()}} {
		srv := &http.Server{Handler: s.h, ReadHeaderTimeout: 10 * time.Second}
		context.AfterFunc(ctx, func() { _ = srv.Close() })
		go func() { errs <- srv.Serve(s.l) }()
	}
	log.Info("ekslocal's agent serves this node", "emulator", cfg.URL[:min(len(cfg.URL), 40)])
	if err := <-errs; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// config is the node's configuration, read for each question: the emulator may have moved.
func (a *Agent) config() (protocol.Config, error) { return protocol.ReadConfig(a.Config) }

// Handler answers the node's processes.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+protocol.Network, a.network)
	mux.HandleFunc("POST /"+protocol.Daemon, a.daemon)
	for _, q := range []string{protocol.AddPod, protocol.DelPod, protocol.Credentials} {
		mux.HandleFunc("POST /"+q, a.pass)
	}
	return mux
}

// pass hands a question on to the emulator.
func (a *Agent) pass(w http.ResponseWriter, r *http.Request) {
	cfg, err := a.config()
	if err != nil {
		protocol.Refuse(w, http.StatusInternalServerError, protocol.Failure{Message: err.Error()})
		return
	}
	to, err := url.Parse(cfg.URL)
	if err != nil {
		protocol.Refuse(w, http.StatusInternalServerError, protocol.Failure{Message: fmt.Sprintf("%s: %v", a.Config, err)})
		return
	}
	(&httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(to) },
		FlushInterval: -1, // reports of a daemon are told at once
		Transport:     &a.direct,
		ErrorLog:      slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			protocol.Refuse(w, http.StatusBadGateway, protocol.Failure{Message: "ekslocal does not answer: is it running? " + err.Error()})
		},
	}).ServeHTTP(w, r)
}

// daemon adds what only the node knows: which sandboxes have a network.
func (a *Agent) daemon(w http.ResponseWriter, r *http.Request) {
	var start protocol.DaemonStart
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&start); err != nil {
		protocol.Refuse(w, http.StatusBadRequest, protocol.Failure{Message: "malformed question: " + err.Error()})
		return
	}
	var err error
	if start.Sandboxes, err = a.Ledger.List(); err != nil {
		protocol.Refuse(w, http.StatusInternalServerError, protocol.Failure{Message: "sandboxes of this node: " + err.Error()})
		return
	}
	if err := replaceBody(r, start); err != nil {
		protocol.Refuse(w, http.StatusInternalServerError, protocol.Failure{Message: err.Error()})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go a.tell(ctx)
	a.pass(w, r)
}

// tell lists the node's sandboxes to the emulator now and then, until ctx ends. It does so
// here and not in the daemon's container, which has no part in them.
func (a *Agent) tell(ctx context.Context) {
	for a.Pause(ctx) == nil {
		cfg, err := a.config()
		if err != nil {
			continue
		}
		all, err := a.Ledger.List()
		if err == nil {
			call, cancel := context.WithTimeout(ctx, pace)
			err = protocol.NewClient(cfg.URL).Call(call, protocol.Sandboxes, protocol.SandboxList{Sandboxes: all}, nil)
			cancel()
		}
		if err != nil && ctx.Err() == nil { // told again; an emulator that is older does not listen
			a.Log.Debug("sandboxes of this node", "error", err)
		}
	}
}

func (a *Agent) network(w http.ResponseWriter, r *http.Request) {
	var n protocol.NodeNetwork
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&n); err != nil {
		protocol.Refuse(w, http.StatusBadRequest, protocol.Failure{Message: "malformed question: " + err.Error()})
		return
	}
	if err := a.Masquerade(r.Context(), n); err != nil {
		a.Log.Error("SNAT", "error", err)
		protocol.Refuse(w, http.StatusInternalServerError, protocol.Failure{Message: err.Error()})
	}
}
