//go:build linux

package main

import (
	"context"
	"testing"
)

// TestRun: the program is what it is called, also through go-runner, and says so if that
// is nothing.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what would serve ends at once
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"/controller", "--enable-network-policy=true"}, 0},
		{[]string{"/go-runner", "/controller"}, 0},
		{[]string{"/app/grpc-health-probe", "-addr=127.0.0.1:1", "-connect-timeout=1ms"}, 2},
		{[]string{"ekslocal-node"}, 2},
		{[]string{"ekslocal-node", "sh"}, 2},
	} {
		if got := run(ctx, c.args); got != c.want {
			t.Errorf("%v: %d, want %d", c.args, got, c.want)
		}
	}
}
