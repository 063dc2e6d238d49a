package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

const accountWorkload = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  serviceAccountName: %[2]s
  terminationGracePeriodSeconds: 0
  containers:
    - name: web
      image: docker.io/library/busybox:latest
      imagePullPolicy: IfNotPresent
      command: [sleep, "3600"]
`

// credentials: AWS's SDK, unmodified and in a real pod, acts as its service account's
// role, by IRSA and by EKS Pod Identity, and as nobody where there is none.
func (k *kindPods) credentials(t *testing.T) {
	ctx := t.Context()
	s := &shop{world: k.world, k: k.kube, admin: k.person, cluster: k.cluster, issuer: strings.TrimPrefix(*k.cluster.Identity.Oidc.Issuer, "https://")}
	must(s.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String(parameter), Value: aws.String("hunter2"), Type: ssmtypes.ParameterTypeString}))(t)
	provider := must(s.iam.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: k.cluster.Identity.Oidc.Issuer, ClientIDList: []string{"sts.amazonaws.com"},
	}))(t).OpenIDConnectProviderArn
	irsa := s.readerRole(t, "reader-irsa", fmt.Sprintf(`{"Effect":"Allow","Principal":{"Federated":%q},"Action":"sts:AssumeRoleWithWebIdentity",
		"Condition":{"StringEquals":{%q:"system:serviceaccount:default:irsa",%q:"sts.amazonaws.com"}}}`, *provider, s.issuer+":sub", s.issuer+":aud"), parameter)
	associated := s.readerRole(t, "reader-pods", `{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}`, parameter)
	for _, account := range []string{"irsa", "stranger", "associated"} {
		k.ok(t, "", "create", "serviceaccount", account)
	}
	for _, account := range []string{"irsa", "stranger"} { // whom the role's trust policy does not name
		k.ok(t, "", "annotate", "serviceaccount", account, "eks.amazonaws.com/role-arn="+irsa)
	}
	must(k.eks.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: k.cluster.Name, Namespace: aws.String("default"), ServiceAccount: aws.String("associated"), RoleArn: &associated,
	}))(t)
	program := buildReader(t)
	for _, c := range []struct{ account, want, refused string }{
		{account: "irsa", want: "arn:aws:sts::000000000000:assumed-role/reader-irsa/"},
		{account: "associated", want: "arn:aws:sts::000000000000:assumed-role/reader-pods/"},
		{account: "stranger", refused: "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
	} {
		t.Run(c.account, func(t *testing.T) {
			k.ok(t, fmt.Sprintf(accountWorkload, "as-"+c.account, c.account), "apply", "-f", "-")
			k.kindPod(t, "as-"+c.account)
			k.bring(t, "as-"+c.account, program)
			out, err := k.person.kubectl(t, "", "exec", "as-"+c.account, "--", "/tmp/reader", parameter)
			if c.refused != "" {
				if err == nil || !strings.Contains(out+err.Error(), c.refused) {
					t.Errorf("%s, %v", out, err)
				}
				return
			}
			if lines := strings.Split(strings.TrimSpace(out), "\n"); err != nil || len(lines) != 2 || !strings.HasPrefix(lines[0], c.want) || lines[1] != "hunter2" {
				t.Errorf("%s, %v", out, err)
			}
		})
	}
	k.ok(t, "", "delete", "pod", "as-irsa", "as-associated", "as-stranger", "--wait=false")
}

// buildReader compiles the pods' program.
func buildReader(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "reader")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "./kind/reader")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return out
}

// bring puts a program into a pod whose image has no tar.
func (k *kindPods) bring(t *testing.T, pod, program string) {
	t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the program is in the pod", func() error {
		_, err := k.person.kubectl(t, string(b), "exec", "-i", pod, "--", "sh", "-c", "cat >/tmp/reader.new && [ -s /tmp/reader.new ] && busybox chmod 755 /tmp/reader.new && busybox mv /tmp/reader.new /tmp/reader")
		return err
	})
}
