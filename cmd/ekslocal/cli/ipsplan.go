package cli

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/ipam/plan"
)

// planFlags are what `ips plan` is told.
type planFlags struct {
	plan.Layout
	subnets, podSubnets []string
	prefixDelegation    bool
	// targets are the CNI's settings by their flags; what is not set is as in the
	// add-on's manifest.
	targets map[string]*int
	output  string
	advice  bool
}

// targetFlags are the flags of the CNI's numbers with their variables.
var targetFlags = []struct{ flag, env, usage string }{
	{"warm-eni-target", "WARM_ENI_TARGET", "WARM_ENI_TARGET: interfaces' worth of addresses kept free (default 1)"},
	{"warm-ip-target", "WARM_IP_TARGET", "WARM_IP_TARGET: addresses kept free, instead of interfaces"},
	{"minimum-ip-target", "MINIMUM_IP_TARGET", "MINIMUM_IP_TARGET: addresses that a node has at least"},
	{"warm-prefix-target", "WARM_PREFIX_TARGET", "WARM_PREFIX_TARGET: /28 prefixes kept free with --prefix-delegation (default 1)"},
	{"max-eni", "MAX_ENI", "MAX_ENI: interfaces of a node at most"},
}

// ipsPlanCommand is `ekslocal ips plan`, which needs no emulator.
func ipsPlanCommand() *cobra.Command {
	f := planFlags{targets: map[string]*int{}}
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say how far a layout of subnets carries nodes and pods, and what breaks first",
		Long: `Say how far a layout of subnets carries nodes and pods, and what breaks first: how
many nodes launch, how many pods get an address, the first pod that fails and what ran
out, and the ways out with the numbers that they reach. It needs no emulator: it plays
the layout over the model that the emulator's nodes run.`,
		Example: `  ekslocal ips plan --subnets 10.0.0.0/24,10.0.1.0/24 --instance-type m5.large --nodes 10 --pods-per-node 27
  ekslocal ips plan --subnets 10.0.0.0/26 --instance-type m5.large --nodes 3 --pods-per-node 15 --warm-ip-target 2 --minimum-ip-target 15
  ekslocal ips plan --subnets 10.0.0.0/24 --custom-networking-subnets 100.64.0.0/19 --instance-type m5.large --nodes 20 --pods-per-node 18 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.output != "table" && f.output != "json" {
				return fmt.Errorf("-o %s is neither table nor json", f.output)
			}
			if err := f.read(cmd); err != nil {
				return err
			}
			r, err := plan.Evaluate(f.Layout)
			if err != nil {
				return err
			}
			if f.advice {
				r.Advice = plan.Advise(f.Layout, r)
			}
			if f.output == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(r)
			}
			return renderPlan(cmd.OutOrStdout(), &f.Layout, r)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *planFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&f.subnets, "subnets", nil, "subnets of the nodes and the control plane, each in a zone of its own")
	fs.StringSliceVar(&f.podSubnets, "custom-networking-subnets", nil, "subnets of the pods (ENIConfigs), one for each of --subnets")
	fs.StringVar(&f.InstanceType, "instance-type", "m5.large", "instance type of the nodes")
	fs.IntVar(&f.Nodes, "nodes", 3, "nodes of the group")
	fs.IntVar(&f.PodsPerNode, "pods-per-node", 10, "pods of the workload with an address of their own, for each node")
	fs.IntVar(&f.DaemonSetPods, "daemonset-pods", 0, "DaemonSets' pods with an address, on each node")
	fs.IntVar(&f.SystemPods, "system-pods", 2, "the cluster's own pods with an address, such as CoreDNS's two")
	fs.IntVar(&f.HostNetworkPods, "host-network-pods", 2, "pods on the host's network on each node: aws-node's and kube-proxy's")
	fs.IntVar(&f.MaxPods, "max-pods", 0, "pods that a node takes (default: what EKS recommends)")
	fs.IntVar(&f.ControlPlaneENIs, "control-plane-enis", 2, "interfaces of the control plane in --subnets")
	fs.IntVar(&f.Surge, "surge", 0, "nodes that a rolling update adds before it takes any away")
	fs.BoolVar(&f.prefixDelegation, "prefix-delegation", false, "ENABLE_PREFIX_DELEGATION: /28 prefixes instead of single addresses")
	for _, t := range targetFlags {
		f.targets[t.flag] = fs.Int(t.flag, 0, t.usage)
	}
	fs.BoolVar(&f.advice, "advice", true, "look for ways out of a layout that does not carry")
	fs.StringVarP(&f.output, "output", "o", "table", "table or json")
}

// read makes a layout of the flags, with the CNI's settings read as the CNI reads them.
func (f *planFlags) read(cmd *cobra.Command) (err error) {
	if f.Subnets, err = plan.ParseSubnets("subnets", f.subnets); err != nil {
		return err
	}
	if f.PodSubnets, err = plan.ParseSubnets("custom-networking-subnets", f.podSubnets); err != nil {
		return err
	}
	env := map[string]string{
		"WARM_ENI_TARGET": "1", "WARM_PREFIX_TARGET": "1", // as the add-on's manifest
		"ENABLE_PREFIX_DELEGATION":           strconv.FormatBool(f.prefixDelegation),
		"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": strconv.FormatBool(len(f.PodSubnets) > 0),
	}
	for _, t := range targetFlags {
		if !cmd.Flags().Changed(t.flag) {
			continue
		}
		v := *f.targets[t.flag]
		if v < 0 {
			return fmt.Errorf("--%s %d is negative: the VPC CNI would take its default instead", t.flag, v)
		}
		if v == 0 && t.env == "MAX_ENI" {
			return fmt.Errorf("--max-eni 0 is not a number of interfaces: leave it out for the instance type's limit")
		}
		env[t.env] = strconv.Itoa(v)
	}
	if why := ipamd.Refusal(env); why != "" {
		return fmt.Errorf("aws-node would not start: %s", why)
	}
	f.Settings, _ = ipamd.ParseSettings(env)
	return nil
}
