//go:build linux

package podnet

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/podnet/podnettest"
)

func TestHostVeth(t *testing.T) {
	if got, want := HostVeth("eni", "kube-system", "coredns-6f5f7d8b4-abcde"), "eni"; !strings.HasPrefix(got, want) || len(got) != 14 {
		t.Errorf("%q", got)
	}
	if HostVeth("eni", "a", "b") == HostVeth("eni", "a", "c") {
		t.Error("two pods have one name")
	}
}

func device(t *testing.T, name, address string, mtu int) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "-peer"} // not every kernel has dummies
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.AddrAdd(link, a), netlink.LinkSetUp(link)); err != nil {
		t.Fatal(err)
	}
}

// TestAddDel wires two pods of a node, and has one talk to the other through it.
func TestAddDel(t *testing.T) {
	self := podnettest.Node(t)
	device(t, "vpc0", "10.0.1.5/32", 1400)
	one, two := podnettest.Pod(t, self), podnettest.Pod(t, self)
	own := netip.MustParseAddr("10.0.1.5")
	a := Pod{Netns: one, IfName: "eth0", HostVeth: "eniaaaaaaaaaaa", IP: netip.MustParseAddr("10.0.1.20"), MTU: 9001, Node: own}
	b := Pod{Netns: two, IfName: "eth0", HostVeth: "enibbbbbbbbbbb", IP: netip.MustParseAddr("10.0.1.21"), MTU: 9001, Node: own}
	for range 2 { // the second time it is there already
		r, err := Add(a)
		if err != nil {
			t.Fatal(err)
		}
		if r.MTU != 1400 || r.HostMAC == "" || r.PodMAC == "" || r.HostMAC == r.PodMAC {
			t.Errorf("%+v", r)
		}
	}
	if _, err := Add(b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		t.Log(err) // read-only sysctls: the pods cannot talk, the rest is seen all the same
	}

	routes := routesTo(t, a.IP)
	if diff := cmp.Diff([]string{"eniaaaaaaaaaaa src 10.0.1.5"}, routes); diff != "" {
		t.Errorf("routes to the pod (-want +got):\n%s", diff)
	}
	within(t, one, func() {
		if got, err := netlink.RouteGet([]byte{8, 8, 8, 8}); err != nil || len(got) != 1 || !got[0].Gw.Equal(gateway) {
			t.Errorf("the pod's default route: %v, %v", got, err)
		}
		neighbours, err := netlink.NeighList(0, netlink.FAMILY_V4)
		if err != nil || len(neighbours) != 1 || neighbours[0].State != netlink.NUD_PERMANENT {
			t.Errorf("the pod's neighbours: %v, %v", neighbours, err)
		}
	})
	talk(t, self, one, two, b.IP)

	for range 2 {
		if err := Del(one, "eth0"); err != nil {
			t.Error(err)
		}
	}
	if got := routesTo(t, a.IP); len(got) != 0 {
		t.Errorf("routes to a pod that is gone: %v", got)
	}
	if err := Del(filepath.Join(t.TempDir(), "gone"), "eth0"); err != nil {
		t.Errorf("a namespace that is gone: %v", err)
	}
	if err := Del("", "eth0"); err != nil {
		t.Errorf("no namespace: %v", err)
	}
}

func TestAddRefuses(t *testing.T) {
	self := podnettest.Node(t)
	ns := podnettest.Pod(t, self)
	for name, p := range map[string]Pod{
		"IPv6":         {Netns: ns, IfName: "eth0", HostVeth: "eni1", IP: netip.MustParseAddr("fd00::1")},
		"no namespace": {Netns: "/nowhere", IfName: "eth0", HostVeth: "eni2", IP: netip.MustParseAddr("10.0.0.1")},
		"a file":       {Netns: "/etc/hostname", IfName: "eth0", HostVeth: "eni3", IP: netip.MustParseAddr("10.0.0.1")},
	} {
		if _, err := Add(p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	links, err := netlink.LinkList()
	if err != nil || slices.ContainsFunc(links, func(l netlink.Link) bool { return strings.HasPrefix(l.Attrs().Name, "eni") }) {
		t.Errorf("refused pods leave %v, %v", links, err)
	}
}

func routesTo(t *testing.T, ip netip.Addr) (out []string) {
	t.Helper()
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: host32(ip)}, netlink.RT_FILTER_DST)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, link.Attrs().Name+" src "+r.Src.String())
	}
	return out
}

// within does something in another namespace, on this thread.
func within(t *testing.T, path string, do func()) {
	t.Helper()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		t.Fatal(err)
	}
	do()
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
}

// talk sends a datagram from one pod to another: sockets stay in the namespace where
// they were made.
func talk(t *testing.T, _ netns.NsHandle, from, to string, ip netip.Addr) {
	t.Helper()
	socket := func(path string, bind unix.Sockaddr) (fd int) {
		within(t, path, func() {
			var err error
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err == nil {
				err = unix.Bind(fd, bind)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	there := socket(to, &unix.SockaddrInet4{Port: 7, Addr: ip.As4()})
	here := socket(from, &unix.SockaddrInet4{})
	wait := unix.NsecToTimeval(int64(200 * time.Millisecond))
	if err := unix.SetsockoptTimeval(there, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	for range 20 {
		if err := unix.Sendto(here, []byte("hello"), 0, &unix.SockaddrInet4{Port: 7, Addr: ip.As4()}); err != nil {
			t.Fatal(err)
		}
		if n, peer, err := unix.Recvfrom(there, buf, 0); err == nil {
			if string(buf[:n]) != "hello" || peer.(*unix.SockaddrInet4).Addr != [4]byte{10, 0, 1, 20} {
				t.Errorf("%q from %v", buf[:n], peer)
			}
			return
		}
	}
	t.Error("the pods do not reach each other")
}
