package kind

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// TestOverlap: a VPC that has the addresses of the way to the API server, or to the
// emulator, cannot have nodes, however long one waits.
func TestOverlap(t *testing.T) {
	e := fakeDocker(t, `echo '[{"Id":"1","Name":"kind","IPAM":{"Config":[{"Subnet":"fc00:f853:ccd:e793::/64"},{"Subnet":"172.18.0.0/16"}]}}]'`)
	for _, c := range []struct{ cidr, asked, other string }{
		{"10.0.0.0/16", "172.18.0.1", ""},
		{"172.18.4.0/24", "172.17.0.1", "172.18.0.0/16"},
		{"172.16.0.0/12", "host.docker.internal", "172.18.0.0/16"},
		{"172.19.0.0/16", "host.docker.internal", ""},
		{"172.17.0.0/16", "172.17.0.1", "172.17.0.1"}, // the engine's bridge, before there was a network of kind's
	} {
		err := e.overlap(t.Context(), controlplane.VPC{ID: "vpc-1", CIDRs: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24"), netip.MustParsePrefix(c.cidr)}}, c.asked)
		if errors.Is(err, controlplane.ErrHopeless) != (c.other != "") || c.other == "" && err != nil {
			t.Errorf("%s: %v", c.cidr, err)
		}
		if c.other != "" && (!strings.Contains(err.Error(), c.cidr) || !strings.Contains(err.Error(), c.other)) {
			t.Errorf("%s: %v names not both", c.cidr, err)
		}
	}
}

// TestNoChoice: a VPC that leaves the engine's networks no addresses is told so.
func TestNoChoice(t *testing.T) {
	b := &Backend{engine: fakeDocker(t, `echo "Error response from daemon: network $3 not found" >&2; exit 1`)}
	_, err := b.haveNetwork(t.Context(), controlplane.VPC{ID: "vpc-1", CIDRs: []netip.Prefix{benchmarks}})
	if !errors.Is(err, controlplane.ErrHopeless) || !strings.Contains(err.Error(), "198.18.0.0/15") {
		t.Errorf("%v", err)
	}
}
