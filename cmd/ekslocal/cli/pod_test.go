package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/api/admin"
)

func servedPod() *admin.PodCredentials {
	until := time.Date(2026, 5, 1, 11, 0, 0, 0, time.UTC)
	return &admin.PodCredentials{
		Cluster: "dev", Namespace: "shop", Pod: "cart-1", Container: "app", ServiceAccount: "cart", Node: "ip-10-0-0-5.ec2.internal",
		Steps: []admin.CredentialStep{
			{Name: "environment", Outcome: admin.StepSkipped, Text: "no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the container"},
			{Name: "sts", Outcome: admin.StepDone, Text: "AssumeRoleWithWebIdentity: the provider knows the token, and the role trusts it"},
		},
		Identity: &admin.CredentialIdentity{
			ARN: "arn:aws:sts::111122223333:assumed-role/cart/x", Policies: []string{"read (inline)", "arn:aws:iam::aws:policy/AmazonSQSReadOnlyAccess"},
			Tags: []string{"team=a"}, Expires: &until,
		},
		Credentials: &admin.Credentials{AccessKeyID: "ASIA1", SecretAccessKey: "sec'ret", SessionToken: "token=="},
	}
}

func refusedPod() *admin.PodCredentials {
	return &admin.PodCredentials{
		Cluster: "dev", Namespace: "shop", Pod: "stranger", Container: "app", ServiceAccount: "default",
		Steps: []admin.CredentialStep{
			{Name: "webhook", Outcome: admin.StepWarned, Text: "the pod is older than that"},
			{Name: "sts", Outcome: admin.StepRefused, Text: "AssumeRoleWithWebIdentity: the condition does not hold",
				Error: "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity", Mend: []string{"correct the condition, or", "add a statement"}},
		},
	}
}

func TestRenderPodCredentials(t *testing.T) {
	bare := servedPod()
	bare.Identity = &admin.CredentialIdentity{ARN: "arn:aws:sts::111122223333:assumed-role/node/i-1"}
	for name, c := range map[string]*admin.PodCredentials{"pod-served": servedPod(), "pod-refused": refusedPod(), "pod-bare": bare} {
		var out bytes.Buffer
		if err := renderPodCredentials(&out, c); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".golden", out.Bytes())
	}
	var out bytes.Buffer
	if err := exportCredentials(&out, servedPod().Credentials); err != nil {
		t.Fatal(err)
	}
	if want := "export AWS_ACCESS_KEY_ID='ASIA1'\nexport AWS_SECRET_ACCESS_KEY='sec'\\''ret'\nexport AWS_SESSION_TOKEN='token=='\n"; out.String() != want {
		t.Errorf("exported:\n%s", out.String())
	}
}
