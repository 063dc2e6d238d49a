package integration

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// revocation is within which changed rights must show on a token that is replayed.
// It is not stretched for slow machines.
const revocation = 5 * time.Second

// trustAccount lets the account's own principals assume a role, and a service.
func trustAccount(service string) *string {
	return aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root","Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`)
}

// identity is an IAM principal with credentials.
type identity struct {
	arn  string // as access entries name it
	sts  *sts.Client
	keys aws.Credentials
}

func (w *world) identity(arn string, c aws.Credentials) identity {
	cfg := w.config()
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: c}
	return identity{arn, sts.NewFromConfig(cfg), c}
}

// iamUser makes an IAM user with an access key.
func (w *world) iamUser(t *testing.T, name string) identity {
	t.Helper()
	u := must(w.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}))(t).User
	k := must(w.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name}))(t).AccessKey
	return w.identity(*u.Arn, aws.Credentials{AccessKeyID: *k.AccessKeyId, SecretAccessKey: *k.SecretAccessKey})
}

// assumable makes a role that the account's root may assume.
func (w *world) assumable(t *testing.T, name, path string) string {
	t.Helper()
	r := must(w.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, Path: &path, AssumeRolePolicyDocument: trustAccount("ec2.amazonaws.com")}))(t)
	return *r.Role.Arn
}

// assume is a session of a role.
func (w *world) assume(t *testing.T, roleARN, session string) identity {
	t.Helper()
	c := must(w.sts.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &roleARN, RoleSessionName: &session}))(t).Credentials
	return w.identity(roleARN, aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken})
}

// env is what the identity's shell has.
func (i identity) env(w *world, kubeconfig string) []string {
	return append(w.emulator.env(kubeconfig), "AWS_ACCESS_KEY_ID="+i.keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+i.keys.SecretAccessKey, "AWS_SESSION_TOKEN="+i.keys.SessionToken)
}

func (i identity) token(t *testing.T, cluster string) string {
	t.Helper()
	return must(token(t.Context(), i.sts, cluster))(t)
}

// bearer is a client with one token, which it repeats for ever.
func bearer(t *testing.T, c *ekstypes.Cluster, token string) *kubernetes.Clientset {
	t.Helper()
	ca := must(base64.StdEncoding.DecodeString(*c.CertificateAuthority.Data))(t)
	return must(kubernetes.NewForConfig(&rest.Config{Host: *c.Endpoint, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: ca}, QPS: -1}))(t)
}

func whoAmI(ctx context.Context, k kubernetes.Interface) (authenticationv1.UserInfo, error) {
	r, err := k.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return r.Status.UserInfo, nil
}

// isRefused is nobody to the cluster: 401.
func isRefused(ctx context.Context, k kubernetes.Interface) error {
	u, err := whoAmI(ctx, k)
	if !apierrors.IsUnauthorized(err) {
		return fmt.Errorf("want 401, got %w, as %+v", err, u)
	}
	return nil
}

// is tells whether the client is this user.
func is(name string) func(context.Context, kubernetes.Interface) error {
	return func(ctx context.Context, k kubernetes.Interface) error {
		u, err := whoAmI(ctx, k)
		if err != nil || u.Username != name {
			return fmt.Errorf("it is %q, %w, want %q", u.Username, err, name)
		}
		return nil
	}
}

// isForbidden is known to the cluster and may not: 403.
func isForbidden(ctx context.Context, k kubernetes.Interface) error {
	_, err := k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		return fmt.Errorf("want 403, got %w", err)
	}
	return nil
}

// isAllowed may list pods.
func isAllowed(ctx context.Context, k kubernetes.Interface) error {
	_, err := k.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	return err
}

// soon waits for a change of rights to show, as long as it may take: more patience on
// a slow machine would not be what is promised.
func soon(t *testing.T, what string, k kubernetes.Interface, want func(context.Context, kubernetes.Interface) error) {
	t.Helper()
	begin := time.Now()
	if err := poll(revocation, func() error { return want(t.Context(), k) }); err != nil {
		t.Errorf("not within %v: %s: %v", revocation, what, err)
		return
	}
	t.Logf("%s: after %v", what, time.Since(begin).Round(10*time.Millisecond))
}

// now is soon for what needs no time.
func now(t *testing.T, what string, k kubernetes.Interface, want func(context.Context, kubernetes.Interface) error) {
	t.Helper()
	if err := want(t.Context(), k); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func (w *world) entry(t *testing.T, cluster, principal string, change ...func(*eks.CreateAccessEntryInput)) {
	t.Helper()
	in := &eks.CreateAccessEntryInput{ClusterName: &cluster, PrincipalArn: &principal}
	for _, f := range change {
		f(in)
	}
	must(w.eks.CreateAccessEntry(t.Context(), in))(t)
}

// grant associates an access policy; without namespaces for the cluster.
func (w *world) grant(t *testing.T, cluster, principal, policy string, namespaces ...string) {
	t.Helper()
	scope := &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}
	if len(namespaces) > 0 {
		scope = &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeNamespace, Namespaces: namespaces}
	}
	must(w.eks.AssociateAccessPolicy(t.Context(), &eks.AssociateAccessPolicyInput{ClusterName: &cluster, PrincipalArn: &principal,
		PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/" + policy), AccessScope: scope}))(t)
}

func (w *world) ungrant(t *testing.T, cluster, principal, policy string) {
	t.Helper()
	must(w.eks.DisassociateAccessPolicy(t.Context(), &eks.DisassociateAccessPolicyInput{ClusterName: &cluster, PrincipalArn: &principal,
		PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/" + policy)}))(t)
}

// awsAuth writes the ConfigMap.
func awsAuth(t *testing.T, admin kubernetes.Interface, data map[string]string) {
	t.Helper()
	maps := admin.CoreV1().ConfigMaps("kube-system")
	cm, err := maps.Get(t.Context(), "aws-auth", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		must(maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "aws-auth"}, Data: data}, metav1.CreateOptions{}))(t)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	cm.Data = data
	must(maps.Update(t.Context(), cm, metav1.UpdateOptions{}))(t)
}

func (w *world) authenticationMode(t *testing.T, cluster string, to ekstypes.AuthenticationMode) {
	t.Helper()
	must(w.eks.UpdateClusterConfig(t.Context(), &eks.UpdateClusterConfigInput{Name: &cluster, AccessConfig: &ekstypes.UpdateAccessConfigRequest{AuthenticationMode: to}}))(t)
	if c := w.clusterIs(t, cluster, ekstypes.ClusterStatusActive); c.AccessConfig.AuthenticationMode != to {
		t.Errorf("the mode is %s, want %s", c.AccessConfig.AuthenticationMode, to)
	}
}

// revoked is somebody with one token.
type revoked struct {
	identity
	kubernetes.Interface
}

func (w *world) deleteRole(t *testing.T, name string) {
	t.Helper()
	must(w.iam.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: &name}))(t)
}

func (w *world) deleteUser(t *testing.T, name string) {
	t.Helper()
	must(w.iam.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &name}))(t)
}

func (i identity) userName() *string { return aws.String(i.arn[strings.LastIndexByte(i.arn, '/')+1:]) }

func (w *world) deleteKey(t *testing.T, r *revoked) {
	t.Helper()
	must(w.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: r.userName(), AccessKeyId: &r.keys.AccessKeyID}))(t)
}

func (w *world) disableKey(t *testing.T, r *revoked) {
	t.Helper()
	must(w.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: r.userName(), AccessKeyId: &r.keys.AccessKeyID, Status: iamtypes.StatusTypeInactive}))(t)
}
