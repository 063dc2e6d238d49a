package autoscaling

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// TestAuthorization: policies such as cluster-autoscaler's know groups by ARN and tag,
// also where a request has nothing but an instance.
func TestAuthorization(t *testing.T) {
	f := newFixture(t)
	f.create("g", 0, 6, 1)
	i := f.settle("g", 1)[0]
	arn := f.FullARN(scope, "autoScalingGroup:*:autoScalingGroupName/g")
	if !strings.HasSuffix(arn, ":autoScalingGroupName/g") || strings.Contains(arn, "*") {
		t.Errorf("the group is %s", arn)
	}
	if got := f.FullARN(scope, "autoScalingGroup:*:instance/"+*i.InstanceId); got != arn {
		t.Errorf("its instance belongs to %s, want %s", got, arn)
	}
	if got, want := f.FullARN(scope, "autoScalingGroup:*:instance/i-none"), scope.ARN("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*"); got != want {
		t.Errorf("nobody's instance belongs to %s, want %s", got, want)
	}
	if got := f.FullARN(scope, "autoScalingGroup:*:autoScalingGroupName/none"); got != "" {
		t.Errorf("a group that is not there is %s", got)
	}
	a, err := awsid.ParseARN(arn)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := f.PolicyResource(a)
	if d := cmp.Diff(map[string]string{"Name": "node"}, r.Tags); d != "" || !ok {
		t.Errorf("tags: %v %s", ok, d)
	}
}
