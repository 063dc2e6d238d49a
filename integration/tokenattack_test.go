package integration

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// attacker holds valid credentials of somebody who may use the cluster, and crafts.
type attacker struct {
	keys    aws.Credentials
	cluster string
	at      time.Time
}

// signed is a token whose signature is right for what f makes of the request.
func (a attacker) signed(t *testing.T, f func(r *http.Request, q url.Values)) string {
	t.Helper()
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "sts.us-east-1.amazonaws.com", Path: "/"}, Header: http.Header{"X-K8s-Aws-Id": {a.cluster}}}
	q := url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Expires": {"60"}}
	f(r, q)
	r.URL.RawQuery = q.Encode()
	sum := sha256.Sum256(nil)
	u, _, err := v4.NewSigner().PresignHTTP(t.Context(), a.keys, r, fmt.Sprintf("%x", sum), "sts", region, a.at)
	if err != nil {
		t.Fatal(err)
	}
	return awsToken(u)
}

func awsToken(u string) string {
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(u))
}

// tampered is the token with another last digit of its signature.
func tampered(t *testing.T, token string) string {
	t.Helper()
	u := must(base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1.")))(t)
	digit := &u[len(u)-1]
	if *digit++; *digit > 'f' || *digit == '9'+1 {
		*digit = '0'
	}
	return awsToken(string(u))
}

// ask sends one request with a token and tells the status.
func ask(t *testing.T, c *ekstypes.Cluster, token string) (int, string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(base64.StdEncoding.DecodeString(*c.CertificateAuthority.Data))(t))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: 30 * time.Second}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req := must(http.NewRequestWithContext(ctx, http.MethodGet, *c.Endpoint+"/api/v1/namespaces/default/pods", nil))(t)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// TestTokenAttacks fires the list of docs/security.md at a real cluster: each is a
// 401, and the authenticator's log in CloudWatch says why.
func TestTokenAttacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, "--auth", "lax")) // which lets unknown keys call AWS, not Kubernetes
	c := w.cluster(t, "dev", func(in *eks.CreateClusterInput) {
		in.Logging = &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Enabled: aws.Bool(true), Types: []ekstypes.LogType{ekstypes.LogTypeAuthenticator}}}}
	})
	other := w.cluster(t, "other")
	admin, otherAdmin := w.kube(t, c), w.kube(t, other)
	eve := w.assume(t, w.assumable(t, "eve", "/"), "eve")
	w.entry(t, "dev", eve.arn)
	w.grant(t, "dev", eve.arn, "AmazonEKSViewPolicy")
	fired := w.assume(t, w.assumable(t, "fired", "/"), "fired")
	w.entry(t, "dev", fired.arn)
	a := attacker{eve.keys, "dev", time.Now()}
	honest := a.signed(t, func(*http.Request, url.Values) {})
	if status, body := ask(t, c, honest); status != http.StatusOK {
		t.Fatalf("the honest token: %d %s", status, body)
	}
	fromFired := fired.token(t, "dev")
	w.deleteRole(t, "fired")
	late, early := a, a
	late.at, early.at = a.at.Add(-16*time.Minute), a.at.Add(16*time.Minute)
	nothing := func(*http.Request, url.Values) {}
	host := func(h string) string { return a.signed(t, func(r *http.Request, _ url.Values) { r.URL.Host = h }) }
	query := func(k string, v ...string) string {
		return a.signed(t, func(_ *http.Request, q url.Values) { q[k] = v })
	}

	for _, tc := range []struct{ name, token, reason string }{
		{"tampered signature", tampered(t, honest), "SignatureDoesNotMatch"},
		{"another cluster's token", eve.token(t, "other"), "signed for another cluster"},
		{"an expired token", late.signed(t, nothing), "Signature expired"},
		{"a token of tomorrow", early.signed(t, nothing), "Signature not yet current"},
		{"a token of a deleted role", fromFired, "The security token included in the request is invalid"},
		{"a key that nobody made", attacker{aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"}, "dev", a.at}.signed(t, nothing), "InvalidClientTokenId"},
		{"a session without its session token", attacker{aws.Credentials{AccessKeyID: eve.keys.AccessKeyID, SecretAccessKey: eve.keys.SecretAccessKey}, "dev", a.at}.signed(t, nothing), "InvalidClientTokenId"},
		{"..%2f in the path", a.signed(t, func(r *http.Request, _ url.Values) { r.URL.Path, r.URL.RawPath = "/../", "/..%2f" }), "unexpected path in pre-signed URL"},
		{"control characters", awsToken("https://sts.us-east-1.amazonaws.com/\r\nX-K8s-Aws-Id: dev\r\n?Action=GetCallerIdentity"), "not a URL"},
		{"an encoded newline", a.signed(t, func(r *http.Request, _ url.Values) { r.URL.Path = "/\nX" }), "unexpected path in pre-signed URL"},
		{"an extra parameter", query("RoleArn", "arn:aws:iam::000000000000:role/admin"), "non-whitelisted query parameter"},
		{"a parameter twice", query("Action", "GetCallerIdentity", "AssumeRole"), "query parameter with multiple values not supported"},
		{"another action", query("Action", "GetSessionToken"), "unexpected action parameter"},
		{"a life of a day", query("X-Amz-Expires", "86400"), "invalid X-Amz-Expires parameter"},
		{"another host", host("evil.example"), "unexpected hostname"},
		{"a host that begins like STS's", host("sts.us-east-1.amazonaws.com.evil.example"), "unexpected hostname"},
		{"500 kB", "k8s-aws-v1." + strings.Repeat("QUFB", 125_000), "token is too large"},
		{"1 MB", "k8s-aws-v1." + strings.Repeat("QUFB", 1<<18), "token is too large"},
		{"rubbish", "rubbish", `token is missing expected \"k8s-aws-v1.\" prefix`},
	} {
		t.Run(tc.name, func(t *testing.T) { w.refusedWith(t, c, tc.token, tc.reason) })
	}
	t.Run("2 MB", func(t *testing.T) { // more than the API server reads of headers
		if status, body := ask(t, c, "k8s-aws-v1."+strings.Repeat("QUFB", 1<<19)); status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%d %s", status, body)
		}
	})
	t.Run("JWT", func(t *testing.T) { w.jwtAttacks(t, c, admin, otherAdmin) })
	if status, body := ask(t, c, honest); status != http.StatusOK {
		t.Errorf("the honest token afterwards: %d %s", status, body)
	}
	t.Run("CloudWatch", func(t *testing.T) {
		tool(t, "aws")
		cli := newAWS(t, w.env(filepath.Join(t.TempDir(), "kubeconfig")))
		for _, want := range []string{"unexpected hostname", "signed for another cluster", "token is too large"} {
			eventually(t, 15*time.Second, "the delivered log says "+want, func() error {
				out := cli.text(t, "events[].message", "logs", "filter-log-events", "--log-group-name", "/aws/eks/dev/cluster", "--log-stream-name-prefix", "authenticator-", "--filter-pattern", `"access denied" "`+want+`"`)
				if !strings.Contains(out, "level=warning") {
					return fmt.Errorf("it says %q", out)
				}
				return nil
			})
		}
	})
}

// refusedWith is a 401 for the client and a reason in the authenticator's log, which
// does not repeat what it refuses.
func (w *world) refusedWith(t *testing.T, c *ekstypes.Cluster, token, reason string) {
	t.Helper()
	logs := must(filepath.Glob(filepath.Join(w.dataDir, "clusters", "*", "authenticator.log")))(t)
	read := func() string {
		var all strings.Builder
		for _, p := range logs {
			all.Write(must(os.ReadFile(p))(t))
		}
		return all.String()
	}
	before := strings.Count(read(), reason)
	status, body := ask(t, c, token)
	if status != http.StatusUnauthorized || !strings.Contains(body, `"message":"Unauthorized"`) && !strings.Contains(body, `"message": "Unauthorized"`) {
		t.Errorf("it is answered %d %.300s", status, body)
	}
	log := read()
	if strings.Count(log, reason) != before+1 {
		t.Errorf("the authenticator's log does not say %q once more:\n%s", reason, lastLines(log, 5))
	}
	if token != reason && strings.Contains(log, token) || strings.Contains(log, "X-Amz-Signature") {
		t.Error("the authenticator's log repeats a token")
	}
}

// jwtAttacks come as what a cluster's own service accounts show.
func (w *world) jwtAttacks(t *testing.T, c *ekstypes.Cluster, k, other *kube) {
	const missing = `token is missing expected \"k8s-aws-v1.\" prefix`
	ctx := t.Context()
	issue := func(k *kube) string {
		r := must(k.CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))(t)
		return r.Status.Token
	}
	own := issue(k)
	if status, body := ask(t, c, own); status != http.StatusForbidden { // known, without rights
		t.Fatalf("the cluster's own token: %d %s", status, body)
	}
	parts := strings.Split(own, ".")
	b64 := base64.RawURLEncoding
	claims := string(must(b64.DecodeString(parts[1]))(t))
	kid := jwtHeader(t, parts[0])["kid"].(string)
	header := func(h string) string { return b64.EncodeToString([]byte(h)) + "." + parts[1] }
	public := w.issuerKey(t, *c.Identity.Oidc.Issuer)
	der := must(x509.MarshalPKIXPublicKey(public))(t)
	mac := func(signed string, secret []byte) string {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(signed))
		return signed + "." + b64.EncodeToString(m.Sum(nil))
	}
	mine := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	var fetched atomic.Bool
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Store(true) }))
	t.Cleanup(evil.Close)
	jwk := `{"kty":"RSA","alg":"RS256","kid":"mine","e":"AQAB","n":"` + b64.EncodeToString(mine.N.Bytes()) + `"}`
	hs := header(`{"alg":"HS256","kid":"` + kid + `"}`)
	for name, token := range map[string]string{
		"alg none":                       header(`{"alg":"none"}`) + ".",
		"alg none with the signature":    header(`{"alg":"none","kid":"`+kid+`"}`) + "." + parts[2],
		"HS256 with the public key":      mac(hs, der),
		"HS256 with the public key, PEM": mac(hs, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HS256 with nothing":             mac(hs, nil),
		"another cluster's":              issue(other),
		"another key under this kid":     signJWT(t, mine, header(`{"alg":"RS256","kid":"`+kid+`"}`)),
		"a kid that is a URL":            signJWT(t, mine, header(`{"alg":"RS256","kid":"`+evil.URL+`/keys"}`)),
		"a kid that is a path":           signJWT(t, mine, header(`{"alg":"RS256","kid":"../../../../etc/passwd"}`)),
		"a jku":                          signJWT(t, mine, header(`{"alg":"RS256","kid":"mine","jku":"`+evil.URL+`"}`)),
		"a jwk":                          signJWT(t, mine, header(`{"alg":"RS256","kid":"mine","jwk":`+jwk+`}`)),
		"claims changed":                 parts[0] + "." + b64.EncodeToString([]byte(strings.Replace(claims, `"default"`, `"clusterrole-aggregation-controller"`, 2))) + "." + parts[2],
	} {
		t.Run(name, func(t *testing.T) { w.refusedWith(t, c, token, missing) })
	}
	if fetched.Load() {
		t.Error("a token chose where keys are fetched from")
	}
}

func jwtHeader(t *testing.T, part string) map[string]any {
	t.Helper()
	var h map[string]any
	if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(part))(t), &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// issuerKey fetches the cluster's public key as anybody can.
func (w *world) issuerKey(t *testing.T, issuer string) *rsa.PublicKey {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // what is public
	res := must(client.Get(issuer + "/keys"))(t)
	defer res.Body.Close()
	var set struct{ Keys []struct{ N, E string } }
	if err := errors.Join(json.NewDecoder(res.Body).Decode(&set)); err != nil || len(set.Keys) == 0 {
		t.Fatalf("the keys are %+v, %v", set, err)
	}
	n := must(base64.RawURLEncoding.DecodeString(set.Keys[0].N))(t)
	e := must(base64.RawURLEncoding.DecodeString(set.Keys[0].E))(t)
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
}
