package kind

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// networkScript gives a node its place in the VPC. It runs at every start of the
// container, and again when the VPC's addresses change.
//
//go:embed network.sh
var networkScript []byte

const (
	scriptFile  = filesDir + "/network.sh"
	networkFile = filesDir + "/network.env"
)

// networkUnit runs before the kubelet, which will not take a --node-ip that no interface
// has, and which pulls it in: the node image needs no other link to it.
const networkUnit = `[Unit]
Description=The VPC's interface and routes
Before=kubelet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh ` + scriptFile + `
`

const kubeletDropIn = `[Unit]
Wants=ekslocal-network.service
After=ekslocal-network.service
`

// networkFiles are a node's place in a VPC. own is a machine's address there; a control
// plane has none but the engine's.
func networkFiles(n *network, vpc controlplane.VPC, own netip.Addr) (files, error) {
	subnets := n.subnets()
	if len(subnets) != 1 {
		return nil, fmt.Errorf("network %s has %d IPv4 subnets, and not one: remove it with `docker network rm`", n.Name, len(subnets))
	}
	cidrs := make([]string, len(vpc.CIDRs))
	for i, c := range vpc.CIDRs {
		cidrs[i] = c.Masked().String()
	}
	address := ""
	if own.IsValid() {
		address = own.String()
	}
	env := fmt.Sprintf("SUBNET=%s\nADDRESS=%s\nCIDRS=%q\n", subnets[0], address, strings.Join(cidrs, " "))
	return files{
		scriptFile: networkScript, networkFile: []byte(env),
		"/etc/systemd/system/ekslocal-network.service":          []byte(networkUnit),
		"/etc/systemd/system/kubelet.service.d/20-network.conf": []byte(kubeletDropIn),
	}, nil
}

// attach makes the network of a VPC and puts a container of this cluster into it: a
// machine, and before it the control plane, which must reach kubelets and pods.
func (p *plane) attach(ctx context.Context, c *container, m controlplane.Machine) error {
	name := vpcNetwork(m.VPC.ID)
	p.b.networks.LockKey(name)
	defer p.b.unlock(name)
	n, err := p.b.haveNetwork(ctx, m.VPC)
	if err != nil {
		return err
	}
	if err := p.attachControlPlane(ctx, n, m.VPC); err != nil {
		return fmt.Errorf("connecting the control plane to VPC %s: %w", m.VPC.ID, err)
	}
	f, err := networkFiles(n, m.VPC, m.PrivateIP)
	if err != nil {
		return err
	}
	if err := p.b.engine.copyInto(ctx, c.Name, f); err != nil {
		return err
	}
	if err := p.b.engine.connect(ctx, c, n); err != nil {
		return fmt.Errorf("connecting to VPC %s: %w", m.VPC.ID, err)
	}
	if c.State.Running {
		return p.b.engine.applyNetwork(ctx, c.Name)
	}
	return nil
}

func (p *plane) attachControlPlane(ctx context.Context, n *network, vpc controlplane.VPC) error {
	engine := p.b.engine
	c, err := engine.inspect(ctx, nodeName(p.id))
	if err != nil {
		return err
	}
	if c == nil {
		return fmt.Errorf("%w: its container is gone", controlplane.ErrNotFound)
	}
	f, err := networkFiles(n, vpc, netip.Addr{})
	if err != nil {
		return err
	}
	_, there := c.NetworkSettings.Networks[n.Name]
	if there && p.networkSum == n.ID+f.sum() { // under the network's lock
		return nil
	}
	if err := engine.connect(ctx, c, n); err != nil {
		return err
	}
	if err := engine.put(ctx, c.Name, f); err != nil {
		return err
	}
	if err := engine.applyNetwork(ctx, c.Name); err != nil {
		return err
	}
	p.networkSum = n.ID + f.sum()
	return nil
}

// applyNetwork does in a running node what its unit does at a start.
func (e engine) applyNetwork(ctx context.Context, container string) error {
	_, err := e.run(ctx, nil, "exec", container, "/bin/sh", scriptFile)
	return err
}
