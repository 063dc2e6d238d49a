//go:build linux

// Package plugin is the CNI plugins of the VPC CNI, aws-cni and egress-cni: addresses
// come from the emulator, by way of the node's host agent.
package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/nodelog"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/podnet"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

const (
	// addPatience is for a pool that grows: an interface is made, attached, filled.
	addPatience = 50 * time.Second
	// delPatience is short: a pod's end never waits for the emulator, which finds out by
	// itself that the pod is gone.
	delPatience = 2 * time.Second
)

var versions = version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

// Main runs the plugin that the program was called as and ends the process.
func Main(name string) {
	if name == "egress-cni" {
		skel.PluginMainFuncs(skel.CNIFuncs{Add: passOn, Check: nothing, Del: nothing, Status: nothing, GC: nothing}, versions, "CNI plugin egress-cni of ekslocal")
		return
	}
	a := awsCNI{asks: protocol.Local(), ledger: protocol.Ledger{Dir: protocol.SandboxDir}, config: protocol.ConfigFile}
	skel.PluginMainFuncs(skel.CNIFuncs{Add: a.add, Check: nothing, Del: a.del, Status: nothing, GC: a.collect}, versions, "CNI plugin aws-cni of ekslocal")
}

func nothing(*skel.CmdArgs) error { return nil }

// passOn is what egress-cni does in clusters where pods need no other family's way out.
func passOn(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if c.PrevResult == nil {
		return errors.New("must be called as a chained plugin")
	}
	return types.PrintResult(c.PrevResult, c.CNIVersion)
}

// conf is the plugin's part of 10-aws.conflist.
type conf struct {
	types.NetConf
	VethPrefix    string `json:"vethPrefix"`
	MTU           string `json:"mtu"`
	PluginLogFile string `json:"pluginLogFile"`
}

func parse(raw []byte) (conf, error) {
	var c conf
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("error loading config from args: %w", err)
	}
	if c.RawPrevResult != nil {
		if err := version.ParsePrevResult(&c.NetConf); err != nil {
			return c, fmt.Errorf("could not parse prevResult: %w", err)
		}
	}
	if c.VethPrefix == "" {
		c.VethPrefix = "eni"
	}
	if len(c.VethPrefix) > 4 {
		return c, errors.New("conf.VethPrefix must be less than 4 characters long")
	}
	return c, nil
}

// podArgs are what container runtimes tell of the pod.
type podArgs struct {
	types.CommonArgs
	K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_INFRA_CONTAINER_ID, K8S_POD_UID types.UnmarshallableString //nolint:revive,staticcheck // the variables' names
}

func sandboxOf(args *skel.CmdArgs) (protocol.Sandbox, error) {
	var a podArgs
	a.IgnoreUnknown = true
	if err := types.LoadArgs(args.Args, &a); err != nil {
		return protocol.Sandbox{}, fmt.Errorf("failed to load k8s config from arg: %w", err)
	}
	s := protocol.Sandbox{ContainerID: args.ContainerID, Namespace: string(a.K8S_POD_NAMESPACE), Name: string(a.K8S_POD_NAME), UID: string(a.K8S_POD_UID)}
	if s.Namespace == "" || s.Name == "" {
		return s, errors.New("the container runtime names no pod (CNI_ARGS)")
	}
	return s, nil
}

// awsCNI is the plugin with what it works on.
type awsCNI struct {
	asks   *protocol.Client
	ledger protocol.Ledger
	config string
}

// add gives a sandbox its network. Errors begin as upstream's do.
func (a awsCNI) add(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return fmt.Errorf("add cmd: %w", err)
	}
	res, err := a.wire(args, c)
	note(c, "ADD", args, err)
	if err != nil {
		return fmt.Errorf("add cmd: %w", err)
	}
	return types.PrintResult(res, c.CNIVersion)
}

func (a awsCNI) wire(args *skel.CmdArgs, c conf) (*current.Result, error) {
	s, err := sandboxOf(args)
	if err != nil {
		return nil, err
	}
	node, err := protocol.ReadConfig(a.config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), addPatience)
	defer cancel()
	var n protocol.PodNetwork
	if err := a.asks.Call(ctx, protocol.AddPod, s, &n); err != nil {
		return nil, a.explained(err)
	}
	s.IP = n.IP
	// Before the wiring: what the emulator gave is never forgotten on both sides.
	if err := a.ledger.Put(s); err != nil {
		return nil, fmt.Errorf("remembering the sandbox: %w", err)
	}
	mtu, _ := strconv.Atoi(c.MTU) // what is no number is the node's own
	p := podnet.Pod{
		Netns: args.Netns, IfName: args.IfName, HostVeth: podnet.HostVeth(c.VethPrefix, s.Namespace, s.Name), IP: n.IP, MTU: mtu, Node: node.PrivateIP,
	}
	r, err := podnet.Add(p)
	if err != nil {
		// As upstream: what could not be wired goes back at once.
		ctx, cancel := context.WithTimeout(context.Background(), delPatience)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("failed to setup network: %w", err), a.ledger.Remove(s.ContainerID), a.asks.Call(ctx, protocol.DelPod, s, nil))
	}
	return result(p, r), nil
}

// explained is the emulator's word, or that it does not answer.
func (a awsCNI) explained(err error) error {
	var no *protocol.Error
	if errors.As(err, &no) {
		return errors.New(no.Message)
	}
	return fmt.Errorf("ekslocal's agent on this node does not answer: %w", err)
}

func result(p podnet.Pod, r podnet.Result) *current.Result {
	one := 1
	return &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{
			{Name: p.HostVeth, Mac: r.HostMAC, Mtu: r.MTU}, {Name: p.IfName, Mac: r.PodMAC, Mtu: r.MTU, Sandbox: p.Netns},
		},
		IPs: []*current.IPConfig{{Interface: &one, Address: net.IPNet{IP: p.IP.AsSlice(), Mask: net.CIDRMask(32, 32)}}},
	}
}

// del takes a sandbox's network away. It never fails for want of the emulator.
func (a awsCNI) del(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return fmt.Errorf("del cmd: %w", err)
	}
	err = a.unwire(args)
	note(c, "DEL", args, err)
	if err != nil {
		return fmt.Errorf("del cmd: %w", err)
	}
	return nil
}

func (a awsCNI) unwire(args *skel.CmdArgs) error {
	if err := podnet.Del(args.Netns, args.IfName); err != nil {
		return err
	}
	s, known := a.ledger.Get(args.ContainerID)
	if err := a.ledger.Remove(args.ContainerID); err != nil {
		return err
	}
	if !known {
		var err error
		if s, err = sandboxOf(args); err != nil {
			return nil //nolint:nilerr // a sandbox that never had a network, of a pod that nobody names
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), delPatience)
	defer cancel()
	_ = a.asks.Call(ctx, protocol.DelPod, s, nil) // the next start of a daemon tells which sandboxes are left
	return nil
}

// collect forgets the sandboxes that the runtime does not know any more (CNI 1.1).
func (a awsCNI) collect(args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	valid := map[string]bool{}
	for _, v := range c.ValidAttachments {
		valid[v.ContainerID] = true
	}
	all, err := a.ledger.List()
	errs := []error{err}
	for _, s := range all {
		if !valid[s.ContainerID] {
			ctx, cancel := context.WithTimeout(context.Background(), delPatience)
			_ = a.asks.Call(ctx, protocol.DelPod, s, nil) // as in unwire
			cancel()
			errs = append(errs, a.ledger.Remove(s.ContainerID))
		}
	}
	return errors.Join(errs...)
}

// note writes a line of plugin.log, as upstream's plugin does.
func note(c conf, command string, args *skel.CmdArgs, err error) {
	if c.PluginLogFile == "" || c.PluginLogFile == "stderr" {
		return
	}
	level, text := "info", command+" of container "+args.ContainerID
	if err != nil {
		level, text = "error", text+": "+err.Error()
	}
	line, err := json.Marshal(map[string]string{"level": level, "ts": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "caller": "routed-eni-cni-plugin/cni.go", "msg": text})
	if err == nil {
		_ = nodelog.Append(c.PluginLogFile, append(line, '\n')) // a log that cannot be written must not keep a pod from its network
	}
}
