package policy

import (
	"fmt"
	"testing"

	"github.com/ekslocal/ekslocal/fixtures/managedpolicies"
)

// BenchmarkDecide judges a request of a role with ten policies of AWS's, of which the
// last one allows it.
func BenchmarkDecide(b *testing.B) {
	var p Policies
	for _, name := range []string{
		"AmazonEKSClusterPolicy", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly",
		"service-role/AmazonEBSCSIDriverPolicy", "AmazonSSMManagedInstanceCore", "AmazonEKSServicePolicy", "AmazonEKSVPCResourceController",
		"AmazonEC2ContainerRegistryPullOnly", "CloudWatchAgentServerPolicy",
	} {
		m, ok := managedpolicies.ByARN("arn:aws:iam::aws:policy/" + name)
		if !ok {
			b.Fatal("no policy " + name)
		}
		d, err := Parse(string(m.Document))
		if err != nil {
			b.Fatal(err)
		}
		p.Identity = append(p.Identity, Policy{Name: name, Document: d})
	}
	session := Principal{ARN: "arn:aws:sts::111122223333:assumed-role/ops/s1", RoleARN: "arn:aws:iam::111122223333:role/ops", UserID: "AROAEXAMPLEROLE123456:s1", Account: "111122223333"}
	for _, action := range []string{"logs:CreateLogGroup", "ec2:CreateTags", "ec2:RunInstances"} {
		r := Request{
			Principal: session, Action: action, Resource: "arn:aws:ec2:us-east-1:111122223333:volume/vol-0123456789abcdef0",
			Context: map[string][]string{"aws:principaltag/team": {"a"}, "ec2:createaction": {"CreateVolume"}, "aws:requesttag/csivolumename": {"x"}},
		}
		b.Run(fmt.Sprint(action, "=", p.Decide(r).Outcome), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(r)
			}
		})
	}
}
