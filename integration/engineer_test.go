package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

const teamRole = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: team-a}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: team-a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}
`

// TestEngineer is an engineer with the aws CLI and kubectl on the day they are given
// access to one namespace, by an access entry and then by aws-auth: 401, 403, and
// exactly what they may do.
func TestEngineer(t *testing.T) {
	t.Parallel()
	tool(t, "aws")
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	ctx := t.Context()
	w.cluster(t, "dev", func(in *eks.CreateClusterInput) {
		in.Logging = &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Enabled: aws.Bool(true), Types: []ekstypes.LogType{ekstypes.LogTypeAuthenticator}}}}
	})
	dir := t.TempDir()
	admin := person{w.env(filepath.Join(dir, "admin"))}
	adminCLI := newAWS(t, admin.env)
	adminCLI.ok(t, "eks", "update-kubeconfig", "--name", "dev")
	admin.ok(t, "", "create", "namespace", "team-a")

	ann := w.iamUser(t, "ann")
	must(w.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("ann"), PolicyName: aws.String("find-clusters"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"eks:DescribeCluster","Resource":"*"}]}`)}))(t)
	engineer := person{ann.env(w, filepath.Join(dir, "ann"))}
	cli := newAWS(t, engineer.env)
	cli.ok(t, "eks", "update-kubeconfig", "--name", "dev")

	const unauthorized = "You must be logged in to the server"
	engineer.refused(t, unauthorized, "get", "pods", "-n", "team-a")
	eventually(t, 15*time.Second, "the delivered authenticator log says who was denied and why", func() error {
		out := adminCLI.text(t, "events[].message", "logs", "filter-log-events", "--log-group-name", "/aws/eks/dev/cluster", "--log-stream-name-prefix", "authenticator-", "--filter-pattern", `"access denied"`)
		for _, part := range []string{`arn="` + ann.arn + `"`, "ARN is not mapped", "level=warning"} {
			if !strings.Contains(out, part) {
				return fmt.Errorf("it says %q", out)
			}
		}
		return nil
	})

	// From here with our own plugin, which starts faster.
	runCLI(t, w.emulator, w.env(filepath.Join(dir, "ann")), "kubeconfig", "dev", "--plugin", "ekslocal")
	runCLI(t, w.emulator, admin.env, "kubeconfig", "dev", "--plugin", "ekslocal")

	// exactly is what reading the pods of one namespace means.
	exactly := func(who string) {
		t.Helper()
		eventually(t, 2*time.Second, "the namespace is theirs to look at", func() error {
			_, err := engineer.kubectl(t, "", "get", "pods", "-n", "team-a")
			return err
		})
		for _, args := range [][]string{
			{"get", "pods", "-n", "default"}, {"get", "pods", "--all-namespaces"}, {"get", "secrets", "-n", "team-a"}, {"get", "nodes"},
			{"create", "configmap", "x", "-n", "team-a"},
		} {
			engineer.refused(t, `User "`+who+`" cannot `, args...)
		}
		for q, want := range map[string]string{"list pods -n team-a": "yes", "list pods -n default": "no", "delete pods -n team-a": "no", "get secrets -n team-a": "no"} {
			if out, _ := engineer.kubectl(t, "", append([]string{"auth", "can-i"}, strings.Fields(q)...)...); strings.TrimSpace(out) != want {
				t.Errorf("can-i %s: %q, want %s", q, out, want)
			}
		}
	}
	entry := []string{"--cluster-name", "dev", "--principal-arn", ann.arn}
	adminCLI.ok(t, append([]string{"eks", "create-access-entry"}, entry...)...)
	eventually(t, 2*time.Second, "known, without rights", func() error {
		_, err := engineer.kubectl(t, "", "get", "pods", "-n", "team-a")
		if err == nil || !strings.Contains(err.Error(), `User "`+ann.arn+`" cannot list resource "pods" in API group "" in the namespace "team-a"`) {
			return fmt.Errorf("want 403, got %w", err)
		}
		return nil
	})
	view := []string{"--policy-arn", "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"}
	adminCLI.ok(t, append(append([]string{"eks", "associate-access-policy", "--access-scope", "type=namespace,namespaces=team-a"}, entry...), view...)...)
	exactly(ann.arn)
	adminCLI.ok(t, append([]string{"eks", "delete-access-entry"}, entry...)...)
	eventually(t, 2*time.Second, "a stranger again", func() error {
		if _, err := engineer.kubectl(t, "", "get", "pods", "-n", "team-a"); err == nil || !strings.Contains(err.Error(), unauthorized) {
			return fmt.Errorf("want 401, got %w", err)
		}
		return nil
	})

	// The same, the old way.
	admin.ok(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: aws-auth, namespace: kube-system}\ndata:\n  mapUsers: |\n    - {userarn: '"+ann.arn+"', username: ann, groups: [readers]}\n", "apply", "-f", "-")
	eventually(t, 2*time.Second, "known, without rights", func() error {
		_, err := engineer.kubectl(t, "", "get", "pods", "-n", "team-a")
		if err == nil || !strings.Contains(err.Error(), `User "ann" cannot list resource "pods"`) {
			return fmt.Errorf("want 403, got %w", err)
		}
		return nil
	})
	admin.ok(t, teamRole, "apply", "-f", "-")
	exactly("ann")
	admin.ok(t, "", "delete", "configmap", "aws-auth", "-n", "kube-system")
	eventually(t, 2*time.Second, "a stranger again", func() error {
		if _, err := engineer.kubectl(t, "", "get", "pods", "-n", "team-a"); err == nil || !strings.Contains(err.Error(), unauthorized) {
			return fmt.Errorf("want 401, got %w", err)
		}
		return nil
	})
}
