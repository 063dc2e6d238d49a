package sts

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// granted is a directory whose roles have a policy.
type granted struct {
	directory
	documents map[string]string // by ARN
}

func (g granted) Entity(ctx context.Context, sc awsid.Scope, arn string) (policy.Entity, bool) {
	e, ok := g.directory.Entity(ctx, sc, arn)
	e.Policies = nil
	if doc, has := g.documents[arn]; has {
		d, err := policy.Parse(doc)
		if err != nil {
			panic(err)
		}
		e.Policies = []policy.Policy{{Name: "own", Document: d}}
	}
	return e, ok
}

// judge asks all policies, as the emulator's gate does.
type judge struct{ s *Service }

func (j judge) Judge(ctx context.Context, caller awsid.Caller, trust policy.Policy, owner string, r policy.Request) bool {
	p := policy.Policies{Resource: []policy.Policy{trust}, Trust: true, ByResource: true}
	if r.Principal.Service == "" {
		_, standing, _ := j.s.Standing(ctx, caller)
		p.Identity, p.Owner = standing.Identity, owner
	}
	d := p.Decide(r)
	return d.Allowed()
}

const podsTrust = `"Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]`

func TestChainedSession(t *testing.T) {
	const external = `,"Condition":{"StringEquals":{"sts:ExternalId":"eu-west-1/111122223333/dev/shop/cart"}}`
	d := directory{}
	d.add("pod", podsTrust, time.Hour)
	d.add("bare", podsTrust, time.Hour)
	d.add("elsewhere", podsTrust+`,"Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:eks:eu-west-1:111122223333:cluster/prod"}}`, time.Hour)
	account1 := `"Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":["sts:AssumeRole","sts:TagSession"]`
	d.add("target", account1, 12*time.Hour)
	d.add("guarded", account1+external, time.Hour)
	d.add("untagged", `"Principal":{"AWS":"arn:aws:iam::`+account+`:root"},"Action":"sts:AssumeRole"`, time.Hour)
	d.add("tagged", account1+`,"Condition":{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"shop","aws:RequestTag/kubernetes-namespace":"shop"}}`, time.Hour)
	d.add("other-shop", account1+`,"Condition":{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"bank"}}`, time.Hour)
	ctx, s, _ := newService(t, d, nil)
	s.iam = granted{d, map[string]string{
		*roleARN("pod"): `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"*"}}`,
	}}
	s.gate = judge{s}
	denied := func(action, role string) string {
		return "User: arn:aws:sts::111122223333:assumed-role/pod/eks-1 is not authorized to perform: " + action + " on resource: " + *roleARN(role)
	}
	for _, tt := range []struct{ name, role, target, externalID, message string }{
		{"a target that trusts the account", "pod", "target", "x", ""},
		{"a target that asks for the association's id", "pod", "guarded", "eu-west-1/111122223333/dev/shop/cart", ""},
		{"another association, the confused deputy", "pod", "guarded", "eu-west-1/111122223333/dev/shop/other", denied("sts:AssumeRole", "guarded")},
		{"a target that takes no tags", "pod", "untagged", "x", denied("sts:TagSession", "untagged")},
		{"a target by the tags", "pod", "tagged", "x", ""},
		{"a target of other tags", "pod", "other-shop", "x", denied("sts:AssumeRole", "other-shop")},
		{"no such target", "pod", "gone", "x", denied("sts:AssumeRole", "gone")},
		{"a role that may not assume roles", "bare", "target", "x", "User: arn:aws:sts::111122223333:assumed-role/bare/eks-1 is not authorized to perform: sts:AssumeRole on resource: " + *roleARN("target")},
		{"a role for another cluster", "elsewhere", "target", "x", "User: pods.eks.amazonaws.com is not authorized to perform: sts:AssumeRole on resource: " + *roleARN("elsewhere")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := ServiceRequest{
				Service: "pods.eks.amazonaws.com", RoleARN: *roleARN(tt.role), SessionName: "eks-1", Life: 6 * time.Hour, Operation: "AssumeRoleForPodIdentity",
				SourceARN: "arn:aws:eks:eu-west-1:111122223333:cluster/dev", Tags: map[string]string{"kubernetes-namespace": "shop"},
			}
			c, u, err := s.ChainedSession(ctx, in, *roleARN(tt.target), tt.externalID)
			if tt.message != "" {
				wantError(t, err, "AccessDenied", tt.message)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			v := sessions.Get(s.store, sessionScope, *c.AccessKeyId)
			if *u.Arn != "arn:aws:sts::111122223333:assumed-role/"+tt.target+"/eks-1" || v.Expires != start.Add(time.Hour) {
				t.Errorf("session = %s until %v", *u.Arn, v.Expires)
			}
			if d := cmp.Diff([]string{"kubernetes-namespace"}, v.Transitive); d != "" || v.Tags["kubernetes-namespace"] != "shop" {
				t.Errorf("tags = %v, transitive %v", v.Tags, v.Transitive)
			}
		})
	}
	if n := len(s.Sessions()); n != 3 {
		t.Errorf("%d sessions are stored, want those of the targets alone", n)
	}
}

// TestConfusedDeputy: who tricks a service into assuming a role of another customer
// has not that customer's external id.
func TestConfusedDeputy(t *testing.T) {
	d := directory{}
	d.add("external", `"Principal":{"AWS":"arn:aws:iam::`+other+`:root"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"42"}}`, time.Hour)
	ctx, s, _ := newService(t, d, nil)
	deputy := as(ctx, "arn:aws:iam::"+other+":root", other, other)
	for _, id := range []*string{nil, aws.String("43"), aws.String("4*"), aws.String("42 ")} {
		_, err := s.AssumeRole(deputy, &sts.AssumeRoleInput{RoleArn: roleARN("external"), RoleSessionName: aws.String("me"), ExternalId: id})
		if err == nil {
			t.Errorf("external id %v gets in", aws.ToString(id))
		}
	}
	if _, err := s.AssumeRole(deputy, &sts.AssumeRoleInput{RoleArn: roleARN("external"), RoleSessionName: aws.String("me"), ExternalId: aws.String("42")}); err != nil {
		t.Error(err)
	}
}
