package plan

import (
	"net/netip"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// large is 300 nodes of 100 pods in three /18: 30,000 addresses.
func large(env map[string]string) Layout {
	s, _ := warmpool.ParseSettings(env)
	return Layout{
		Subnets:      []netip.Prefix{netip.MustParsePrefix("10.0.0.0/18"), netip.MustParsePrefix("10.0.64.0/18"), netip.MustParsePrefix("10.0.128.0/18")},
		InstanceType: "m5.8xlarge", Nodes: 300, PodsPerNode: 100, SystemPods: 2, HostNetworkPods: 2, ControlPlaneENIs: 2, Settings: s,
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for name, env := range map[string]map[string]string{
		"interfaces": {"WARM_ENI_TARGET": "1"}, "addresses": {"WARM_IP_TARGET": "2"}, "prefixes": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				r, err := Evaluate(large(env))
				if err != nil || !r.Carries() {
					b.Fatal(r, err)
				}
			}
		})
	}
}

// BenchmarkAdvise is the same in subnets that are too small, with the ways out.
func BenchmarkAdvise(b *testing.B) {
	l := large(map[string]string{"WARM_ENI_TARGET": "1"})
	for i, p := range l.Subnets {
		l.Subnets[i] = netip.PrefixFrom(p.Addr(), 20)
	}
	for range b.N {
		r, err := Evaluate(l)
		if err != nil || r.Carries() || len(Advise(l, r)) == 0 {
			b.Fatal(r, err)
		}
	}
}
