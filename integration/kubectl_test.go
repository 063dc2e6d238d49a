package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "public.ecr.aws/nginx/nginx:1.29", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
`

// person is somebody with a kubeconfig of their own.
type person struct{ env []string }

func (p person) kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	return runTool(t, p.env, stdin, "kubectl", args...)
}

func (p person) ok(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := p.kubectl(t, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refused checks that kubectl fails with want in its message.
func (p person) refused(t *testing.T, want string, args ...string) {
	t.Helper()
	if out, err := p.kubectl(t, "", args...); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("kubectl %v: %q, %v; want %q", args, out, err, want)
	}
}

// TestKubectl is kubectl with kubeconfigs that the aws command and ours write, for
// the creator, a user without an access entry, and a role that may only look.
func TestKubectl(t *testing.T) {
	t.Parallel()
	tool(t, "kubectl")
	tool(t, "aws")
	w := newWorld(t, start(t))
	c := w.cluster(t, "dev")
	w.nodegroup(t, "dev", "ng", 1)
	dir := t.TempDir()

	creator := person{w.env(filepath.Join(dir, "creator"))}
	if out, err := runTool(t, creator.env, "", "aws", "eks", "update-kubeconfig", "--name", "dev"); err != nil || !strings.Contains(out, *c.Arn) {
		t.Fatalf("update-kubeconfig: %q, %v", out, err)
	}
	if out := creator.ok(t, "", "get", "nodes"); !regexp.MustCompile(`ip-10-0-\S+\s+Ready\s`).MatchString(out) {
		t.Errorf("get nodes: %s", out)
	}
	if out := creator.ok(t, "", "auth", "whoami"); !strings.Contains(out, "arn:aws:iam::000000000000:root") {
		t.Errorf("auth whoami: %s", out)
	}
	creator.ok(t, webManifest, "apply", "-f", "-")

	// From here with our own plugin, which starts faster.
	runCLI(t, w.emulator, creator.env, "kubeconfig", "dev", "--plugin", "ekslocal")
	creator.ok(t, "", "rollout", "status", "deployment/web", "--timeout=60s")
	if out := creator.ok(t, "", "auth", "can-i", "*", "*", "--all-namespaces"); strings.TrimSpace(out) != "yes" {
		t.Errorf("the creator can-i: %s", out)
	}
	t.Run("logs", func(t *testing.T) { kubectlLogs(t, creator) })
	t.Run("exec", func(t *testing.T) {
		if out := creator.ok(t, "", "exec", "deployment/web", "--", "echo", "hello"); out != "hello\n" {
			t.Errorf("exec: %q", out)
		}
		var exit *exec.ExitError
		if _, err := creator.kubectl(t, "", "exec", "deployment/web", "--", "sh", "-c", "exit 3"); !errors.As(err, &exit) || exit.ExitCode() != 3 {
			t.Errorf("exec of exit 3: %v", err)
		}
		if out := creator.ok(t, "from stdin\n", "exec", "-i", "deployment/web", "--", "cat"); out != "from stdin\n" {
			t.Errorf("exec -i cat: %q", out)
		}
	})
	t.Run("port-forward", func(t *testing.T) { kubectlPortForward(t, creator) })
	t.Run("no access entry", func(t *testing.T) { kubectlStranger(t, w, dir) })
	t.Run("view policy", func(t *testing.T) { kubectlViewer(t, w, dir) })
	t.Run("deletion", func(t *testing.T) {
		creator.ok(t, webManifest, "delete", "-f", "-", "--wait=true", "--timeout=60s")
		creator.refused(t, "NotFound", "get", "deployment", "web")
	})
}

// runCLI runs ekslocal against e.
func runCLI(t *testing.T, e *emulator, env []string, args ...string) string {
	t.Helper()
	out, err := runTool(t, env, "", e.binary, append(args, "--endpoint", e.endpoint)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func kubectlLogs(t *testing.T, p person) {
	if out := p.ok(t, "", "logs", "deployment/web"); !strings.Contains(strings.ToLower(out), "simulated") {
		t.Errorf("logs do not say that they are simulated: %q", out)
	}
	if out := p.ok(t, "", "logs", "deployment/web", "--tail=1", "--since=1h"); strings.Count(out, "\n") != 1 {
		t.Errorf("--tail=1: %q", out)
	}
	if out := p.ok(t, "", "logs", "deployment/web", "--since=1s", "--timestamps"); strings.Count(out, "\n") > 50 {
		t.Errorf("--since=1s: %q", out)
	}
	// -f goes on until the pod ends.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p.ok(t, "", "run", "brief", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo begin; sleep 1; echo end")
	p.ok(t, "", "wait", "pod/brief", "--for=jsonpath={.status.containerStatuses[0].containerID}", "--timeout=30s")
	cmd := exec.CommandContext(ctx, "kubectl", "logs", "-f", "brief")
	cmd.Env = p.env
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "begin\nend\n") {
		t.Errorf("logs -f: %q, %v", out, err)
	}
	p.refused(t, "previous terminated container", "logs", "deployment/web", "--previous")
}

func kubectlPortForward(t *testing.T, p person) {
	port := freePorts(t, 1)
	cmd := exec.Command("kubectl", "port-forward", "service/web", fmt.Sprintf("%d:80", port))
	var log lockedBuffer
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	eventually(t, 20*time.Second, "the forwarded port answers", func() error {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return fmt.Errorf("%w\n%s", err, log.String())
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(strings.ToLower(string(b)), "simulated") {
			return fmt.Errorf("%s %q, %v", r.Status, b, err)
		}
		return nil
	})
}

// kubectlStranger has valid keys of the account, but the cluster knows nothing of
// them until there is an access entry.
func kubectlStranger(t *testing.T, w *world, dir string) {
	ctx := t.Context()
	user := must(w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("bob")}))(t)
	key := must(w.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("bob")}))(t).AccessKey
	bob := person{append(w.env(filepath.Join(dir, "bob")), "AWS_ACCESS_KEY_ID="+*key.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+*key.SecretAccessKey)}
	runCLI(t, w.emulator, w.env(filepath.Join(dir, "bob")), "kubeconfig", "dev", "--plugin", "ekslocal")
	bob.refused(t, "Unauthorized", "auth", "can-i", "get", "pods")
	bob.refused(t, "You must be logged in to the server", "get", "pods")
	must(w.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: user.User.Arn}))(t)
	eventually(t, 20*time.Second, "bob is let in", func() error {
		_, err := bob.kubectl(t, "", "auth", "can-i", "create", "selfsubjectreviews")
		return err
	})
	bob.refused(t, `User "arn:aws:iam::000000000000:user/bob" cannot list resource "pods"`, "get", "pods")
}

// kubectlViewer assumes a role that has AmazonEKSViewPolicy.
func kubectlViewer(t *testing.T, w *world, dir string) {
	ctx := t.Context()
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"sts:AssumeRole"}]}`
	role := must(w.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("viewer"), AssumeRolePolicyDocument: &policy}))(t).Role.Arn
	must(w.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: role}))(t)
	must(w.eks.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{ClusterName: aws.String("dev"), PrincipalArn: role,
		PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}}))(t)
	viewer := person{w.env(filepath.Join(dir, "viewer"))}
	if out, err := runTool(t, viewer.env, "", "aws", "eks", "update-kubeconfig", "--name", "dev", "--role-arn", *role, "--alias", "viewer"); err != nil {
		t.Fatalf("update-kubeconfig: %q, %v", out, err)
	}
	if out := viewer.ok(t, "", "get", "pods", "--all-namespaces"); !strings.Contains(out, "aws-node-") {
		t.Errorf("get pods: %s", out)
	}
	runCLI(t, w.emulator, viewer.env, "kubeconfig", "dev", "--plugin", "ekslocal", "--role-arn", *role)
	viewer.refused(t, `cannot list resource "secrets" in API group "" in the namespace "kube-system"`, "-n", "kube-system", "get", "secrets")
	for what, want := range map[string]string{"list pods": "yes", "get pods/log": "yes", "list secrets": "no", "delete pods": "no", "create pods/exec": "no"} {
		verb, resource, _ := strings.Cut(what, " ")
		// can-i exits with 1 where the answer is no.
		if out, _ := viewer.kubectl(t, "", "auth", "can-i", verb, resource); strings.TrimSpace(out) != want {
			t.Errorf("the viewer can-i %s: %q, want %s", what, out, want)
		}
	}
}
