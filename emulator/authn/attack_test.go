package authn

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// signed is a token whose signature is right for whatever request f makes of the
// ordinary one: what refuses it is not the signature.
func (w *world) signed(t testing.TB, f func(r *http.Request, q url.Values)) string {
	t.Helper()
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "sts.us-east-1.amazonaws.com", Path: "/"}, Header: http.Header{"X-K8s-Aws-Id": {"dev"}}}
	q := url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Expires": {"60"}}
	f(r, q)
	r.URL.RawQuery = q.Encode()
	k := w.keys["ADMIN"]
	u, _, err := v4.NewSigner().PresignHTTP(context.Background(), aws.Credentials{AccessKeyID: "ADMIN", SecretAccessKey: k.Secret, SessionToken: k.SessionToken},
		r, emptyHash, "sts", "us-east-1", w.now)
	if err != nil {
		t.Fatal(err)
	}
	return asToken(u)
}

// tampered is the token with another last digit of its signature.
func tampered(t *testing.T, token string) string {
	t.Helper()
	u, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, tokenPrefix))
	if err != nil {
		t.Fatal(err)
	}
	digit := &u[len(u)-1]
	if *digit++; *digit > 'f' || *digit == '9'+1 {
		*digit = '0'
	}
	return asToken(string(u))
}

// TestTokenAttacks fires what docs/security.md lists at a verifier that would let
// the honest token of the same person in.
func TestTokenAttacks(t *testing.T) {
	w := newWorld()
	w.entries["arn:aws:iam::111122223333:role/admin"] = Entry{Type: "STANDARD", Username: "admin"}
	honest := w.signed(t, func(*http.Request, url.Values) {})
	raw := func(s string) string {
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(honest, tokenPrefix))
		if err != nil {
			t.Fatal(err)
		}
		return asToken(strings.Replace(string(b), "https://sts.us-east-1.amazonaws.com/?", s, 1))
	}
	host := func(h string) string {
		return w.signed(t, func(r *http.Request, _ url.Values) { r.URL.Host = h })
	}
	query := func(k string, v ...string) string {
		return w.signed(t, func(_ *http.Request, q url.Values) { q[k] = v })
	}
	cases := []struct{ name, token, reason string }{
		{"tampered signature", tampered(t, honest), "SignatureDoesNotMatch"},
		{"another cluster's", w.signed(t, func(r *http.Request, _ url.Values) { r.Header.Set("X-K8s-Aws-Id", "prod") }), "signed for another cluster"},
		{"two clusters", w.signed(t, func(r *http.Request, _ url.Values) { r.Header.Add("X-K8s-Aws-Id", "prod") }), "signed for another cluster"},
		{"no cluster", w.signed(t, func(r *http.Request, _ url.Values) { r.Header.Del("X-K8s-Aws-Id") }), "did not sign the x-k8s-aws-id header"},
		{"another service's request", w.signed(t, func(_ *http.Request, q url.Values) { q.Set("Action", "AssumeRole") }), "unexpected action"},
		{"path ..%2f", w.signed(t, func(r *http.Request, _ url.Values) { r.URL.Path, r.URL.RawPath = "/../", "/..%2f" }), "unexpected path"},
		{"path with a dot", raw("https://sts.us-east-1.amazonaws.com/./?"), "unexpected path"},
		{"no path", raw("https://sts.us-east-1.amazonaws.com?"), "unexpected path"},
		{"encoded slash", raw("https://sts.us-east-1.amazonaws.com/%2F?"), "unexpected path"},
		{"control character in the path", raw("https://sts.us-east-1.amazonaws.com/\r\nHost: x\r\n?"), "not a URL"},
		{"control character in the host", raw("https://sts.us-east-1.amazonaws.com\x00.evil/?"), "not a URL"},
		{"encoded control character", raw("https://sts.us-east-1.amazonaws.com/%0d%0aX-K8s-Aws-Id:dev?"), "unexpected path"},
		{"newline behind", asToken("https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity\n"), "not a URL"},
		{"semicolon", asToken("https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity;Action=x"), "malformed query parameter"},
		{"extra parameter", query("RoleArn", "x"), "non-whitelisted query parameter"},
		{"parameter twice", query("Version", "2011-06-15", "2011-06-15"), "multiple values not supported"},
		{"parameter twice in another case", query("version", "2011-06-15"), "multiple values not supported"},
		{"lives for a day", query("X-Amz-Expires", "86400"), "invalid X-Amz-Expires"},
		{"negative life", query("X-Amz-Expires", "-1"), "invalid X-Amz-Expires"},
		{"another host", host("evil.example"), "unexpected hostname"},
		{"STS of nobody", host("sts.amazonaws.com.evil.example"), "unexpected hostname"},
		{"a name that ends like STS's", host("evilsts.us-east-1.amazonaws.com"), "unexpected hostname"},
		{"another AWS service", host("ec2.us-east-1.amazonaws.com"), "unexpected hostname"},
		{"China's STS", host("sts.cn-north-1.amazonaws.com.cn"), "does not support hostname"},
		{"STS with a port", host("sts.us-east-1.amazonaws.com:8443"), "unexpected hostname"},
		{"a public address", host("8.8.8.8"), "unexpected hostname"},
		{"STS without TLS", w.signed(t, func(r *http.Request, _ url.Values) { r.URL.Scheme = "http" }), "unexpected scheme"},
		{"user information", raw("https://sts.us-east-1.amazonaws.com@evil/?"), "unexpected form"},
		{"1 MB", tokenPrefix + strings.Repeat("A", 1<<20), "token is too large"},
		{"prefix alone", tokenPrefix, "unexpected scheme"},
	}
	a := w.authenticator(t)
	if id, ok, err := a.Authenticate(t.Context(), clusterID, honest); !ok || id.Username != "admin" {
		t.Fatalf("the honest token: %+v %v\n%s", id, err, &w.log)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w.log.Reset()
			id, ok, err := a.Authenticate(t.Context(), clusterID, c.token)
			if !denied(ok, err) {
				t.Fatalf("got in as %+v, %v", id, err)
			}
			if !strings.Contains(err.Error(), c.reason) || !strings.Contains(w.log.String(), "access denied") {
				t.Errorf("reason %q, want %q; log %s", err, c.reason, &w.log)
			}
			if sig := "X-Amz-Signature"; strings.Contains(w.log.String(), sig) || len(w.log.String()) > 2000 {
				t.Errorf("the log repeats the token:\n%.3000s", &w.log)
			}
		})
	}
}

// TestTokenHosts: names of STS in the cluster's partition and of the emulator.
func TestTokenHosts(t *testing.T) {
	w := newWorld()
	a := w.authenticator(t)
	a.Hosts = []string{"ekslocal.internal", "203.0.113.9"}
	for _, c := range []struct {
		region string
		urls   []string
	}{
		{"us-east-1", []string{
			"https://sts.amazonaws.com/", "https://sts.eu-west-1.amazonaws.com/", "https://sts-fips.us-west-2.amazonaws.com/", "https://sts.us-east-1.api.aws/",
			"http://localhost:4566/", "https://127.0.0.1:4566/", "http://[::1]:4566/", "http://172.17.0.2:4566/", "http://EKSLOCAL.internal/", "https://203.0.113.9/", "http://aws.localhost/",
		}},
		{"cn-north-1", []string{"https://sts.cn-north-1.amazonaws.com.cn/", "https://sts.cn-northwest-1.api.amazonwebservices.com.cn/"}},
		{"us-gov-west-1", []string{"https://sts.us-gov-west-1.amazonaws.com/"}},
	} {
		for _, s := range c.urls {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.checkHost(u, Cluster{Scope: awsid.Scope{Account: account, Region: c.region}}); err != nil {
				t.Errorf("in %s: %v", c.region, err)
			}
		}
	}
	for s, region := range map[string]string{
		"https://sts.amazonaws.com/": "cn-north-1", "https://sts.cn-north-1.amazonaws.com/": "cn-north-1", "https://sts.us-east-1.amazonaws.com.cn/": "us-east-1",
		"https://sts.us-gov-west-1.amazonaws.com/": "us-east-1", "http://sts.us-east-1.amazonaws.com/": "us-east-1", "http://169.254.169.254/": "us-east-1",
	} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if a.checkHost(u, Cluster{Scope: awsid.Scope{Account: account, Region: region}}) == nil {
			t.Errorf("in %s: %s is good", region, s)
		}
	}
}

// TestTokenReplay: a token that was good is refused as soon as what let it in is
// gone. The verifier keeps nothing.
func TestTokenReplay(t *testing.T) {
	const admin = "arn:aws:iam::111122223333:role/admin"
	for name, take := range map[string]func(w *world){
		"key deleted": func(w *world) { delete(w.keys, "ADMIN") },
		"key changed": func(w *world) {
			w.keys["ADMIN"] = key("arn:aws:iam::111122223333:role/admin", "AROAADMIN", "ADMIN", "")
		},
		"entry deleted":  func(w *world) { delete(w.entries, admin) },
		"role made anew": func(w *world) { w.entries[admin] = Entry{Type: "STANDARD", PrincipalID: "AROAOLD"} },
		"session ended": func(w *world) {
			k := w.keys["ADMIN"]
			k.Expires = w.now.Add(-time.Second)
			w.keys["ADMIN"] = k
		},
		"cluster renamed": func(w *world) { w.cluster.Name = "prod" },
		"mode CONFIG_MAP": func(w *world) { w.cluster.AuthenticationMode = ModeConfigMap },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.entries[admin] = Entry{Type: "STANDARD"}
			a, token := w.authenticator(t), w.token(t, "ADMIN")
			if _, ok, err := a.Authenticate(t.Context(), clusterID, token); !ok || err != nil {
				t.Fatal(ok, err)
			}
			take(w)
			if id, ok, err := a.Authenticate(t.Context(), clusterID, token); !denied(ok, err) {
				t.Errorf("it gets in as %+v, %v", id, err)
			}
		})
	}
}
