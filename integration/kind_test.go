package integration

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestKind is the life of a cluster whose control plane is a container. make test-kind
// provides the engine and the node image.
func TestKind(t *testing.T) {
	image := nodeImage(t)
	t.Parallel()
	flags := []string{"--no-spare", "--backend", "kind", "--kind-node-image", image}
	w := newWorld(t, startAs(t, flags...))
	began := time.Now()
	c := w.cluster(t, "real")
	t.Logf("ACTIVE after %s", time.Since(began).Round(100*time.Millisecond))
	t.Cleanup(func() { removeContainers(t, c) })
	if n := len(containersOf(t, c)); n != 1 {
		t.Errorf("%d containers are the cluster, want 1", n)
	}

	k, _ := w.kubernetes(t, c)
	who := must(k.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}))(t)
	if got := who.Status.UserInfo.Username; !strings.HasPrefix(got, "arn:aws:iam::000000000000:") {
		t.Errorf("the creator is %q to Kubernetes", got)
	}
	if nodes := must(k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}))(t).Items; len(nodes) != 0 {
		t.Errorf("%d nodes of the control plane show", len(nodes))
	}
	must(k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "marker"}}, metav1.CreateOptions{}))(t)
	kindIssuer(t, w, c)
	kindViewer(t, w, c)

	marked := func(when string) {
		t.Helper()
		c := w.clusterIs(t, "real", ekstypes.ClusterStatusActive)
		eventually(t, 2*time.Minute, "the cluster answers "+when, func() error {
			k, _ := w.kubernetes(t, c)
			_, err := k.CoreV1().Namespaces().Get(t.Context(), "marker", metav1.GetOptions{})
			return err
		})
	}
	w.kill()
	w.run()
	marked("after a crash of the emulator")
	w.restart(flags...)
	marked("after a restart of the emulator")

	usual := w.cluster(t, "usual", func(in *eks.CreateClusterInput) { in.Tags = map[string]string{"ekslocal.dev/backend": "embedded"} })
	k, _ = w.kubernetes(t, usual)
	must(k.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}))(t)

	must(w.eks.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: aws.String("real")}))(t)
	eventually(t, time.Minute, "the cluster is gone", func() error {
		_, err := w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("real")})
		if err == nil {
			return errors.New("it is still there")
		}
		return nil
	})
	if left := containersOf(t, c); len(left) > 0 {
		t.Errorf("containers %v are left", left)
	}
}

// kindIssuer: service accounts' tokens are of the cluster's OIDC issuer.
func kindIssuer(t *testing.T, w *world, c *ekstypes.Cluster) {
	t.Helper()
	k, _ := w.kubernetes(t, c)
	var token string
	eventually(t, time.Minute, "the default service account is there", func() error {
		r, err := k.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"sts.amazonaws.com"}},
		}, metav1.CreateOptions{})
		if err == nil {
			token = r.Status.Token
		}
		return err
	})
	var claims struct {
		Issuer string `json:"iss"`
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(body, &claims)
	}
	if err != nil || claims.Issuer != *c.Identity.Oidc.Issuer {
		t.Errorf("the token is of %q (%v), the cluster's issuer is %s", claims.Issuer, err, *c.Identity.Oidc.Issuer)
	}
}

// kindViewer: an access policy allows what it says and no more, asked over the bridge.
func kindViewer(t *testing.T, w *world, c *ekstypes.Cluster) {
	t.Helper()
	ctx := t.Context()
	user := must(w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("viewer")}))(t).User.Arn
	key := must(w.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("viewer")}))(t).AccessKey
	viewer := *w
	cfg := w.config()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(*key.AccessKeyId, *key.SecretAccessKey, "")
	viewer.sts = sts.NewFromConfig(cfg)
	k, _ := viewer.kubernetes(t, c)
	if _, err := k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("somebody without an access entry: %v, want Unauthorized", err)
	}
	must(w.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: c.Name, PrincipalArn: user}))(t)
	must(w.eks.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{ClusterName: c.Name, PrincipalArn: user,
		PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}}))(t)
	eventually(t, 30*time.Second, "the viewer may list pods", func() error {
		_, err := k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err
	})
	if _, err := k.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the viewer lists secrets: %v, want Forbidden", err)
	}
}

// containersOf are the nodes of a cluster, by the id in its issuer.
func containersOf(t *testing.T, c *ekstypes.Cluster) []string {
	t.Helper()
	issuer := *c.Identity.Oidc.Issuer
	id := strings.ToLower(issuer[strings.LastIndexByte(issuer, '/')+1:])
	return containersOfID(t, id)
}

func containersOfID(t *testing.T, id string) []string {
	t.Helper()
	out, err := exec.Command("docker", "ps", "-a", "--filter", "label=io.x-k8s.kind.cluster=ekslocal-"+id, "--format", "{{.Names}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

func removeContainers(t *testing.T, c *ekstypes.Cluster) {
	for _, name := range containersOf(t, c) {
		if out, err := exec.Command("docker", "rm", "-f", "-v", name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
