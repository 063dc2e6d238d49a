package enforce

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/gateway/authorize"
)

// launcher is the Directory of EC2, whose requests may leave to a launch template what
// IAM is asked about.
type launcher interface {
	Launches(sc awsid.Scope, in any) []*ec2.RunInstancesInput
}

// launches are the questions of the instances that a call of EC2 launches: those of
// RunInstances, also for CreateFleet ("EC2 Fleet permissions").
func (g *Gate) launches(c gateway.Call) []authorize.Check {
	d, ok := g.Directory("ec2").(launcher)
	if !ok {
		return nil
	}
	var out []authorize.Check
	for _, in := range d.Launches(c.Caller.Scope, c.Input) {
		for _, check := range authorize.Checks("ec2", "RunInstances", c.Caller, in, names(g.Directory)) {
			if create := check.Keys["ec2:createaction"]; create != nil {
				create[0] = c.Operation
			}
			same := func(o authorize.Check) bool {
				return o.Action == check.Action && o.Resource == check.Resource && equal(o.Keys, check.Keys)
			}
			if !slices.ContainsFunc(out, same) {
				out = append(out, check)
			}
		}
	}
	return out
}

func equal(a, b map[string][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if !slices.Equal(v, b[k]) {
			return false
		}
	}
	return true
}
