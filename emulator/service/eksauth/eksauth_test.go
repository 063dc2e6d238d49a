package eksauth

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eksauth"
	"github.com/aws/aws-sdk-go-v2/service/eksauth/types"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	eksauthapi "github.com/ekslocal/ekslocal/api/eksauth"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

const (
	account = "111122223333"
	issuer  = "https://127.0.0.1:4566/id/ABC"
	arn     = "arn:aws:eks:eu-west-1:" + account + ":cluster/workshop-dev"
)

var start = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

// world is one cluster with two associations, whose keys can be had, and an STS that
// remembers what it was asked.
type world struct {
	keys  map[string]crypto.PublicKey
	asked []SessionRequest
	err   error
}

func (w *world) Cluster(_ context.Context, sc awsid.Scope, name string) (Cluster, bool) {
	return Cluster{ARN: arn, Issuer: issuer}, sc.Account == account && name == "workshop-dev"
}

func (w *world) Association(_ context.Context, _ awsid.Scope, _, namespace, name string) (Association, bool) {
	a := Association{ARN: arn + "/a-1", ID: "a-1", RoleARN: "arn:aws:iam::" + account + ":role/cart"}
	if name == "plain" {
		a.NoTags = true
	}
	return a, namespace == "shop" && (name == "cart" || name == "plain")
}

func (w *world) SigningKeys(_ context.Context, iss string) (map[string]crypto.PublicKey, error) {
	if iss != issuer {
		return nil, errors.New("asked for " + iss)
	}
	return w.keys, nil
}

func (w *world) PodSession(_ context.Context, r SessionRequest) (types.Credentials, types.AssumedRoleUser, error) {
	w.asked = append(w.asked, r)
	return types.Credentials{AccessKeyId: aws.String("ASIA1")}, types.AssumedRoleUser{Arn: aws.String("arn:session")}, w.err
}

func newWorld(t *testing.T) (context.Context, *world, *Service, func(change func(m, k map[string]any)) string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{keys: map[string]crypto.PublicKey{"k": &key.PublicKey}}
	s := New(Config{Clock: clocktesting.NewFakePassiveClock(start), Clusters: w, Keys: w, Sessions: w})
	ctx := awsid.WithCaller(t.Context(), awsid.Caller{Scope: awsid.Scope{Account: account, Region: "eu-west-1"}, ARN: "arn:aws:sts::" + account + ":assumed-role/node/i-1"})
	return ctx, w, s, func(change func(m, k map[string]any)) string { return sign(t, key, change) }
}

// sign makes the token of a pod, changed.
func sign(t *testing.T, key *rsa.PrivateKey, change func(m, k map[string]any)) string {
	t.Helper()
	k := map[string]any{
		"namespace": "shop", "pod": map[string]string{"name": "cart-7d4b-x2x", "uid": "pod-uid"}, "serviceaccount": map[string]string{"name": "cart", "uid": "sa-uid"},
	}
	m := map[string]any{
		"iss": issuer, "sub": "system:serviceaccount:shop:cart", "aud": []string{"pods.eks.amazonaws.com"}, "exp": start.Add(time.Hour).Unix(),
		"nbf": start.Unix(), "kubernetes.io": k,
	}
	if change != nil {
		change(m, k)
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(map[string]string{"alg": "RS256", "kid": "k"}) + "." + part(m)
	sum := sha256.Sum256([]byte(signed))
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestAssumeRoleForPodIdentity(t *testing.T) {
	ctx, w, s, token := newWorld(t)
	ask := func(token string) *eksauth.AssumeRoleForPodIdentityOutput {
		t.Helper()
		out, err := s.AssumeRoleForPodIdentity(ctx, &eksauth.AssumeRoleForPodIdentityInput{ClusterName: aws.String("workshop-dev"), Token: &token})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := ask(token(nil))
	if *out.Subject.Namespace != "shop" || *out.Subject.ServiceAccount != "cart" || *out.Audience != "pods.eks.amazonaws.com" ||
		*out.PodIdentityAssociation.AssociationId != "a-1" || *out.Credentials.AccessKeyId != "ASIA1" || *out.AssumedRoleUser.Arn != "arn:session" {
		t.Errorf("answer = %+v", out)
	}
	got := w.asked[0]
	if !regexp.MustCompile(`^eks-workshop-d-cart-7d4b--[0-9a-f-]{36}$`).MatchString(got.Name) {
		t.Errorf("the session's name is %s", got.Name)
	}
	got.Name = ""
	want := SessionRequest{
		Association: Association{ARN: arn + "/a-1", ID: "a-1", RoleARN: "arn:aws:iam::" + account + ":role/cart"},
		Life:        6 * time.Hour, ClusterARN: arn, Subject: "system:serviceaccount:shop:cart", Namespace: "shop", ServiceAccount: "cart",
		Tags: map[string]string{
			"eks-cluster-arn": arn, "eks-cluster-name": "workshop-dev", "kubernetes-namespace": "shop",
			"kubernetes-service-account": "cart", "kubernetes-pod-name": "cart-7d4b-x2x", "kubernetes-pod-uid": "pod-uid",
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what STS is asked (-want +got):\n%s", d)
	}
	ask(token(func(m, k map[string]any) {
		m["sub"], k["serviceaccount"] = "system:serviceaccount:shop:plain", map[string]string{"name": "plain"}
	}))
	if w.asked[1].Tags != nil {
		t.Errorf("tags that the association disables: %v", w.asked[1].Tags)
	}
	// An audience among others is enough.
	ask(token(func(m, _ map[string]any) { m["aud"] = []string{"other", "pods.eks.amazonaws.com"} }))
}

func TestRefusals(t *testing.T) {
	ctx, w, s, token := newWorld(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set := func(key string, v any) string { return token(func(m, _ map[string]any) { m[key] = v }) }
	good := token(nil)
	refusal.Run(ctx, t, eksauthapi.Model(), s, map[string]string{
		"token": good, "forged": sign(t, stranger, nil), "expired": set("exp", start.Add(-time.Second).Unix()), "forever": set("exp", nil),
		"early": set("nbf", start.Add(time.Hour).Unix()), "cluster": set("iss", "https://127.0.0.1:4566/id/OTHER"), "irsa": set("aud", "sts.amazonaws.com"),
		"unsigned": good[:len(good)-342] + "AAAA", "noassociation": token(func(m, k map[string]any) {
			m["sub"], k["serviceaccount"] = "system:serviceaccount:shop:other", map[string]string{"name": "other"}
		}),
		"nopod":   token(func(_, k map[string]any) { delete(k, "pod") }),
		"subject": set("sub", "system:serviceaccount:shop:admin"),
	})
	if len(w.asked) != 0 {
		t.Errorf("STS was asked for %+v", w.asked)
	}
	w.err = errors.New("AccessDenied")
	_, err = s.AssumeRoleForPodIdentity(ctx, &eksauth.AssumeRoleForPodIdentityInput{ClusterName: aws.String("workshop-dev"), Token: &good})
	var denied *types.AccessDeniedException
	if !errors.As(err, &denied) || *denied.Message != Unauthorized {
		t.Errorf("a role that does not trust EKS: %v", err)
	}
}
