package lifecycle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	ipsplan "github.com/ekslocal/ekslocal/emulator/ipam/plan"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// rooms is an EC2 whose subnets have so many addresses.
type rooms struct {
	EC2
	free, launched map[string]int
}

func (r *rooms) RunInstances(_ context.Context, in *ec2.RunInstancesInput, _ ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error) {
	n := min(int(*in.MaxCount), r.free[*in.SubnetId])
	if n < int(*in.MinCount) {
		return nil, &smithy.GenericAPIError{Code: "InsufficientFreeAddressesInSubnet"}
	}
	r.free[*in.SubnetId] -= n
	r.launched[*in.SubnetId] += n
	return &ec2.RunInstancesOutput{Instances: make([]ec2types.Instance, n)}, nil
}

// untagged is an Auto Scaling whose groups have no tags, and whose activities nobody
// reads.
type untagged struct{ AutoScaling }

func (untagged) LaunchTags(awsid.Scope, string) map[string]string { return map[string]string{} }

func (untagged) LaunchFailed(context.Context, awsid.Scope, string, string, error) error { return nil }

// TestLaunchIsAsPlanned has `ekslocal ips plan` and node groups agree on which subnets
// nodes go to, however unequal these are.
func TestLaunchIsAsPlanned(t *testing.T) {
	full := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		l := ipsplan.Layout{InstanceType: "m5.large", Nodes: 1 + r.IntN(120), Settings: warmpool.Settings{DisableProvisioning: true}}
		ec2 := &rooms{free: map[string]int{}, launched: map[string]int{}}
		ng := &ekssvc.Nodegroup{Resource: ekstypes.Nodegroup{NodegroupName: aws.String("ng"), ClusterName: aws.String("dev")}}
		for i := range 1 + r.IntN(4) {
			p := netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/%d", i, 25+r.IntN(4)))
			l.Subnets = append(l.Subnets, p)
			ng.Resource.Subnets = append(ng.Resource.Subnets, p.String())
			ec2.free[p.String()] = ipam.Size(p) - 5
		}
		want, err := ipsplan.Evaluate(l)
		if err != nil {
			t.Fatal(err)
		}
		lc := &Lifecycle{Config: Config{EC2: ec2, AutoScaling: untagged{}}}
		err = lc.launch(t.Context(), &ekssvc.Cluster{Resource: ekstypes.Cluster{Name: aws.String("dev")}}, ng, nil, l.Nodes)
		if (err != nil) != (want.LaunchError != "") {
			t.Errorf("%d nodes in %v: %v, planned was %q", l.Nodes, l.Subnets, err, want.LaunchError)
		}
		if err != nil {
			full++
		}
		planned := map[string]int{}
		for _, s := range want.Subnets {
			if s.Nodes > 0 {
				planned[s.CIDR.String()] = s.Nodes
			}
		}
		if d := cmp.Diff(planned, ec2.launched); d != "" {
			t.Errorf("%d nodes in %v (-plan +group):\n%s", l.Nodes, l.Subnets, d)
		}
	}
	if full < 20 {
		t.Errorf("in only %d layouts not all launch", full)
	}
}

// TestLaunchFailsForWhatWasWished: a launch that was tried before an update fails the
// group, not the update, which may ask for less.
func TestLaunchFailsForWhatWasWished(t *testing.T) {
	for name, c := range map[string]struct {
		tried int64 // the generation for which the launch was
		want  ekstypes.NodegroupStatus
	}{
		"for the update":    {2, ekstypes.NodegroupStatusDegraded},
		"before the update": {1, ekstypes.NodegroupStatusUpdating},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			ng := &ekssvc.Nodegroup{Scope: n.scope, ID: "1", Generation: 2, Resource: ekstypes.Nodegroup{
				ClusterName: aws.String("dev"), NodegroupName: aws.String("ng"), Status: ekstypes.NodegroupStatusUpdating,
			}}
			id := ekssvc.ChildID("dev", "ng")
			if err := n.Store.Update(n.ctx, func(tx *store.Tx) error { ekssvc.Nodegroups.Put(tx, n.scope, id, ng); return nil }); err != nil {
				t.Fatal(err)
			}
			tried := *ng
			tried.Generation = c.tried
			if err := n.launchFailed(n.ctx, &tried, &smithy.GenericAPIError{Code: "InsufficientFreeAddressesInSubnet"}); err != nil {
				t.Fatal(err)
			}
			if got := ekssvc.Nodegroups.Get(n.Store, n.scope, id).Resource.Status; got != c.want {
				t.Errorf("the group is %s, want %s", got, c.want)
			}
		})
	}
}
