package integration

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// issuer is an OIDC provider with a certificate of its own CA.
type issuer struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{key: must(rsa.GenerateKey(rand.Reader, 2048))(t)}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k1",
			"n": base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(i.key.E)).Bytes()),
		}}})
	})
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	return i
}

// trustFile is what SSL_CERT_FILE of the emulator's process must name.
func (i *issuer) trustFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "issuer-ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sign makes an ID token; change may edit its claims.
func (i *issuer) sign(t *testing.T, key *rsa.PrivateKey, change func(claims map[string]any)) string {
	t.Helper()
	claims := map[string]any{
		"iss": i.URL, "aud": "kubernetes", "sub": "1234", "email": "alice@example.com", "email_verified": true, "roles": []string{"dev", "ops"}, "tenant": "blue",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	if change != nil {
		change(claims)
	}
	part := func(v any) string {
		return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))(t))
	}
	return signJWT(t, key, part(map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"})+"."+part(claims))
}

// signJWT appends the signature RS256 to header and claims.
func signJWT(t *testing.T, key *rsa.PrivateKey, signed string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]))(t))
}

// whoIs asks the cluster who a token belongs to.
func whoIs(t *testing.T, k *kube, token string) (authenticationv1.UserInfo, *kubernetes.Clientset, error) {
	t.Helper()
	c := must(kubernetes.NewForConfig(&rest.Config{Host: k.cfg.Host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: k.cfg.CAData}}))(t)
	r, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, c, err
	}
	return r.Status.UserInfo, c, nil
}

func refusesToken(t *testing.T, k *kube, token, what string) {
	t.Helper()
	if u, _, err := whoIs(t, k, token); !apierrors.IsUnauthorized(err) {
		t.Errorf("%s: %v %+v, want 401", what, err, u)
	}
}

func (w *world) associate(t *testing.T, cluster string, o *ekstypes.OidcIdentityProviderConfigRequest) {
	t.Helper()
	out := must(w.eks.AssociateIdentityProviderConfig(t.Context(), &eks.AssociateIdentityProviderConfigInput{ClusterName: &cluster, Oidc: o, Tags: map[string]string{"team": "a"}}))(t)
	u := out.Update
	if u.Type != ekstypes.UpdateTypeAssociateIdentityProviderConfig || u.Status != ekstypes.UpdateStatusInProgress || len(u.Params) != 1 ||
		aws.ToString(u.Params[0].Value) != fmt.Sprintf(`[{"type":"oidc","name":%q}]`, *o.IdentityProviderConfigName) || out.Tags["team"] != "a" {
		t.Errorf("the update is %+v with parameters %+v, tags %v", u, u.Params, out.Tags)
	}
	if c := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &cluster}))(t); c.Cluster.Status != ekstypes.ClusterStatusUpdating {
		t.Errorf("the cluster is %s, want UPDATING", c.Cluster.Status)
	}
	if got := w.provider(t, cluster, *o.IdentityProviderConfigName); got.Status != ekstypes.ConfigStatusCreating {
		t.Errorf("the config is %s, want CREATING", got.Status)
	}
	w.clusterIs(t, cluster, ekstypes.ClusterStatusActive)
	if got := w.provider(t, cluster, *o.IdentityProviderConfigName); got.Status != ekstypes.ConfigStatusActive {
		t.Errorf("the config is %s, want ACTIVE", got.Status)
	}
	if d := must(w.eks.DescribeUpdate(t.Context(), &eks.DescribeUpdateInput{Name: &cluster, UpdateId: u.Id}))(t); d.Update.Status != ekstypes.UpdateStatusSuccessful {
		t.Errorf("the update is %s", d.Update.Status)
	}
}

func (w *world) provider(t *testing.T, cluster, name string) *ekstypes.OidcIdentityProviderConfig {
	t.Helper()
	out := must(w.eks.DescribeIdentityProviderConfig(t.Context(), &eks.DescribeIdentityProviderConfigInput{
		ClusterName: &cluster, IdentityProviderConfig: &ekstypes.IdentityProviderConfig{Type: aws.String("oidc"), Name: &name},
	}))(t)
	return out.IdentityProviderConfig.Oidc
}

func (w *world) disassociate(t *testing.T, cluster, name string) {
	t.Helper()
	in := &eks.DisassociateIdentityProviderConfigInput{
		ClusterName: &cluster, IdentityProviderConfig: &ekstypes.IdentityProviderConfig{Type: aws.String("oidc"), Name: &name},
	}
	must(w.eks.DisassociateIdentityProviderConfig(t.Context(), in))(t)
	if got := w.provider(t, cluster, name); got.Status != ekstypes.ConfigStatusDeleting {
		t.Errorf("the config is %s, want DELETING", got.Status)
	}
	w.clusterIs(t, cluster, ekstypes.ClusterStatusActive)
	in.ClientRequestToken = nil
	_, err := w.eks.DisassociateIdentityProviderConfig(t.Context(), in)
	if errorAs[*ekstypes.InvalidRequestException](err) == nil || !strings.Contains(err.Error(), "Identity provider config is not associated with cluster") {
		t.Errorf("once more: %v", err)
	}
}

// TestIdentityProvider lets people of an OIDC issuer into a cluster. The issuer's
// private CA is trusted by SSL_CERT_FILE of the emulator's process.
func TestIdentityProvider(t *testing.T) {
	i := newIssuer(t)
	t.Setenv("SSL_CERT_FILE", i.trustFile(t))
	w := newWorld(t, start(t))
	ctx := t.Context()
	c := w.cluster(t, "idp")
	k := w.kube(t, c)
	good := i.sign(t, i.key, nil)
	refusesToken(t, k, good, "before the association")

	w.associate(t, "idp", &ekstypes.OidcIdentityProviderConfigRequest{
		IdentityProviderConfigName: aws.String("corp"), IssuerUrl: &i.URL, ClientId: aws.String("kubernetes"),
		UsernameClaim: aws.String("email"), UsernamePrefix: aws.String("corp:"), GroupsClaim: aws.String("roles"), GroupsPrefix: aws.String("corp:"),
		RequiredClaims: map[string]string{"tenant": "blue"},
	})
	user, alice, err := whoIs(t, k, good)
	if err != nil {
		t.Fatal(err)
	}
	if user.Username != "corp:alice@example.com" || !slices.Contains(user.Groups, "corp:dev") || !slices.Contains(user.Groups, "corp:ops") || !slices.Contains(user.Groups, "system:authenticated") {
		t.Errorf("the token is of %+v", user)
	}
	if _, err := alice.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a binding: %v", err)
	}
	must(k.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "devs"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: "rbac.authorization.k8s.io", Name: "corp:dev"}},
	}, metav1.CreateOptions{}))(t)
	eventually(t, fargatePatience, "the binding counts", func() error {
		_, err := alice.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err
	})

	other := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	for what, token := range map[string]string{
		"a required claim differs":    i.sign(t, i.key, func(c map[string]any) { c["tenant"] = "red" }),
		"a required claim is missing": i.sign(t, i.key, func(c map[string]any) { delete(c, "tenant") }),
		"another audience":            i.sign(t, i.key, func(c map[string]any) { c["aud"] = "else" }),
		"expired":                     i.sign(t, i.key, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"another key":                 i.sign(t, other, nil),
		"another issuer":              i.sign(t, i.key, func(c map[string]any) { c["iss"] = "https://else.example.com" }),
		"an unverified address":       i.sign(t, i.key, func(c map[string]any) { c["email_verified"] = false }),
	} {
		refusesToken(t, k, token, what)
	}

	list := must(w.eks.ListIdentityProviderConfigs(ctx, &eks.ListIdentityProviderConfigsInput{ClusterName: aws.String("idp")}))(t)
	if len(list.IdentityProviderConfigs) != 1 || *list.IdentityProviderConfigs[0].Name != "corp" || *list.IdentityProviderConfigs[0].Type != "oidc" {
		t.Errorf("the list is %+v", list.IdentityProviderConfigs)
	}
	arn := w.provider(t, "idp", "corp").IdentityProviderConfigArn
	must(w.eks.TagResource(ctx, &eks.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"more": "b"}}))(t)
	if got := w.provider(t, "idp", "corp").Tags; got["more"] != "b" || got["team"] != "a" {
		t.Errorf("tags are %v", got)
	}
	_, err = w.eks.AssociateIdentityProviderConfig(ctx, &eks.AssociateIdentityProviderConfigInput{ClusterName: aws.String("idp"), Oidc: &ekstypes.OidcIdentityProviderConfigRequest{
		IdentityProviderConfigName: aws.String("second"), IssuerUrl: &i.URL, ClientId: aws.String("kubernetes"),
	}})
	if errorAs[*ekstypes.InvalidRequestException](err) == nil {
		t.Errorf("a second provider: %v", err)
	}

	w.stop()
	w.run()
	w.clusterIs(t, "idp", ekstypes.ClusterStatusActive)
	eventually(t, fargatePatience, "the token counts after a restart", func() error {
		_, _, err := whoIs(t, k, good)
		return err
	})

	w.disassociate(t, "idp", "corp")
	eventually(t, fargatePatience, "the token is refused after the disassociation", func() error {
		if _, _, err := whoIs(t, k, good); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("it is answered: %v", err)
		}
		return nil
	})
	t.Run("an issuer that does not answer", func(t *testing.T) { deadIssuer(t, w, k, i) })
}

// deadIssuer: the association goes on, tokens are refused.
func deadIssuer(t *testing.T, w *world, k *kube, i *issuer) {
	url := fmt.Sprintf("https://127.0.0.1:%d", freePorts(t, 1))
	w.associate(t, "idp", &ekstypes.OidcIdentityProviderConfigRequest{
		IdentityProviderConfigName: aws.String("dead"), IssuerUrl: &url, ClientId: aws.String("kubernetes"),
	})
	refusesToken(t, k, i.sign(t, i.key, func(c map[string]any) { c["iss"] = url }), "the issuer cannot be reached")
	if _, err := k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("IAM's token: %v", err)
	}
}
