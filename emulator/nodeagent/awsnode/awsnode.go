//go:build linux

// Package awsnode is what runs in the containers of the VPC CNI's DaemonSet. The address
// daemon itself is the emulator's: the container here says that it runs, with which
// settings, and shows on the node what the daemon does.
package awsnode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

// patience is how long the node's network stays ready while the emulator is away: a
// restart of it is nothing to the pods, whose network does not need it.
const patience = 5 * time.Minute

// Config is where the container has what, and what it was told.
type Config struct {
	Asks *protocol.Client
	Env  map[string]string
	// BinDir and ConfDir are the node's directories of plugins and of their
	// configuration, as the container sees them.
	BinDir, ConfDir string
	// Program is the agent's binary.
	Program string
	Out     io.Writer
	Now     func() time.Time
	// Pause waits between two tries to reach the emulator.
	Pause func(context.Context) error
}

// FromEnvironment is the Config of EKS's manifest.
func FromEnvironment() Config {
	env := map[string]string{}
	for _, e := range os.Environ() {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	return Config{
		Asks: protocol.Local(), Env: env, BinDir: "/host/opt/cni/bin", ConfDir: "/host/etc/cni/net.d", Program: "/ekslocal-node", Out: os.Stdout, Now: time.Now,
		Pause: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(500 * time.Millisecond):
				return nil
			}
		},
	}
}

// Plugins are the programs that the daemon's container installs on the node.
var Plugins = []string{"aws-cni", "egress-cni"}

// refused ends the container.
type refused string

func (r refused) Error() string { return string(r) }

// daemon is one start of the container.
type daemon struct {
	cfg Config
	run string
	health
	written bool // the plugins' configuration
}

// Main is the entry point of the container aws-node. It returns the exit code.
func Main(ctx context.Context, cfg Config) int {
	d := &daemon{cfg: cfg, run: rand.Text()}
	d.health.now = cfg.Now
	for _, p := range Plugins {
		if err := install(cfg.Program, filepath.Join(cfg.BinDir, p)); err != nil {
			d.say("error", err.Error())
			return 1
		}
		fmt.Fprintln(cfg.Out, "Installed "+filepath.Join("/host/opt/cni/bin", p))
	}
	d.say("info", "Starting IPAM daemon... ")
	d.say("info", "Checking for IPAM connectivity... ")
	if err := d.health.listen(ctx); err != nil {
		d.say("error", err.Error())
		return 1
	}
	err := d.follow(ctx)
	if no := refused(""); errors.As(err, &no) {
		d.say("error", string(no))
		return 1
	}
	return 0
}

// follow takes the daemon's reports until ctx ends, or until the settings are refused.
func (d *daemon) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		err := d.cfg.Asks.Follow(ctx, protocol.DaemonStart{Run: d.run, Env: d.cfg.Env}, func(r protocol.DaemonReport) error { return d.take(ctx, r) })
		if no := refused(""); errors.As(err, &no) {
			return err
		}
		d.health.away()
		if d.cfg.Pause(ctx) != nil {
			break
		}
	}
	return nil
}

// take makes the node what a report says. What fails is tried again with the next
// connection, whose first report has all of it.
func (d *daemon) take(ctx context.Context, r protocol.DaemonReport) error {
	writeLog(d.cfg, r.Log)
	if r.Phase == protocol.PhaseRefused {
		return refused(r.Reason)
	}
	if r.Network != nil {
		n := *r.Network
		n.Random = d.cfg.Env["AWS_VPC_K8S_CNI_RANDOMIZESNAT"]
		if err := d.cfg.Asks.Call(ctx, protocol.Network, n, nil); err != nil {
			d.say("error", "Failed to set up host network: "+err.Error())
			return err // as upstream's daemon, which does not serve without its rules
		}
	}
	d.health.set(r.Phase == protocol.PhaseServing)
	if r.Phase != protocol.PhaseServing || d.written {
		return nil
	}
	d.say("info", "Copying config file... ")
	if err := writeConflist(d.cfg); err != nil {
		d.say("error", "Failed to copy config file: "+err.Error())
		return err
	}
	d.written = true
	d.say("info", "Successfully copied CNI plugin binary and config file.")
	return nil
}

// say writes a line as the entry point's logger does.
func (d *daemon) say(level, text string) {
	fmt.Fprintf(d.cfg.Out, "time=%q level=%s msg=%q\n", d.cfg.Now().UTC().Format(time.RFC3339), level, text)
}

// Init is the entry point of the container aws-vpc-cni-init.
func Init(cfg Config) int {
	for _, p := range Plugins {
		if err := install(cfg.Program, filepath.Join(cfg.BinDir, p)); err != nil {
			fmt.Fprintf(cfg.Out, "time=%q level=error msg=%q\n", cfg.Now().UTC().Format(time.RFC3339), err.Error())
			return 1
		}
	}
	for _, text := range []string{"Copied all CNI plugin binaries to /host/opt/cni/bin", "CNI init container done"} {
		fmt.Fprintf(cfg.Out, "time=%q level=info msg=%q\n", cfg.Now().UTC().Format(time.RFC3339), text)
	}
	return 0
}

// install puts the program at a path, where a plugin may run at this moment: the new file
// takes the old one's name.
func install(program, to string) error {
	err := copyProgram(program, to+".new")
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		return fmt.Errorf("failed to install %s: %w", to, err)
	}
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755) //nolint:gosec // a program
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// PolicyAgent stands for the network policy agent, until ctx ends.
func PolicyAgent(ctx context.Context, args []string, out io.Writer) int {
	fmt.Fprintln(out, `{"level":"info","msg":"ekslocal does not enforce NetworkPolicies: this container only stands for the agent that would"}`)
	for _, a := range args {
		if a == "--enable-network-policy=true" {
			fmt.Fprintln(out, `{"level":"warn","msg":"--enable-network-policy=true has no effect"}`)
		}
	}
	<-ctx.Done()
	return 0
}

// healthAddress is where upstream's daemon listens.
const healthAddress = "127.0.0.1:50051"

// listen answers the probes.
func (h *health) listen(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", healthAddress)
	if err != nil {
		return fmt.Errorf("listening for probes: %w", err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	go func() { _ = srv.Serve(l) }() // ends with ctx
	return nil
}
