package ipam

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestFreeRuns(t *testing.T) {
	for _, c := range []struct {
		name  string
		cidr  string
		taken []string
		want  []BlockRun
	}{
		{"the reserved addresses spoil the first and the last block", "10.0.0.0/24", nil, []BlockRun{{netip.MustParsePrefix("10.0.0.16/28"), 14}}},
		{"an address parts a run", "10.0.0.0/25", []string{"10.0.0.40"}, []BlockRun{{netip.MustParsePrefix("10.0.0.16/28"), 1}, {netip.MustParsePrefix("10.0.0.48/28"), 4}}},
		{"a hole of fifteen is no block", "10.0.0.0/26", []string{"10.0.0.16", "10.0.0.47"}, nil},
		{"too small", "10.0.0.0/28", nil, nil},
		{"at the end of all addresses", "255.255.255.0/24", nil, []BlockRun{{netip.MustParsePrefix("255.255.255.16/28"), 14}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewSubnet(netip.MustParsePrefix(c.cidr))
			for _, a := range c.taken {
				if err := p.Take(netip.MustParseAddr(a)); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(c.want, p.FreeRuns(28), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestFreeRunsAreWhatPrefixesGet: as many prefixes can be taken as FreeRuns counts.
func TestFreeRunsAreWhatPrefixesGet(t *testing.T) {
	p := &Pool{CIDR: netip.MustParsePrefix("255.255.255.128/25")}
	if err := p.Take(netip.MustParseAddr("255.255.255.130")); err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, r := range p.FreeRuns(28) {
		blocks += r.Blocks
	}
	if blocks != 7 {
		t.Errorf("%d blocks, want 7", blocks)
	}
	for range blocks {
		if _, err := p.TakePrefix(28); err != nil {
			t.Fatal(err)
		}
	}
	if left := p.FreeRuns(28); left != nil {
		t.Errorf("left %v", left)
	}
}
