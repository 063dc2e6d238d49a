//go:build linux

// Command ekslocal-node is what runs on the real nodes of a kind cluster in the place of
// AWS's programs: one binary, which is what it is called.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/awsnode"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/host"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/identity"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/plugin"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/relay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args))
}

// run is the program that the first argument names, and answers its exit code.
func run(ctx context.Context, args []string) int {
	name := filepath.Base(args[0])
	switch name {
	case "ekslocal-node", "go-runner": // EKS's manifests start programs through go-runner
		if len(args) > 1 {
			return run(ctx, args[1:])
		}
	case "aws-cni", "egress-cni":
		plugin.Main(name)
		return 0
	case "aws-vpc-cni":
		return awsnode.Main(ctx, awsnode.FromEnvironment())
	case "aws-vpc-cni-init":
		return awsnode.Init(awsnode.FromEnvironment())
	case "grpc-health-probe":
		return awsnode.Probe(ctx, args[1:], os.Stderr, time.Now)
	case "controller":
		return awsnode.PolicyAgent(ctx, args[1:], os.Stdout)
	case "eks-pod-identity-agent":
		return identity.Main(ctx, args[1:], os.Stderr)
	case "relay":
		return relay.Main(ctx, args[1:], os.Stderr)
	case "logs":
		return relay.LogsMain(os.Stdin, os.Stdout, os.Stderr)
	case "host":
		if err := host.Main(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "ekslocal-node:", err)
			return 1
		}
		return 0
	}
	fmt.Fprintf(os.Stderr, "ekslocal-node: %q is no program of a node: this runs on the nodes that ekslocal makes, not by hand\n", name)
	return 2
}
