//go:build linux

package plugin

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/podnet"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/podnet/podnettest"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

const config = `{"cniVersion": "1.0.0", "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001"}`

// fixture is the plugin on a node that has an emulator of the test's.
type fixture struct {
	awsCNI
	asked  []string
	answer http.HandlerFunc
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var s protocol.Sandbox
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			t.Error(err)
		}
		f.asked = append(f.asked, strings.Join([]string{r.URL.Path, s.ContainerID, s.Namespace, s.Name, s.UID}, " "))
		f.answer(w, r)
	}))
	// Of TCP a namespace has its own.
	var err error
	if srv.Listener, err = net.Listen("unix", filepath.Join(dir, "socket")); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	f.awsCNI = awsCNI{asks: protocol.At(filepath.Join(dir, "socket")), ledger: protocol.Ledger{Dir: filepath.Join(dir, "sandboxes")}, config: filepath.Join(dir, "node.json")}
	if err := os.WriteFile(f.config, []byte(`{"url": "http://x", "privateIP": "10.0.0.5"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func arguments(netns string) *skel.CmdArgs {
	return &skel.CmdArgs{
		ContainerID: "c1", Netns: netns, IfName: "eth0", StdinData: []byte(config),
		Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1",
	}
}

// TestAddDel has the plugin wire a namespace and take it apart again.
func TestAddDel(t *testing.T) {
	node := podnettest.Node(t)
	path := podnettest.Pod(t, node)
	f := newFixture(t)
	f.answer = func(w http.ResponseWriter, _ *http.Request) {
		protocol.Answer(w, protocol.PodNetwork{IP: netip.MustParseAddr("10.0.0.20")})
	}
	args := arguments(path)
	c, err := parse(args.StdinData)
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.wire(args, c)
	if err != nil {
		t.Fatal(err)
	}
	veth := podnet.HostVeth("eni", "ns", "web")
	if res.Interfaces[0].Name != veth || res.Interfaces[1].Name != "eth0" || res.Interfaces[1].Sandbox != path || res.IPs[0].Address.String() != "10.0.0.20/32" || *res.IPs[0].Interface != 1 {
		t.Errorf("%+v", res)
	}
	if _, err := res.GetAsVersion("0.4.0"); err != nil {
		t.Errorf("for an older runtime: %v", err)
	}
	if s, ok := f.ledger.Get("c1"); !ok || s.IP.String() != "10.0.0.20" || s.UID != "u1" {
		t.Errorf("remembered %+v, %v", s, ok)
	}
	if _, err := netlink.LinkByName(veth); err != nil {
		t.Error(err)
	}

	// The emulator is away: the pod's end does not wait for it.
	f.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	for range 2 {
		if err := f.del(args); err != nil {
			t.Error(err)
		}
	}
	if _, err := netlink.LinkByName(veth); err == nil {
		t.Error("the interface is still there")
	}
	if all, err := f.ledger.List(); err != nil || len(all) != 0 {
		t.Errorf("remembered %v, %v", all, err)
	}
	if diff := cmp.Diff([]string{"/add c1 ns web u1", "/del c1 ns web u1", "/del c1 ns web u1"}, f.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// TestRefusals: the errors of which container runtimes make a pod's event.
func TestRefusals(t *testing.T) {
	f := newFixture(t)
	no := func(message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			protocol.Refuse(w, http.StatusInternalServerError, protocol.Failure{Message: message})
		}
	}
	ok := func(w http.ResponseWriter, _ *http.Request) {
		protocol.Answer(w, protocol.PodNetwork{IP: netip.MustParseAddr("10.0.0.20")})
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		change func(*skel.CmdArgs)
		want   string
	}{
		"no address":        {no("failed to assign an IP address to container"), nil, "add cmd: failed to assign an IP address to container"},
		"no such namespace": {ok, nil, "add cmd: failed to setup network: network namespace /nowhere: no such file or directory"},
		"no pod":            {ok, func(a *skel.CmdArgs) { a.Args = "" }, "add cmd: the container runtime names no pod (CNI_ARGS)"},
		"no configuration":  {ok, func(a *skel.CmdArgs) { a.StdinData = []byte("{") }, "add cmd: error loading config from args: unexpected end of JSON input"},
		"a long prefix": {ok, func(a *skel.CmdArgs) {
			a.StdinData = []byte(`{"cniVersion": "1.0.0", "name": "n", "type": "aws-cni", "vethPrefix": "toolong"}`)
		}, "add cmd: conf.VethPrefix must be less than 4 characters long"},
	} {
		f.answer = c.answer
		args := arguments("/nowhere")
		if c.change != nil {
			c.change(args)
		}
		err := f.add(args)
		if err == nil || strings.Split(err.Error(), "\n")[0] != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if all, err := f.ledger.List(); err != nil || len(all) != 0 {
		t.Errorf("refused sandboxes are remembered: %v, %v", all, err)
	}
}

// TestCollect forgets what the runtime does not know (CNI 1.1's GC).
func TestCollect(t *testing.T) {
	f := newFixture(t)
	f.answer = func(http.ResponseWriter, *http.Request) {}
	for _, id := range []string{"a", "b"} {
		if err := f.ledger.Put(protocol.Sandbox{ContainerID: id, Namespace: "ns", Name: id}); err != nil {
			t.Fatal(err)
		}
	}
	args := &skel.CmdArgs{StdinData: []byte(`{"cniVersion": "1.1.0", "name": "aws-cni", "type": "aws-cni", "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}`)}
	if err := f.collect(args); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/del b ns b "}, f.asked); diff != "" {
		t.Error(diff)
	}
	if all, err := f.ledger.List(); err != nil || len(all) != 1 || all[0].ContainerID != "a" {
		t.Errorf("%v, %v", all, err)
	}
}

// FuzzParse: no configuration and no arguments make the plugin panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(config), "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web")
	f.Add([]byte(`{"prevResult": {"cniVersion": "9"}, "cniVersion": "1.0.0"}`), ";=;")
	f.Fuzz(func(_ *testing.T, raw []byte, args string) {
		_, _ = parse(raw)
		_, _ = sandboxOf(&skel.CmdArgs{ContainerID: "c", Args: args})
	})
}
