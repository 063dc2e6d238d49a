package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// control is a kind cluster without nodes.
type control struct {
	*world
	cluster *ekstypes.Cluster
	k       *kubernetes.Clientset
	node    string // the container of the control plane
	inside  string // AWS's endpoint for containers
	role    string // of IRSA, which may read the parameter
}

// TestKindControl is what of AWS a real control plane has around it: EKS's own webhooks,
// logs in CloudWatch, AWS's APIs for pods, through restarts of container and emulator.
func TestKindControl(t *testing.T) {
	image := nodeImage(t)
	t.Parallel()
	c := &control{world: newWorld(t, startAs(t, "--no-spare", "--backend", "kind", "--kind-node-image", image))}
	all := ekstypes.LogType("").Values()
	c.cluster = c.world.cluster(t, "real", func(in *eks.CreateClusterInput) {
		in.Logging = &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Enabled: aws.Bool(true), Types: all}}}
	})
	t.Cleanup(func() { removeContainers(t, c.cluster) })
	c.k, _ = c.kubernetes(t, c.cluster)
	c.node = containersOf(t, c.cluster)[0]
	c.inside = c.status().ContainerEndpoint
	if c.inside == "" || c.inside == c.endpoint {
		t.Fatalf("the endpoint for containers is %q", c.inside)
	}
	t.Run("endpoint", c.endpointInside)
	t.Run("pod identity", c.podIdentity)
	t.Run("security groups for pods", c.podSecurityGroups)
	t.Run("logs", c.logs)
	t.Run("revocation", c.revocation)
	t.Run("container restarts", func(t *testing.T) {
		c.docker(t, "restart", c.node)
		eventually(t, 2*time.Minute, "pods get their identity", func() error { return c.admitted(t.Context(), "reader", c.inside) })
		c.audited(t, "after-docker-restart")
	})
	t.Run("emulator is away", c.emulatorAway)
	c.remove(t)
}

func (c *control) docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %v: %v: %s", args, err, out)
	}
	return string(out)
}

// endpointInside: AWS's APIs with signatures and permissions as on the main endpoint, and
// nothing of the emulator's own.
func (c *control) endpointInside(t *testing.T) {
	ctx := t.Context()
	as := func(key, secret string) aws.Config {
		cfg := c.config()
		cfg.BaseEndpoint, cfg.Credentials = &c.inside, credentials.NewStaticCredentialsProvider(key, secret, "")
		cfg.RetryMaxAttempts = 1
		return cfg
	}
	who := must(sts.NewFromConfig(as("test", "test")).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))(t)
	if *who.Arn != "arn:aws:iam::000000000000:root" {
		t.Errorf("the caller is %s", *who.Arn)
	}
	if _, err := sts.NewFromConfig(as("AKIANOBODY", "x")).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err == nil || !strings.Contains(err.Error(), "InvalidClientTokenId") {
		t.Errorf("a key that nobody has: %v", err)
	}
	must(c.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("nobody")}))(t)
	key := must(c.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("nobody")}))(t).AccessKey
	if _, err := eks.NewFromConfig(as(*key.AccessKeyId, *key.SecretAccessKey)).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: c.cluster.Name}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("a user without permissions: %v", err)
	}
	d := must(eks.NewFromConfig(as("test", "test")).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: c.cluster.Name}))(t)
	if *d.Cluster.Arn != *c.cluster.Arn {
		t.Errorf("the cluster is %s", *d.Cluster.Arn)
	}
	for path, want := range map[string]int{"/_ekslocal/status": 404, "/_ekslocal/reset": 404, "/metrics": 404, "/clusters/" + strings.Repeat("0", 32) + "/x/authenticate": 403} {
		r := must(http.Post(c.inside+path, "application/json", strings.NewReader("{}")))(t)
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, r.StatusCode, want)
		}
	}
	// And from a container.
	host := strings.TrimPrefix(c.inside, "http://")
	name, port, _ := strings.Cut(host, ":")
	out := c.docker(t, "exec", c.node, "bash", "-c", `exec 3<>/dev/tcp/`+name+`/`+port+`; printf 'GET / HTTP/1.0\r\nHost: `+host+`\r\n\r\n' >&3; cat <&3`)
	if !strings.Contains(out, "AWS_ENDPOINT_URL="+c.inside) {
		t.Errorf("a container reads %s", out)
	}
}

// podFor is a pod of a service account; nothing of it is stored.
func (c *control) podFor(ctx context.Context, account string, change ...func(*corev1.Pod)) (*corev1.Pod, error) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"}, Spec: corev1.PodSpec{
		ServiceAccountName: account, Containers: []corev1.Container{{Name: "x", Image: "x"}},
	}}
	for _, f := range change {
		f(p)
	}
	return c.k.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func variable(p *corev1.Pod, name string) string {
	for _, e := range p.Spec.Containers[0].Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// admitted tells whether a pod of the account is told its role and where AWS is.
func (c *control) admitted(ctx context.Context, account, endpoint string) error {
	p, err := c.podFor(ctx, account)
	if err == nil && (variable(p, "AWS_ENDPOINT_URL") != endpoint || variable(p, "AWS_ROLE_ARN") != c.role) {
		err = fmt.Errorf("it has the variables %v", p.Spec.Containers[0].Env)
	}
	return err
}

func (c *control) podIdentity(t *testing.T) {
	ctx := t.Context()
	issuer := strings.TrimPrefix(*c.cluster.Identity.Oidc.Issuer, "https://")
	provider := must(c.iam.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: c.cluster.Identity.Oidc.Issuer, ClientIDList: []string{"sts.amazonaws.com"},
	}))(t).OpenIDConnectProviderArn
	trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":%q},"Action":"sts:AssumeRoleWithWebIdentity",
		"Condition":{"StringEquals":{%q:"system:serviceaccount:default:reader"}}}]}`, *provider, issuer+":sub")
	c.role = *must(c.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("reader"), AssumeRolePolicyDocument: &trust}))(t).Role.Arn
	may := aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"*"}}`)
	must(c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("reader"), PolicyName: aws.String("read"), PolicyDocument: may}))(t)
	must(c.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String(parameter), Value: aws.String("hunter2"), Type: ssmtypes.ParameterTypeString}))(t)
	account := func(name string, annotations map[string]string) {
		t.Helper()
		must(c.k.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}, metav1.CreateOptions{}))(t)
	}
	account("reader", map[string]string{"eks.amazonaws.com/role-arn": c.role})
	eventually(t, 20*time.Second, "pods of the account are told their role", func() error { return c.admitted(ctx, "reader", c.inside) })

	// What the pod's SDK does with it, from the bridge.
	token := must(c.k.CoreV1().ServiceAccounts("default").CreateToken(ctx, "reader", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"sts.amazonaws.com"}},
	}, metav1.CreateOptions{}))(t).Status.Token
	cfg := c.config()
	cfg.BaseEndpoint, cfg.Credentials = &c.inside, aws.AnonymousCredentials{}
	session := must(sts.NewFromConfig(cfg).AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &c.role, RoleSessionName: aws.String("pod"), WebIdentityToken: &token,
	}))(t).Credentials
	cfg.Credentials = credentials.NewStaticCredentialsProvider(*session.AccessKeyId, *session.SecretAccessKey, *session.SessionToken)
	got := must(ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(parameter)}))(t)
	if *got.Parameter.Value != "hunter2" {
		t.Errorf("the parameter is %s", *got.Parameter.Value)
	}

	account("associated", nil)
	podRole := *must(c.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("pods"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`)}))(t).Role.Arn
	must(c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("pods"), PolicyName: aws.String("read"), PolicyDocument: may}))(t)
	must(c.eks.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{ClusterName: c.cluster.Name, Namespace: aws.String("default"), ServiceAccount: aws.String("associated"), RoleArn: &podRole}))(t)
	eventually(t, 20*time.Second, "pods of the associated account are told of the agent", func() error {
		p, err := c.podFor(ctx, "associated")
		if err == nil && (variable(p, "AWS_CONTAINER_CREDENTIALS_FULL_URI") != "http://169.254.170.23/v1/credentials" || variable(p, "AWS_ENDPOINT_URL") != c.inside) {
			err = fmt.Errorf("it has the variables %v", p.Spec.Containers[0].Env)
		}
		return err
	})
	eventually(t, 20*time.Second, "the default account is there", func() error {
		p, err := c.podFor(ctx, "default")
		if err == nil && len(p.Spec.Containers[0].Env) > 0 {
			t.Errorf("a pod without a role has %v", p.Spec.Containers[0].Env)
		}
		return err
	})
}

// podSecurityGroups asks the VPC resource controller's two webhooks.
func (c *control) podSecurityGroups(t *testing.T) {
	ctx := t.Context()
	_, err := c.podFor(ctx, "reader", func(p *corev1.Pod) { p.Annotations = map[string]string{"vpc.amazonaws.com/pod-eni": "[]"} })
	if err == nil || !strings.Contains(err.Error(), "pod cannot be created with vpc.amazonaws.com/pod-eni annotation") {
		t.Errorf("a forged annotation: %v", err)
	}
	group := *must(c.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("pods"), Description: aws.String("pods"), VpcId: &c.vpc}))(t).GroupId
	_, rc := c.kubernetes(t, c.cluster)
	policies := must(dynamic.NewForConfig(rc))(t).Resource(schema.GroupVersionResource{Group: "vpcresources.k8s.aws", Version: "v1beta1", Resource: "securitygrouppolicies"})
	must(policies.Namespace("default").Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "vpcresources.k8s.aws/v1beta1", "kind": "SecurityGroupPolicy", "metadata": map[string]any{"name": "guarded"},
		"spec": map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{"role": "guarded"}}, "securityGroups": map[string]any{"groupIds": []any{group}}},
	}}, metav1.CreateOptions{}))(t)
	eventually(t, 20*time.Second, "the pod asks for a branch interface", func() error {
		p, err := c.podFor(ctx, "reader", func(p *corev1.Pod) { p.Labels = map[string]string{"role": "guarded"} })
		if err == nil {
			if limit := p.Spec.Containers[0].Resources.Limits["vpc.amazonaws.com/pod-eni"]; limit.Value() != 1 {
				err = fmt.Errorf("its limits are %v", p.Spec.Containers[0].Resources.Limits)
			}
		}
		return err
	})
}

// matching are the delivered lines of the streams whose names begin so.
func (c *control) matching(ctx context.Context, stream, pattern string) (lines []string, err error) {
	p := cloudwatchlogs.NewFilterLogEventsPaginator(cloudwatchlogs.NewFromConfig(c.config()), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: aws.String("/aws/eks/real/cluster"), LogStreamNamePrefix: &stream, FilterPattern: &pattern,
	})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			lines = append(lines, *e.Message)
		}
	}
	return lines, nil
}

// namespaced counts the audit events of a namespace's creation.
func (c *control) namespaced(ctx context.Context, name string) (int, error) {
	lines, err := c.matching(ctx, "kube-apiserver-audit-",
		`{ $.verb = "create" && $.objectRef.resource = "namespaces" && $.objectRef.name = "`+name+`" && $.stage = "ResponseComplete" && $.level = "RequestResponse" }`)
	return len(lines), err
}

// audited makes a namespace and waits until the audit log tells of it once.
func (c *control) audited(t *testing.T, name string) {
	t.Helper()
	must(c.k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
	c.auditedOnce(t, name)
}

func (c *control) auditedOnce(t *testing.T, name string) {
	t.Helper()
	eventually(t, 20*time.Second, "the audit log has the namespace "+name, func() error {
		n, err := c.namespaced(t.Context(), name)
		if err != nil {
			return err
		}
		return once(n)
	})
}

func (c *control) logs(t *testing.T) {
	ctx := t.Context()
	c.audited(t, "first")
	for stream, pattern := range map[string]string{
		"kube-apiserver-": `"Serving securely on"`, "kube-controller-manager-": `"Starting controller"`, "kube-scheduler-": `"Starting Kubernetes Scheduler"`,
		"authenticator-": `"access granted" "arn:aws:iam::000000000000:root"`,
	} {
		eventually(t, 20*time.Second, stream+" has "+pattern, func() error {
			lines, err := c.matching(ctx, stream, pattern)
			if err == nil && len(lines) == 0 {
				err = errors.New("no such line")
			}
			return err
		})
	}
	streams := must(cloudwatchlogs.NewFromConfig(c.config()).DescribeLogStreams(ctx, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String("/aws/eks/real/cluster")}))(t)
	var names []string
	for _, s := range streams.LogStreams {
		names = append(names, (*s.LogStreamName)[:strings.LastIndex(*s.LogStreamName, "-")])
	}
	slices.Sort(names)
	if want := []string{"authenticator", "kube-apiserver", "kube-apiserver-audit", "kube-controller-manager", "kube-scheduler"}; !slices.Equal(names, want) {
		t.Errorf("the streams are %v", names)
	}
	set := func(enabled bool) {
		t.Helper()
		must(c.eks.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{Name: c.cluster.Name, Logging: &ekstypes.Logging{
			ClusterLogging: []ekstypes.LogSetup{{Enabled: &enabled, Types: []ekstypes.LogType{ekstypes.LogTypeAudit}}},
		}}))(t)
		c.clusterIs(t, "real", ekstypes.ClusterStatusActive)
	}
	set(false)
	must(c.k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "silent"}}, metav1.CreateOptions{}))(t)
	set(true)
	c.audited(t, "second")
	if n, err := c.namespaced(ctx, "silent"); n != 0 || err != nil {
		t.Errorf("%d events of the time without logging, %v", n, err)
	}
}

// revocation: a token that was good stops to be within what kube-apiserver remembers.
func (c *control) revocation(t *testing.T) {
	ctx := t.Context()
	user := must(c.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("leaver")}))(t).User.Arn
	key := must(c.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("leaver")}))(t).AccessKey
	must(c.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: c.cluster.Name, PrincipalArn: user}))(t)
	must(c.eks.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{ClusterName: c.cluster.Name, PrincipalArn: user,
		PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}}))(t)
	leaver := *c.world
	cfg := c.config()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(*key.AccessKeyId, *key.SecretAccessKey, "")
	leaver.sts = sts.NewFromConfig(cfg)
	k, _ := leaver.kubernetes(t, c.cluster)
	list := func() error {
		_, err := k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err
	}
	eventually(t, 20*time.Second, "the user lists pods", list)
	must(c.eks.DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: c.cluster.Name, PrincipalArn: user}))(t)
	began := time.Now()
	if err := poll(time.Minute, func() error {
		if err := list(); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("%w, want Unauthorized", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("revoked after %s", took.Round(10*time.Millisecond))
	if took > 12*time.Second {
		t.Errorf("the token was good for %s more", took)
	}
}

// emulatorAway: while nobody answers, the control plane works on, and nothing of its logs
// is lost or comes twice.
func (c *control) emulatorAway(t *testing.T) {
	kubectl := func(args ...string) string {
		return c.docker(t, append([]string{"exec", c.node, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"}, args...)...)
	}
	c.kill()
	kubectl("create", "namespace", "third")
	kubectl("run", "unseen", "--image=x", "--dry-run=server") // EKS's webhooks fail open
	c.tellsNoSecret(t)
	c.run()
	c.cluster = c.clusterIs(t, "real", ekstypes.ClusterStatusActive)
	c.k, _ = c.kubernetes(t, c.cluster)
	c.auditedOnce(t, "third")
	for _, ns := range []string{"first", "second", "after-docker-restart"} {
		c.auditedOnce(t, ns)
	}
	if now := c.status().ContainerEndpoint; now != c.inside {
		t.Errorf("pods were told %s, the emulator is at %s", c.inside, now)
	}
	eventually(t, time.Minute, "pods get their identity", func() error { return c.admitted(t.Context(), "reader", c.inside) })
}

// tellsNoSecret: whom RBAC does not allow gets the error of the webhook, and the log too.
func (c *control) tellsNoSecret(t *testing.T) {
	records := must(filepath.Glob(filepath.Join(c.dataDir, "kind", "*", "record.json")))(t)
	if len(records) != 1 {
		t.Fatalf("records %v", records)
	}
	var r struct{ Secret string }
	if err := json.Unmarshal(must(os.ReadFile(records[0]))(t), &r); err != nil || r.Secret == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	out, err := exec.Command("docker", "exec", c.node, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--as=nobody", "get", "pods").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "InternalError") || !strings.Contains(string(out), "/authorize") {
		t.Errorf("somebody without permissions hears %s, %v", out, err)
	}
	log := c.docker(t, "exec", c.node, "sh", "-c", "cat /var/log/pods/kube-system_kube-apiserver-*/kube-apiserver/*.log")
	if !strings.Contains(log, "Failed to make webhook authorizer request") {
		t.Error("the API server's log does not have the error")
	}
	if strings.Contains(string(out)+log, r.Secret) {
		t.Error("the API server tells the secret by which it is known")
	}
}

// remove deletes everything, down to the last container.
func (c *control) remove(t *testing.T) {
	ctx := t.Context()
	eventually(t, 2*time.Minute, "the cluster can be deleted", func() error {
		_, err := c.eks.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: c.cluster.Name})
		return err
	})
	eventually(t, time.Minute, "the containers are gone", func() error {
		if left := containersOf(t, c.cluster); len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
}
