//go:build linux

// Package podnet wires a pod's network namespace to its node the way the VPC CNI does:
// a veth pair, the pod's address as a /32 on eth0, 169.254.1.1 as the gateway of
// everything, and a route to the pod on the node.
package podnet

import (
	"crypto/sha1" //nolint:gosec // upstream's name of the interface
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// gateway is what pods send everything to. Nobody has the address: its neighbour entry
// is static.
var gateway = net.IPv4(169, 254, 1, 1)

// Pod is what to wire.
type Pod struct {
	// Netns is the path of the namespace, IfName the interface's name in there.
	Netns, IfName string
	// HostVeth is the name of the other end.
	HostVeth string
	IP       netip.Addr
	MTU      int
	// Node is the node's own address in the VPC, from which it talks to its pods if it
	// has it; MTU is no larger than that interface's.
	Node netip.Addr
}

// HostVeth is the name of a pod's interface on the node. Source: amazon-vpc-cni-k8s,
// pkg/networkutils (GeneratePodHostVethName).
func HostVeth(prefix, namespace, name string) string {
	sum := sha1.Sum([]byte(namespace + "." + name)) //nolint:gosec // a name
	return prefix + hex.EncodeToString(sum[:])[:11]
}

// Result is what the pod got.
type Result struct {
	HostMAC, PodMAC string
	MTU             int
}

// Add wires the pod, anew if it was.
func Add(p Pod) (Result, error) {
	var r Result
	if !p.IP.Is4() {
		return r, fmt.Errorf("the pod's address %s is not IPv4", p.IP)
	}
	ns, err := netns.GetFromPath(p.Netns)
	if err != nil {
		return r, fmt.Errorf("network namespace %s: %w", p.Netns, err)
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns)
	if err != nil {
		return r, fmt.Errorf("network namespace %s: %w", p.Netns, err)
	}
	defer inside.Close()
	// An earlier sandbox of the same pod, or an earlier try, may have left it.
	if err := removeLink(p.HostVeth); err != nil {
		return r, err
	}
	r.MTU = p.mtu()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = p.HostVeth, r.MTU
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: p.IfName, PeerNamespace: netlink.NsFd(int(ns)), PeerMTU: uint32(r.MTU)} //nolint:gosec // checked above
	if err := netlink.LinkAdd(pair); err != nil {
		return r, fmt.Errorf("veth %s: %w", p.HostVeth, err)
	}
	host, err := netlink.LinkByName(p.HostVeth)
	if err != nil {
		return r, fmt.Errorf("veth %s: %w", p.HostVeth, err)
	}
	if r.PodMAC, err = p.inside(inside, host.Attrs().HardwareAddr); err != nil {
		return r, errors.Join(err, netlink.LinkDel(host))
	}
	if err := p.outside(host); err != nil {
		return r, errors.Join(err, netlink.LinkDel(host))
	}
	r.HostMAC = host.Attrs().HardwareAddr.String()
	return r, nil
}

// inside sets the pod's own side up.
func (p Pod) inside(h *netlink.Handle, hostMAC net.HardwareAddr) (mac string, err error) {
	if lo, err := h.LinkByName("lo"); err == nil {
		if err := h.LinkSetUp(lo); err != nil {
			return "", fmt.Errorf("loopback of the pod: %w", err)
		}
	}
	link, err := h.LinkByName(p.IfName)
	if err != nil {
		return "", fmt.Errorf("%s of the pod: %w", p.IfName, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return "", fmt.Errorf("%s of the pod: %w", p.IfName, err)
	}
	index := link.Attrs().Index
	if err := h.AddrReplace(link, &netlink.Addr{IPNet: host32(p.IP)}); err != nil {
		return "", fmt.Errorf("address %s of the pod: %w", p.IP, err)
	}
	gw := &net.IPNet{IP: gateway, Mask: net.CIDRMask(32, 32)}
	if err := h.RouteReplace(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: gw}); err != nil {
		return "", fmt.Errorf("route to the pod's gateway: %w", err)
	}
	if err := h.RouteReplace(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_UNIVERSE, Gw: gateway}); err != nil {
		return "", fmt.Errorf("default route of the pod: %w", err)
	}
	neighbour := &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: gateway, HardwareAddr: hostMAC}
	if err := h.NeighSet(neighbour); err != nil {
		return "", fmt.Errorf("neighbour entry of the pod's gateway: %w", err)
	}
	return link.Attrs().HardwareAddr.String(), nil
}

// outside sets the node's side up.
func (p Pod) outside(host netlink.Link) error {
	if err := netlink.LinkSetUp(host); err != nil {
		return fmt.Errorf("%s: %w", p.HostVeth, err)
	}
	r := &netlink.Route{LinkIndex: host.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: host32(p.IP)}
	if p.Node.IsValid() {
		r.Src = net.IP(p.Node.AsSlice())
	}
	err := netlink.RouteReplace(r)
	if errors.Is(err, syscall.EINVAL) && r.Src != nil { // no interface has the address
		r.Src = nil
		err = netlink.RouteReplace(r)
	}
	if err != nil {
		return fmt.Errorf("route to %s: %w", p.IP, err)
	}
	return nil
}

// mtu is what is asked for, or less where the node's interface takes less: the engine's
// networks have 1500 bytes, EKS's manifest says 9001.
func (p Pod) mtu() int {
	mtu := p.MTU
	if mtu <= 0 {
		mtu = 1500
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return min(mtu, 1500)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && ip == p.Node {
			if link, err := netlink.LinkByIndex(a.LinkIndex); err == nil && link.Attrs().MTU > 0 {
				return min(mtu, link.Attrs().MTU)
			}
		}
	}
	return min(mtu, 1500)
}

func host32(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: net.IP(ip.AsSlice()), Mask: net.CIDRMask(32, 32)}
}

// Del takes the pod's interface away. A namespace that is gone has taken it along; by
// the name alone nothing is removed, for a later sandbox of the pod has the same.
func Del(path, ifName string) error {
	if path == "" {
		return nil
	}
	ns, err := netns.GetFromPath(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if errors.Is(err, syscall.EINVAL) { // a path that is no namespace any more
		return nil
	}
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	defer h.Close()
	link, err := h.LinkByName(ifName)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", ifName, err)
	}
	if err := h.LinkDel(link); err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("%s: %w", ifName, err)
	}
	return nil
}

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func isNotFound(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing)
}
