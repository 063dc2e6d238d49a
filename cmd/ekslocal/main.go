// Command ekslocal is AWS EKS on one machine. The same binary is the command
// line, the emulator, and, run again by it, each cluster's control plane.
package main

import (
	"os"

	"k8s.io/klog/v2"

	"github.com/ekslocal/ekslocal/cmd/ekslocal/cli"
	"github.com/ekslocal/ekslocal/emulator"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded/child"
)

// version is set by the Makefile.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == embedded.ChildArg {
		os.Exit(child.Main(os.Args[2:]))
	}
	os.Exit(cli.Main(cli.Program{Version: version, Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr, New: newEmulator}))
}

func newEmulator(c cli.Config) (cli.Emulator, error) {
	klog.SetSlogLogger(c.Log) // client-go knows no other logger
	return emulator.New(emulator.Config{
		Listen: c.Listen, DataDir: c.DataDir, Ephemeral: c.Ephemeral, ClusterPorts: c.ClusterPorts, AdvertiseHost: c.AdvertiseHost,
		AuthMode: c.Auth, IAM: c.IAM, Backend: c.Backend, KindNodeImage: c.KindNodeImage, KindNodeResources: c.KindNodeResources, Fsync: c.Fsync, SimulatedWebhooks: c.SimulatedWebhooks, NoSpare: c.NoSpare,
		Upstream: c.Upstream, Timing: c.Timing, TimeScale: c.TimeScale, CreateTimeout: c.CreateTimeout, DrainTimeout: c.DrainTimeout, JoinTimeout: c.JoinTimeout,
		Quotas: c.Quotas, Version: c.Version, Log: c.Log,
	})
}
