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
	case "ekslocal-node":
		if len(args) > 1 {
			return run(ctx, args[1:])
		}
	case "relay":
		return relay.Main(ctx, args[1:], os.Stderr)
	case "logs":
		return relay.LogsMain(os.Stdin, os.Stdout, os.Stderr)
	}
	fmt.Fprintf(os.Stderr, "ekslocal-node: %q is no program of a node: this runs on the nodes that ekslocal makes, not by hand\n", name)
	return 2
}
