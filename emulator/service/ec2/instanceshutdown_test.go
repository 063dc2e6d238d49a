package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestShutDown: what a shutdown inside an instance makes of it depends on how it was
// launched.
func TestShutDown(t *testing.T) {
	f := newFixture(t)
	sub := f.subnet(f.vpc("10.0.0.0/16"), "10.0.0.0/24", "us-east-1a")
	for name, c := range map[string]struct {
		change func(in *ec2.RunInstancesInput)
		want   types.InstanceStateName
	}{
		"by default": {func(*ec2.RunInstancesInput) {}, types.InstanceStateNameStopped},
		"told to terminate": {func(in *ec2.RunInstancesInput) {
			in.InstanceInitiatedShutdownBehavior = types.ShutdownBehaviorTerminate
		}, types.InstanceStateNameTerminated},
		"a one-time request": {func(in *ec2.RunInstancesInput) {
			in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
		}, types.InstanceStateNameTerminated},
	} {
		in := &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &sub, ImageId: f.image(), InstanceType: "m5.large"}
		c.change(in)
		id := *must(f.RunInstances(f.ctx, in))(t).Instances[0].InstanceId
		f.settle()
		if err := f.ShutDown(f.ctx, f.sc, id); err != nil {
			t.Fatal(err)
		}
		if i := Instances.Get(f.store, f.sc, id); aws.ToString(i.StateReason.Code) != "Client.InstanceInitiatedShutdown" {
			t.Errorf("%s: reason %+v", name, i.StateReason)
		}
		f.settle()
		i := Instances.Get(f.store, f.sc, id)
		if i.State.Name != c.want {
			t.Errorf("%s: it is %s, want %s", name, i.State.Name, c.want)
		}
		// What does not run, or is not there, is left alone.
		if err := f.ShutDown(f.ctx, f.sc, id); err != nil || Instances.Get(f.store, f.sc, id).State.Name != c.want {
			t.Errorf("%s: again: %v", name, err)
		}
	}
	if err := f.ShutDown(f.ctx, f.sc, "i-00000000000000bad"); err != nil {
		t.Error(err)
	}
}
