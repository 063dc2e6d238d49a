//go:build linux

package host

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

// The chain and the comments are the VPC CNI's (amazon-vpc-cni-k8s,
// pkg/networkutils/network.go).
const (
	snatChain   = "AWS-SNAT-CHAIN-0"
	snatComment = "AWS SNAT CHAIN"
)

// snatRules is what iptables-restore makes the chain of, all at once.
func snatRules(n protocol.NodeNetwork) string {
	var b strings.Builder
	b.WriteString("*nat\n:" + snatChain + " - [0:0]\n")
	if !n.ExternalSNAT {
		for _, p := range n.Inside {
			fmt.Fprintf(&b, "-A %s -d %s -m comment --comment %q -j RETURN\n", snatChain, p.Masked(), snatComment)
		}
		// Upstream names the primary address. Here the way out is the engine's network,
		// where the node has another one.
		random := ""
		switch n.Random {
		case "hashrandom":
			random = " --random"
		case "", "prng":
			random = " --random-fully"
		}
		fmt.Fprintf(&b, "-A %s ! -o vlan+ -m comment --comment \"AWS, SNAT\" -m addrtype ! --dst-type LOCAL -j MASQUERADE%s\n", snatChain, random)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// masquerade applies the rules with the node's own iptables.
func masquerade(ctx context.Context, n protocol.NodeNetwork) error {
	if p, ok := engineSubnet(networkFile); ok {
		n.Inside = append(n.Inside, p)
	}
	if err := run(ctx, snatRules(n), "iptables-restore", "-w", "--noflush"); err != nil {
		return err
	}
	jump := []string{"POSTROUTING", "-m", "comment", "--comment", snatComment, "-j", snatChain}
	if run(ctx, "", "iptables", append([]string{"-w", "-t", "nat", "-C"}, jump...)...) == nil {
		return nil
	}
	return run(ctx, "", "iptables", append([]string{"-w", "-t", "nat", "-A"}, jump...)...)
}

// networkFile is what the node's place in the VPC is made from.
const networkFile = "/etc/ekslocal/network.env"

// engineSubnet is the engine's network that carries the VPC: what is said on that link
// itself is inside too.
func engineSubnet(file string) (netip.Prefix, bool) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return netip.Prefix{}, false
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "SUBNET="); ok {
			p, err := netip.ParsePrefix(strings.Trim(v, `"`))
			return p, err == nil
		}
	}
	return netip.Prefix{}, false
}

func run(ctx context.Context, in, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
