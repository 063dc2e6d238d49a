package integration

import (
	"crypto/sha1" //nolint:gosec // what AWS's thumbprints are
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ekslocal/ekslocal/api/admin"
)

// shop is a cluster with one node, a secret that some pods may read, and the tools of
// its administrator.
type shop struct {
	*world
	k       *kube
	admin   person
	aws     *awsCLI
	cluster *ekstypes.Cluster
	issuer  string // without its scheme
}

const parameter = "/shop/db"

func newShop(t *testing.T) *shop {
	t.Helper()
	tool(t, "kubectl")
	w := newWorld(t, start(t))
	c := w.cluster(t, "dev")
	w.nodegroup(t, "dev", "ng", 1)
	s := &shop{world: w, k: w.kube(t, c), cluster: c, issuer: strings.TrimPrefix(*c.Identity.Oidc.Issuer, "https://")}
	s.admin = person{w.env(filepath.Join(t.TempDir(), "kubeconfig"))}
	s.aws = newAWS(t, s.admin.env)
	s.aws.ok(t, "eks", "update-kubeconfig", "--name", "dev")
	must(s.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String(parameter), Value: aws.String("hunter2"), Type: ssmtypes.ParameterTypeString}))(t)
	return s
}

// readerRole may read the parameter, and who the statement says may be it.
func (s *shop) readerRole(t *testing.T, name, trust, resource string) string {
	t.Helper()
	doc := `{"Version":"2012-10-17","Statement":[` + trust + `]}`
	arn := *must(s.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &doc}))(t).Role.Arn
	allow := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"arn:aws:ssm:*:*:parameter` + resource + `"}}`
	must(s.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("read"), PolicyDocument: &allow}))(t)
	return arn
}

// pod runs a pod and waits for it; they all are on the one node.
func (s *shop) pod(t *testing.T, name, account string) *corev1.Pod {
	t.Helper()
	s.k.run(t, "default", name, func(p *corev1.Pod) { p.Spec.ServiceAccountName = account })
	return s.k.podIn(t, "default", name, "runs", podRuns)
}

// credentials is what the command says of a pod, and whether it succeeds.
func (s *shop) credentials(t *testing.T, pod string) (admin.PodCredentials, error) {
	t.Helper()
	out, err := runTool(t, s.admin.env, "", s.binary, "pod", "credentials", pod, "--json", "--endpoint", s.endpoint)
	var c admin.PodCredentials
	if e := json.Unmarshal([]byte(out), &c); e != nil {
		t.Fatalf("%s: %v, %v", out, e, err)
	}
	if c.Credentials != nil {
		t.Error("the secrets are in the JSON")
	}
	return c, err
}

// as is what makes the aws command act as the pod, as the documentation says.
func (s *shop) as(t *testing.T, namespace, pod string) (vars []string) {
	t.Helper()
	for line := range strings.Lines(runCLI(t, s.emulator, s.admin.env, "pod", "credentials", "-n", namespace, pod, "--export")) {
		name, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		if !ok {
			t.Fatalf("%q is no export command", line)
		}
		vars = append(vars, name+"="+strings.Trim(value, "'"))
	}
	return vars
}

// run is the aws command by somebody.
func (s *shop) run(t *testing.T, vars []string, args ...string) (string, error) {
	t.Helper()
	r := s.aws.run(t, vars, args...)
	if r.Code != 0 {
		return "", fmt.Errorf("aws %s: %s", strings.Join(args[:2], " "), strings.TrimSpace(r.Err))
	}
	return strings.TrimSpace(r.Out), nil
}

// reads tells whether somebody may read the parameter.
func (s *shop) reads(t *testing.T, vars []string) error {
	t.Helper()
	out, err := s.run(t, vars, "ssm", "get-parameter", "--name", parameter, "--query", "Parameter.Value", "--output", "text")
	if err == nil && out != "hunter2" {
		t.Errorf("the parameter is %q", out)
	}
	return err
}

func (s *shop) refused(t *testing.T, vars []string, who string) {
	t.Helper()
	want := "is not authorized to perform: ssm:GetParameter on resource: arn:aws:ssm:us-east-1:000000000000:parameter/shop/db because no identity-based policy allows the ssm:GetParameter action"
	if err := s.reads(t, vars); err == nil || !strings.Contains(err.Error(), who) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s reads the parameter: %v", who, err)
	}
}

// last is the step that decided.
func last(c admin.PodCredentials) admin.CredentialStep { return c.Steps[len(c.Steps)-1] }

// TestIRSA: pod A has a role through its service account and may read the parameter;
// pod B on the same node may not, and the node's role has nothing.
func TestIRSA(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ctx := t.Context()
	provider := must(s.iam.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: s.cluster.Identity.Oidc.Issuer, ClientIDList: []string{"sts.amazonaws.com"},
	}))(t).OpenIDConnectProviderArn
	s.thumbprint(t, provider)
	role := s.readerRole(t, "reader", fmt.Sprintf(`{"Effect":"Allow","Principal":{"Federated":%q},"Action":"sts:AssumeRoleWithWebIdentity",
		"Condition":{"StringEquals":{%q:"system:serviceaccount:default:reader",%q:"sts.amazonaws.com"}}}`, *provider, s.issuer+":sub", s.issuer+":aud"), parameter)
	for _, account := range []string{"reader", "stranger"} {
		s.admin.ok(t, "", "create", "serviceaccount", account)
		s.admin.ok(t, "", "annotate", "serviceaccount", account, "eks.amazonaws.com/role-arn="+role)
	}

	a := s.pod(t, "a", "reader")
	b := s.pod(t, "b", "default")
	if a.Spec.NodeName != b.Spec.NodeName {
		t.Fatalf("the pods are on %s and %s", a.Spec.NodeName, b.Spec.NodeName)
	}
	env := map[string]string{}
	for _, e := range a.Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	if env["AWS_ROLE_ARN"] != role || env["AWS_REGION"] != region || env["AWS_STS_REGIONAL_ENDPOINTS"] != "regional" || len(b.Spec.Containers[0].Env) != 0 {
		t.Errorf("the webhook gave pod a %v and pod b %v", env, b.Spec.Containers[0].Env)
	}
	if out := s.admin.ok(t, "", "exec", "a", "--", "env"); !strings.Contains(out, "AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/secrets/eks.amazonaws.com/serviceaccount/token") {
		t.Errorf("kubectl exec a -- env:\n%s", out)
	}
	if out := s.admin.ok(t, "", "get", "mutatingwebhookconfiguration", "pod-identity-webhook", "-o", "jsonpath={.webhooks[0].name} {.webhooks[0].clientConfig.url}"); out != "iam-for-pods.amazonaws.com https://127.0.0.1:23443/mutate" {
		t.Errorf("the webhook is %s", out)
	}

	got, err := s.credentials(t, "a")
	if err != nil || !strings.HasPrefix(got.Identity.ARN, "arn:aws:sts::000000000000:assumed-role/reader/") || !slices.Contains(got.Identity.Policies, "read (inline)") {
		t.Fatalf("pod a is %+v, %v", got, err)
	}
	if err := s.reads(t, s.as(t, "default", "a")); err != nil {
		t.Errorf("pod a: %v", err)
	}
	got, err = s.credentials(t, "b")
	if err != nil || last(got).Name != "instance metadata" || !strings.HasPrefix(got.Identity.ARN, "arn:aws:sts::000000000000:assumed-role/node/i-") {
		t.Fatalf("pod b is %+v, %v", got, err)
	}
	s.refused(t, s.as(t, "default", "b"), "assumed-role/node/i-")

	// The role's trust names one service account.
	s.pod(t, "c", "stranger")
	got, err = s.credentials(t, "c")
	if step := last(got); err == nil || got.Identity != nil || step.Name != "sts" || step.Error != "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity" ||
		!strings.Contains(step.Text, `:sub ["system:serviceaccount:default:reader"] does not hold for system:serviceaccount:default:stranger`) || len(step.Mend) != 2 {
		t.Errorf("pod c is %+v, %v", got, err)
	}
	s.tokenAttacks(t, role)

	// Who annotates after the fact is told so.
	s.admin.ok(t, "", "annotate", "serviceaccount", "default", "eks.amazonaws.com/role-arn="+role)
	got, _ = s.credentials(t, "b")
	if first := got.Steps[0]; first.Outcome != admin.StepWarned || !strings.Contains(first.Text, "the pod is older than that") {
		t.Errorf("pod b after the annotation: %+v", first)
	}
	if out := runCLI(t, s.emulator, s.admin.env, "status", "--sessions"); !strings.Contains(out, "AssumeRoleWithWebIdentity") || !strings.Contains(out, "system:serviceaccount:default:reader") {
		t.Errorf("ekslocal status --sessions:\n%s", out)
	}
	must(s.iam.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: provider}))(t)
	got, err = s.credentials(t, "a")
	if step := last(got); err == nil || !strings.Contains(step.Error, "InvalidIdentityToken: No OpenIDConnect provider found in your account for https://"+s.issuer) ||
		!slices.Contains(step.Mend, "aws iam create-open-id-connect-provider --url https://"+s.issuer+" --client-id-list sts.amazonaws.com") {
		t.Errorf("without the provider: %+v, %v", step, err)
	}
}

// thumbprint is what IAM found by itself, and what whoever looks at the chain of the
// issuer's certificate finds: Terraform's tls_certificate does.
func (s *shop) thumbprint(t *testing.T, provider *string) {
	t.Helper()
	host, _, _ := strings.Cut(s.issuer, "/")
	c, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // to see the chain
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	chain := c.ConnectionState().PeerCertificates
	sum := sha1.Sum(chain[len(chain)-1].Raw) //nolint:gosec // what AWS's thumbprints are
	p := must(s.iam.GetOpenIDConnectProvider(t.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: provider}))(t)
	if want := []string{hex.EncodeToString(sum[:])}; len(chain) != 2 || !slices.Equal(p.ThumbprintList, want) {
		t.Errorf("thumbprints = %v, want %v of a chain of %d", p.ThumbprintList, want, len(chain))
	}
}

// tokenAttacks are tokens of the cluster, and nearly so, that get nobody the role.
func (s *shop) tokenAttacks(t *testing.T, role string) {
	t.Helper()
	create := func(args ...string) string {
		return strings.TrimSpace(s.admin.ok(t, "", append([]string{"create", "token"}, args...)...))
	}
	good := create("reader", "--audience", "sts.amazonaws.com")
	assume := func(token string) error {
		_, err := s.run(t, nil, "sts", "assume-role-with-web-identity", "--role-arn", role, "--role-session-name", "me", "--web-identity-token", token)
		return err
	}
	if err := assume(good); err != nil {
		t.Errorf("a token of the service account itself: %v", err)
	}
	parts := strings.Split(good, ".")
	other := strings.Split(create("stranger", "--audience", "sts.amazonaws.com"), ".")
	for name, attack := range map[string]struct{ token, want string }{
		"for the API server":     {create("reader"), "Incorrect token audience"},
		"for EKS Pod Identity":   {create("reader", "--audience", "pods.eks.amazonaws.com"), "Incorrect token audience"},
		"another subject's":      {strings.Join(other, "."), "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		"with its claims":        {other[0] + "." + parts[1] + "." + other[2], "Couldn't retrieve verification key"},
		"without an algorithm":   {"eyJhbGciOiJub25lIn0." + parts[1] + ".", "Couldn't retrieve verification key"},
		"without its signature":  {parts[0] + "." + parts[1] + ".AAAA", "Couldn't retrieve verification key"},
		"that is no token":       {"xxxx", "not a valid JWT"},
		"signed by a public key": {"eyJhbGciOiJIUzI1NiJ9." + parts[1] + "." + parts[2], "Couldn't retrieve verification key"},
	} {
		if err := assume(attack.token); err == nil || !strings.Contains(err.Error(), attack.want) {
			t.Errorf("a token %s: %v, want %q", name, err, attack.want)
		}
	}
}

// TestPodIdentity: the same by an association and the agent on the node.
func TestPodIdentity(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ctx := t.Context()
	// The role may read what is named after the pod's namespace: /shop/db is not.
	s.admin.ok(t, "", "create", "namespace", "shop")
	role := s.readerRole(t, "reader", `{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}`, "/${aws:PrincipalTag/kubernetes-namespace}/db")
	for _, ns := range []string{"shop", "default"} {
		s.admin.ok(t, "", "-n", ns, "create", "serviceaccount", "reader")
		must(s.eks.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{ClusterName: aws.String("dev"), Namespace: &ns, ServiceAccount: aws.String("reader"), RoleArn: &role}))(t)
	}
	s.k.run(t, "shop", "a", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "reader" })
	a := s.k.podIn(t, "shop", "a", "runs", podRuns)
	s.pod(t, "b", "default")
	s.pod(t, "c", "reader")
	if a.Labels["eks.amazonaws.com/pod-identity"] != "enabled" || !slices.ContainsFunc(a.Spec.Containers[0].Env, func(e corev1.EnvVar) bool {
		return e.Name == "AWS_CONTAINER_CREDENTIALS_FULL_URI" && e.Value == "http://169.254.170.23/v1/credentials"
	}) {
		t.Errorf("the webhook made of the pod: %v, %+v", a.Labels, a.Spec.Containers[0].Env)
	}

	// Without the agent nobody hands out credentials, and an SDK does not go on.
	_, err := runTool(t, s.admin.env, "", s.binary, "pod", "credentials", "--endpoint", s.endpoint, "-n", "shop", "a")
	if err == nil || !strings.Contains(err.Error(), "pod shop/a gets no credentials") {
		t.Errorf("without the agent: %v", err)
	}
	s.addon(t, "dev", "eks-pod-identity-agent")
	eventually(t, 30*time.Second, "the agent runs", func() error {
		list := must(s.k.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=eks-pod-identity-agent"}))(t).Items
		if len(list) == 0 || !podRuns(&list[0]) {
			return fmt.Errorf("its pods: %+v", list)
		}
		return nil
	})
	pod := s.as(t, "shop", "a")
	who := must(s.run(t, pod, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"))(t)
	if !strings.HasPrefix(who, "arn:aws:sts::000000000000:assumed-role/reader/eks-dev-a-") {
		t.Errorf("the pod acts as %s", who)
	}
	if err := s.reads(t, pod); err != nil {
		t.Errorf("pod a: %v", err)
	}
	s.refused(t, s.as(t, "default", "b"), "assumed-role/node/i-")
	s.refused(t, s.as(t, "default", "c"), "assumed-role/reader/eks-dev-c-") // the role is the same, the namespace is not

	// The API itself, as the agent calls it: by the node's credentials.
	token := strings.TrimSpace(s.admin.ok(t, "", "-n", "shop", "create", "token", "reader", "--audience", "pods.eks.amazonaws.com", "--bound-object-kind", "Pod", "--bound-object-name", "a", "--bound-object-uid", string(a.UID)))
	assume := func(vars []string, token string) (string, error) {
		return s.run(t, vars, "eks-auth", "assume-role-for-pod-identity", "--cluster-name", "dev", "--token", token, "--query", "subject.serviceAccount", "--output", "text")
	}
	node := s.as(t, "default", "b")
	if out, err := assume(node, token); err != nil || out != "reader" {
		t.Errorf("EKS Auth answers the node %q, %v", out, err)
	}
	if _, err := assume(pod, token); err == nil || !strings.Contains(err.Error(), "is not authorized to perform: eks-auth:AssumeRoleForPodIdentity on resource: arn:aws:eks:us-east-1:000000000000:cluster/dev") {
		t.Errorf("EKS Auth answers a pod: %v", err)
	}
	for name, attack := range map[string]struct{ token, want string }{
		"bound to no pod":    {strings.TrimSpace(s.admin.ok(t, "", "-n", "shop", "create", "token", "reader", "--audience", "pods.eks.amazonaws.com")), "InvalidTokenException"},
		"for STS":            {strings.TrimSpace(s.admin.ok(t, "", "-n", "shop", "create", "token", "reader", "--audience", "sts.amazonaws.com")), "InvalidTokenException"},
		"that was tampered":  {token[:len(token)-4] + "AAAA", "InvalidTokenException"},
		"without an account": {strings.TrimSpace(s.admin.ok(t, "", "create", "token", "default", "--audience", "pods.eks.amazonaws.com", "--bound-object-kind", "Pod", "--bound-object-name", "b")), "ResourceNotFoundException"},
	} {
		if _, err := assume(node, attack.token); err == nil || !strings.Contains(err.Error(), attack.want) {
			t.Errorf("a token %s: %v, want %s", name, err, attack.want)
		}
	}

	must(s.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("reader"), PolicyDocument: trust("pods.eks.amazonaws.com")}))(t)
	if _, err := assume(node, token); err == nil || !strings.Contains(err.Error(), "Unauthorized Exception! EKS does not have permissions to assume the associated role.") {
		t.Errorf("a role that takes no tags: %v", err)
	}
	got, err := s.credentials(t, "c")
	if step := last(got); err == nil || step.Name != "eks-auth" || !strings.Contains(step.Text, "pods.eks.amazonaws.com is not authorized to perform: sts:TagSession on resource: "+role) {
		t.Errorf("a role that takes no tags: %+v, %v", step, err)
	}
}
