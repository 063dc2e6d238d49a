package kind

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// TestOverlap: a VPC that has the addresses of the way to the API server cannot have
// nodes, however long one waits.
func TestOverlap(t *testing.T) {
	e := fakeDocker(t, `echo '[{"Id":"1","Name":"kind","IPAM":{"Config":[{"Subnet":"fc00:f853:ccd:e793::/64"},{"Subnet":"172.18.0.0/16"}]}}]'`)
	for cidr, hopeless := range map[string]bool{"10.0.0.0/16": false, "172.18.4.0/24": true, "172.16.0.0/12": true, "172.19.0.0/16": false} {
		err := e.overlap(t.Context(), controlplane.VPC{ID: "vpc-1", CIDRs: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24"), netip.MustParsePrefix(cidr)}})
		if errors.Is(err, controlplane.ErrHopeless) != hopeless || !hopeless && err != nil {
			t.Errorf("%s: %v", cidr, err)
		}
		if hopeless && (!strings.Contains(err.Error(), cidr) || !strings.Contains(err.Error(), "172.18.0.0/16")) {
			t.Errorf("%s: %v names not both", cidr, err)
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
