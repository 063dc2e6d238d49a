package emulator

import (
	"testing"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

func TestPassed(t *testing.T) {
	type states = []ec2types.InstanceStateName
	for _, tc := range []struct {
		from, to ec2types.InstanceStateName
		want     states
	}{
		{"", "running", states{"pending", "running"}},
		{"", "pending", states{"pending"}},
		{"pending", "running", states{"running"}},
		{"running", "terminated", states{"shutting-down", "terminated"}},
		{"running", "stopped", states{"stopping", "stopped"}},
		{"stopped", "running", states{"pending", "running"}},
		{"pending", "terminated", states{"shutting-down", "terminated"}},
		{"", "terminated", states{"terminated"}},
	} {
		if d := cmp.Diff(tc.want, passed(tc.from, tc.to)); d != "" {
			t.Errorf("from %q to %q (-want +got):\n%s", tc.from, tc.to, d)
		}
	}
}
