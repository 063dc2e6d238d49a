package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ekslocal/ekslocal/emulator/ipam/plan"
)

func renderPlan(w io.Writer, l *plan.Layout, r *plan.Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(head, format string, args ...any) { fmt.Fprintf(tw, head+"\t"+format+"\n", args...) }
	line("Layout", "%d x %s, %d interfaces of %d addresses each, max-pods %d", r.NodesAsked, r.InstanceType, r.ENIs, r.IPv4PerENI, r.MaxPods)
	line("CNI", "%s", strings.Join(settingsOf(l), " "))
	line("Nodes", "%d of %d launch", r.NodesLaunched, r.NodesAsked)
	if n := r.NodesLaunched - r.NodesReady; n > 0 {
		line("", "%d of these stay NotReady, without an interface for pods", n)
	}
	if r.LaunchError != "" {
		line("", "%s", r.LaunchError)
	}
	line("Pods", "%d of %d get an address%s", r.PodsAddressed, r.PodsAsked, without(r))
	if n := r.OtherPods + r.OtherPodsFailed; n > 0 {
		line("", "%d of %d of DaemonSets and of the cluster itself", r.OtherPods, n)
	}
	if f := r.First; f != nil {
		line("Breaks", "first with %s: %s", f, reason(l, r, f))
		if f.Message != "" {
			line("", "%s", f.Message)
		}
	}
	if f := r.Next; f != nil {
		line("Room", "for %d more pods: the next would fail for want of %s", f.Index-r.PodsAsked, reason(l, r, f))
	}
	line("Order", "%s", orderMatters(r))
	if s := r.Surge; s != nil {
		line("Update", "%d of %d extra nodes launch, %d of %d moved pods get an address beside the old ones", s.NodesLaunched, s.NodesAsked, s.PodsAddressed, s.PodsMoved)
		if f := s.First; f != nil {
			line("", "breaks first with %s: %s", f, reason(l, r, f))
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := renderUse(w, r); err != nil {
		return err
	}
	return renderAdvice(w, r)
}

// settingsOf are the variables of the CNI that have a say.
func settingsOf(l *plan.Layout) []string {
	s := &l.Settings
	var out []string
	add := func(name string, value any) { out = append(out, fmt.Sprintf("%s=%v", name, value)) }
	if s.PrefixDelegation {
		add("ENABLE_PREFIX_DELEGATION", true)
	}
	switch {
	case s.WarmIPTarget > 0 || s.MinimumIPTarget > 0:
		add("WARM_IP_TARGET", s.WarmIPTarget)
		add("MINIMUM_IP_TARGET", s.MinimumIPTarget)
	case s.PrefixDelegation:
		add("WARM_PREFIX_TARGET", s.WarmPrefixTarget)
	default:
		add("WARM_ENI_TARGET", s.WarmENITarget)
	}
	if s.MaxENI > 0 {
		add("MAX_ENI", s.MaxENI)
	}
	if s.CustomNetworking {
		add("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", true)
	}
	return out
}

func without(r *plan.Result) string {
	var out []string
	if r.PodsWaiting > 0 {
		out = append(out, fmt.Sprintf("%d wait (ContainerCreating)", r.PodsWaiting))
	}
	if r.PodsPending > 0 {
		out = append(out, fmt.Sprintf("%d find no node (Pending)", r.PodsPending))
	}
	if len(out) == 0 {
		return ""
	}
	return ", " + strings.Join(out, ", ")
}

// reason says what ran out, with the numbers.
func reason(l *plan.Layout, r *plan.Result, f *plan.Failure) string {
	switch f.Resource {
	case plan.SubnetAddresses:
		if f.Free == 0 {
			return fmt.Sprintf("subnet-addresses: %s is full", f.Subnet)
		}
		return fmt.Sprintf("subnet-addresses: %s has %d left, and an interface or prefix needs more at once", f.Subnet, f.Free)
	case plan.PrefixBlocks:
		return fmt.Sprintf("prefix-blocks: %s has %d addresses left, but no whole /28", f.Subnet, f.Free)
	case plan.InstanceAddresses:
		return fmt.Sprintf("instance-addresses: %d interfaces of %s hold no more", r.ENIs, r.InstanceType)
	case plan.MaxENI:
		return fmt.Sprintf("max-eni: MAX_ENI=%d keeps the node from further interfaces", l.Settings.MaxENI)
	case plan.MaxPods:
		return fmt.Sprintf("max-pods: each node takes %d, those on the host's network among them", r.MaxPods)
	case plan.WarmTargets:
		return fmt.Sprintf("warm-targets: with MINIMUM_IP_TARGET=%d and no WARM_IP_TARGET the pool does not grow beyond", l.Settings.MinimumIPTarget)
	}
	return string(f.Resource)
}

func orderMatters(r *plan.Result) string {
	if r.Refused == 0 {
		return "any: every pool is as large as it wants to be"
	}
	out := "pods one after the other"
	if r.RefusedAtStart > 0 {
		out = "nodes and " + out
	}
	if o := r.OtherOrders; o != nil {
		out += fmt.Sprintf("; in %d other orders %s lack an address", o.Orders, fromTo(o))
	}
	return out
}

func fromTo(o *plan.Range) string {
	if o.Least == o.Most {
		return fmt.Sprintf("%d pods, too,", o.Least)
	}
	return fmt.Sprintf("%d to %d pods", o.Least, o.Most)
}

func renderUse(w io.Writer, r *plan.Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "SUBNET\tUSABLE\tCONTROL-PLANE\tNODES\tINTERFACES\tADDRESSES\tPREFIXES\tFREE\tFREE-/28")
	for _, s := range r.Subnets {
		cidr := s.CIDR.String()
		if s.ForPods {
			cidr += " (pods)"
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", cidr, s.Total, s.ControlPlane, s.Nodes, s.Interfaces, s.Addresses, s.Prefixes, s.Free, s.FreeBlocks)
	}
	return tw.Flush()
}

func renderAdvice(w io.Writer, r *plan.Result) error {
	if len(r.Advice) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "WAY OUT\tCARRIES\tNODES\tPODS\tMAX-PODS\tFLAGS")
	for _, a := range r.Advice {
		all := "no"
		if a.Carries {
			all = "yes"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\n", a.Way, all, ratio(a.NodesLaunched, r.NodesAsked), ratio(a.PodsAddressed, r.PodsAsked), a.MaxPods, a.Flags)
	}
	return tw.Flush()
}
