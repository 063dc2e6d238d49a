package ips

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
)

// TestKindsAddUp plays random histories: at any time, also while the daemons work,
// the kinds of each subnet and what is free are all addresses that it has.
func TestKindsAddUp(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t)
			subnets := []string{w.subnet("10.0.0.0/26"), w.subnet("10.0.1.0/25"), w.subnet("10.0.2.0/24")}
			w.cluster("dev", subnets[0])
			rnd := rand.New(rand.NewPCG(seed, 4))
			var nodes []string
			for range 80 {
				w.step(rnd, subnets, &nodes)
				addsUp(t, w.report(api.AddressQuery{}))
			}
			for _, id := range nodes {
				w.settle(id)
			}
			use := w.report(api.AddressQuery{Cluster: "dev"})
			addsUp(t, use)
			// At rest ledger and daemons agree: nothing had to be cut.
			assigned, cooling := 0, 0
			for _, n := range use.Nodes {
				assigned, cooling = assigned+n.Assigned, cooling+n.Cooling
			}
			for _, s := range use.Subnets {
				assigned, cooling = assigned-s.Held[api.HeldPodAssigned], cooling-s.Held[api.HeldPodCooling]
			}
			if assigned != 0 || cooling != 0 {
				t.Errorf("the nodes have %d pods and %d cooling addresses more than the subnets", assigned, cooling)
			}
		})
	}
}

// step does something that may well be refused.
func (w *world) step(rnd *rand.Rand, subnets []string, nodes *[]string) {
	sub := subnets[rnd.IntN(len(subnets))]
	node := ""
	if len(*nodes) > 0 {
		node = (*nodes)[rnd.IntN(len(*nodes))]
	}
	pod := fmt.Sprint(rnd.IntN(40))
	switch rnd.IntN(10) {
	case 0, 1:
		if id, err := w.run(sub, []ec2types.InstanceType{"t3.small", "m5.large"}[rnd.IntN(2)], "dev"); err == nil {
			*nodes = append(*nodes, id)
			w.pools.Configure(id, ipamd.NodeConfig{Settings: settings(rnd)})
			w.pools.Start(w.ctx, id)
		}
	case 2:
		_, _ = w.EC2.CreateNetworkInterface(w.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &sub, SecondaryPrivateIpAddressCount: aws.Int32(int32(rnd.IntN(9)))})
	case 3:
		w.clock.Step(time.Duration(rnd.IntN(60)) * time.Second)
	case 4:
		if node != "" {
			w.pools.Configure(node, ipamd.NodeConfig{Settings: settings(rnd)})
		}
	case 5:
		if node != "" {
			w.pools.Release(w.ctx, node, types.UID(pod))
		}
	case 6:
		_, _ = w.EC2.CreateNatGateway(w.ctx, &ec2.CreateNatGatewayInput{SubnetId: &sub, ConnectivityType: ec2types.ConnectivityTypePrivate})
	default:
		if node != "" {
			_ = w.pod(node, pod)
		}
	}
}

func settings(rnd *rand.Rand) ipamd.Settings {
	env := map[string]string{"ENABLE_PREFIX_DELEGATION": fmt.Sprint(rnd.IntN(2) == 0), "WARM_PREFIX_TARGET": "1"}
	if rnd.IntN(2) == 0 {
		env["WARM_IP_TARGET"] = fmt.Sprint(rnd.IntN(5))
	}
	s, _ := ipamd.ParseSettings(env)
	return s
}

func addsUp(t *testing.T, use api.AddressUse) {
	t.Helper()
	for _, s := range use.Subnets {
		sum := s.Available
		for h, n := range s.Held {
			sum += n
			if n < 0 {
				t.Errorf("%s: %d of %s", s.CIDR, n, h)
			}
		}
		if sum != s.Size || s.Free != s.Available || s.FreePrefixes*16 > s.Free {
			t.Fatalf("%s does not add up: %+v", s.CIDR, s)
		}
	}
}
