package demo

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// reserved is what AWS keeps of every subnet.
const reserved = 5

func (r *run) summary(ctx context.Context, took time.Duration) error {
	subnets, err := r.addresses(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.Out, "\nCluster %s (Kubernetes %s) with %d nodes and %d pods, in %s.\n\n", name, r.version, len(r.nodes), len(r.pods), seconds(took))
	tw := tabwriter.NewWriter(r.Out, 2, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "  NODE\tIP\tPODS OF "+strings.ToUpper(app))
	slices.SortFunc(r.nodes, func(a, b place) int { return strings.Compare(a.name, b.name) })
	for _, n := range r.nodes {
		fmt.Fprintf(tw, "  %s\t%s\t%d\n", n.name, n.ip, r.podsOn(n.name))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(r.Out)
	slices.SortFunc(subnets, func(a, b types.Subnet) int { return strings.Compare(*a.CidrBlock, *b.CidrBlock) })
	fmt.Fprintln(tw, "  SUBNET\tZONE\tCIDR\tIPS IN USE\tBY PODS OF "+strings.ToUpper(app))
	for _, s := range subnets {
		p, err := netip.ParsePrefix(*s.CidrBlock)
		if err != nil {
			return err
		}
		all := 1<<(32-p.Bits()) - reserved
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%d of %d\t%d\n", *s.SubnetId, *s.AvailabilityZone, p, all-int(*s.AvailableIpAddressCount), all, r.podsIn(p))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	// Nodes hold more addresses than their pods use: aws-vpc-cni keeps a spare
	// network interface on each.
	_, err = fmt.Fprintf(r.Out, `
The emulator keeps running. What to type next:

  eval "$(%[3]s env)"
  aws eks describe-cluster --name %[1]s
  aws eks update-kubeconfig --name %[1]s      # or: %[3]s kubeconfig %[1]s
  kubectl get nodes,pods -o wide
  kubectl scale deployment %[2]s --replicas 40
  %[3]s status
  %[3]s stop                             # the state stays; %[3]s reset empties it
`, name, app, r.Program)
	return err
}

func (r *run) podsOn(node string) (n int) {
	for _, p := range r.pods {
		if p.node == node {
			n++
		}
	}
	return n
}

func (r *run) podsIn(prefix netip.Prefix) (n int) {
	for _, p := range r.pods {
		if ip, err := netip.ParseAddr(p.ip); err == nil && prefix.Contains(ip) {
			n++
		}
	}
	return n
}
