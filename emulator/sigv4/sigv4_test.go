package sigv4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// session is a key with temporary credentials beside the built-in ones.
type session struct{ id, secret, token string }

func (s session) Key(_ context.Context, _, id string) (Key, bool) {
	return Key{Secret: s.secret, SessionToken: s.token, Expires: now.Add(time.Hour), Caller: Root(awsid.PartitionAWS, "111122223333", id)}, id == s.id
}

var sessionKey = session{"ASIAEXAMPLE", "s3cret", "TOKEN/+="}

func verifierAt(t time.Time) *Verifier {
	return New(Chain{nil, Builtin{}, sessionKey}, clocktesting.NewFakePassiveClock(t))
}

func verify(v *Verifier, r *http.Request, body []byte) (Key, error) {
	a, err := Parse(r)
	if err != nil {
		return Key{}, err
	}
	return v.Verify(context.Background(), a, r, body)
}

func TestVerifyBotocore(t *testing.T) {
	raw, err := os.ReadFile("testdata/botocore.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Method, URL, Body string
		Headers                 map[string]string
	}
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	// These sign as `test` with a session token now and then.
	v := New(Chain{session{"test", "test", "TOKEN/+="}}, clocktesting.NewFakePassiveClock(now))
	plain := New(Builtin{}, clocktesting.NewFakePassiveClock(now))
	for _, c := range vectors {
		t.Run(c.Name, func(t *testing.T) {
			r := httptest.NewRequest(c.Method, c.URL, strings.NewReader(c.Body))
			for k, h := range c.Headers {
				r.Header.Set(k, h)
			}
			use := plain
			if a, err := Parse(r); err == nil && a.SessionToken != "" {
				use = v
			}
			if _, err := verify(use, r, []byte(c.Body)); err != nil {
				t.Fatal(describe(err))
			}
			if _, err := verify(use, r, []byte(c.Body+"x")); err == nil {
				t.Error("another body was accepted")
			}
			r.Method = "PUT"
			if _, err := verify(use, r, []byte(c.Body)); err == nil {
				t.Error("another method was accepted")
			}
		})
	}
}

func describe(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Canonical != "" {
		return err.Error() + "\ncanonical request:\n" + e.Canonical
	}
	return err.Error()
}

// sdkRequest is a request as the Go SDK's clients sign and send it.
func sdkRequest(t testing.TB, method, url, body string, headers map[string]string, c aws.Credentials, at time.Time) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(context.Background(), c, r, hex.EncodeToString(sum[:]), "eks", "us-east-1", at); err != nil {
		t.Fatal(err)
	}
	return overTheWire(t, r)
}

// overTheWire is what a server makes of r.
func overTheWire(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return parseWire(t, b.Bytes())
}

func TestVerifySDK(t *testing.T) {
	test := aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}
	cases := []struct {
		name, method, url, body string
		headers                 map[string]string
		cred                    aws.Credentials
		account                 string
	}{
		{name: "plain", method: "GET", url: "http://127.0.0.1:4566/clusters/dev", cred: test, account: awsid.DefaultAccount},
		{name: "account", method: "GET", url: "http://127.0.0.1:4566/clusters",
			cred: aws.Credentials{AccessKeyID: "123456789012", SecretAccessKey: "test"}, account: "123456789012"},
		{name: "session", method: "GET", url: "http://127.0.0.1:4566/clusters",
			cred:    aws.Credentials{AccessKeyID: sessionKey.id, SecretAccessKey: sessionKey.secret, SessionToken: sessionKey.token},
			account: "111122223333"},
		{name: "arn label", method: "DELETE", url: "http://h:1/clusters/dev/access-entries/arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fx%20%25y", cred: test, account: awsid.DefaultAccount},
		{name: "bare arn", method: "GET", url: "http://h:1/tags/arn:aws:eks:us-east-1:000000000000:cluster/dev", cred: test, account: awsid.DefaultAccount},
		{name: "query", method: "GET", url: "http://h:1/x?b=2&a=%20+&c&a=a%2Fb&a=a-b&%C3%BC=%7e", cred: test, account: awsid.DefaultAccount},
		{name: "body", method: "POST", url: "http://h:1/clusters", body: `{"name":"dev"}`,
			headers: map[string]string{"Content-Type": "application/json", "X-Amz-Foo": " a  b "}, cred: test, account: awsid.DefaultAccount},
		{name: "default port", method: "GET", url: "http://h:80/", cred: test, account: awsid.DefaultAccount},
		{name: "no path", method: "GET", url: "http://h:1", cred: test, account: awsid.DefaultAccount},
		{name: "double slash", method: "GET", url: "http://h:1/a//b/../c", cred: test, account: awsid.DefaultAccount},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := sdkRequest(t, c.method, c.url, c.body, c.headers, c.cred, now)
			key, err := verify(verifierAt(now), r, []byte(c.body))
			if err != nil {
				t.Fatal(describe(err))
			}
			if key.Caller.Account != c.account || key.Caller.AccessKeyID != c.cred.AccessKeyID {
				t.Errorf("caller %+v, want account %s", key.Caller, c.account)
			}
		})
	}
}

func TestVerifyPresigned(t *testing.T) {
	sign := func(service string, at time.Time) *http.Request {
		r := httptest.NewRequest("GET", "http://127.0.0.1:4566/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
		r.Header.Set("X-K8s-Aws-Id", "dev")
		u, _, err := v4.NewSigner().PresignHTTP(context.Background(), aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"},
			r, emptyHash, service, "us-east-1", at)
		if err != nil {
			t.Fatal(err)
		}
		r = httptest.NewRequest("GET", u, nil)
		r.Header.Set("X-K8s-Aws-Id", "dev")
		return r
	}
	r := sign("sts", now)
	if _, err := verify(verifierAt(now), r, nil); err != nil {
		t.Fatal(describe(err))
	}
	if _, err := verify(verifierAt(now.Add(14*time.Minute)), r, nil); err != nil {
		t.Errorf("STS takes presigned requests for 15 minutes: %v", err)
	}
	r.Header.Set("X-K8s-Aws-Id", "other")
	if _, err := verify(verifierAt(now), r, nil); err == nil {
		t.Error("a token for another cluster was accepted")
	}
	if _, err := verify(verifierAt(now.Add(61*time.Second)), sign("eks", now), nil); err == nil ||
		!strings.Contains(err.Error(), "Signature expired: 20260301T120000Z is now earlier than 20260301T120001Z (20260301T120101Z - 1 min.)") {
		t.Errorf("X-Amz-Expires ignored: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	test := aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}
	at := func(at time.Time, c aws.Credentials) *http.Request {
		return sdkRequest(t, "POST", "http://127.0.0.1:4566/clusters", "{}", nil, c, at)
	}
	auth := func(f func(string) string) *http.Request {
		r := at(now, test)
		r.Header.Set("Authorization", f(r.Header.Get("Authorization")))
		return r
	}
	replace := func(old, new string) *http.Request {
		return auth(func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("%q is not in %q", old, s)
			}
			return strings.Replace(s, old, new, 1)
		})
	}
	header := func(k, v string) *http.Request {
		r := at(now, test)
		r.Header.Set(k, v)
		if v == "" {
			r.Header.Del(k)
		}
		return r
	}
	query := func(q string) *http.Request { return httptest.NewRequest("GET", "/?"+q, nil) }
	const mism = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	cases := []struct {
		name       string
		r          *http.Request
		code, text string
	}{
		{"unsigned", httptest.NewRequest("GET", "/", nil), CodeMissing, "Request is missing Authentication Token"},
		{"wrong secret", at(now, aws.Credentials{AccessKeyID: "test", SecretAccessKey: "no"}), CodeMismatch, mism},
		{"unknown key", at(now, aws.Credentials{AccessKeyID: "AKIAX", SecretAccessKey: "test"}), CodeUnknownKey, "The security token included in the request is invalid."},
		{"token to a key without", at(now, aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test", SessionToken: "x"}), CodeUnknownKey, "The security token included in the request is invalid."},
		{"no token to a key with", at(now, aws.Credentials{AccessKeyID: sessionKey.id, SecretAccessKey: sessionKey.secret}), CodeUnknownKey, "The security token included in the request is invalid."},
		{"old", at(now.Add(-15*time.Minute-time.Second), test), CodeMismatch, "Signature expired: 20260301T114459Z is now earlier than 20260301T114500Z (20260301T120000Z - 15 min.)"},
		{"early", at(now.Add(15*time.Minute+time.Second), test), CodeMismatch, "Signature not yet current: 20260301T121501Z is still later than 20260301T121500Z (20260301T120000Z + 15 min.)"},
		{"method of old", replace("AWS4-HMAC-SHA256", "AWS"), CodeIncomplete, "Authorization header requires 'Credential' parameter. "},
		{"sigv4a", replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), CodeIncomplete, "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."},
		{"no signature", replace("Signature=", "X="), CodeIncomplete, "Authorization header requires 'Signature' parameter. (Hashed"},
		{"no equal-sign", replace("Signature=", "Signature"), CodeIncomplete, "not a valid key=value pair (missing equal-sign) in Authorization header:"},
		{"no date", header("X-Amz-Date", ""), CodeIncomplete, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. (Hashed"},
		{"bad date", header("X-Amz-Date", "yesterday"), CodeIncomplete, "Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"other day", header("X-Amz-Date", "20260302T120000Z"), CodeMismatch, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260301' != '20260302', from '20260302T120000Z'."},
		{"four elements", replace("/us-east-1/", "/"), CodeIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'test/20260301/eks/aws4_request'"},
		{"terminator", replace("aws4_request", "aws4"), CodeMismatch, "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws4'."},
		{"region", replace("us-east-1", "../x"), CodeIncomplete, ""},
		{"region name", replace("us-east-1", "US_EAST"), CodeMismatch, "Credential should be scoped to a valid region, not 'US_EAST'."},
		{"global", replace("us-east-1", "global"), CodeMismatch, "Credential should be scoped to a valid region, not 'global'."},
		{"host unsigned", replace("host;", ""), CodeMismatch, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"short signature", auth(func(s string) string { return s[:len(s)-2] }), CodeMismatch, mism},
		{"long signature", auth(func(s string) string { return s + "00" }), CodeMismatch, mism},
		{"payload hash", header("X-Amz-Content-Sha256", emptyHash), CodeMismatch, "The value of the x-amz-content-sha256 header"},
		{"streaming", header("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), CodeMismatch, "The payload form"},
		{"half a query", query("X-Amz-Algorithm=AWS4-HMAC-SHA256"), CodeIncomplete, "AWS query-string parameters must include 'X-Amz-Credential'. Re-examine the query-string parameters."},
		{"expires", query("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Signature=s&X-Amz-SignedHeaders=host&X-Amz-Date=d&X-Amz-Expires=-1"), CodeIncomplete, "X-Amz-Expires must be"},
		{"twice", query("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Credential=d&X-Amz-Signature=s&X-Amz-SignedHeaders=host&X-Amz-Date=d"), CodeIncomplete, "AWS query-string parameter 'X-Amz-Credential' must not be repeated."},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := verify(verifierAt(now), c.r, []byte("{}"))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.Code != c.code || !strings.Contains(e.Message, c.text) {
				t.Errorf("got  %s: %s\nwant %s: %s", e.Code, e.Message, c.code, c.text)
			}
		})
	}
}

func TestExpiredKey(t *testing.T) {
	later := now.Add(time.Hour)
	r := sdkRequest(t, "GET", "http://h:1/", "", nil,
		aws.Credentials{AccessKeyID: sessionKey.id, SecretAccessKey: sessionKey.secret, SessionToken: sessionKey.token}, later)
	_, err := verify(verifierAt(later), r, nil)
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeExpired {
		t.Errorf("got %v, want %s", err, CodeExpired)
	}
}

func TestUnsignedPayload(t *testing.T) {
	r, err := http.NewRequest("POST", "http://h:1/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
	if err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"},
		r, unsignedPayload, "eks", "us-east-1", now); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(verifierAt(now), overTheWire(t, r), []byte("{}")); err != nil {
		t.Error(describe(err))
	}
}

// TestChangedSecret holds that a cached signing key ends with its secret.
func TestChangedSecret(t *testing.T) {
	k := &session{"AKIA", "old", ""}
	v := New(k, clocktesting.NewFakePassiveClock(now))
	signed := func(secret string) *http.Request {
		return sdkRequest(t, "GET", "http://h:1/", "", nil, aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: secret}, now)
	}
	if _, err := verify(v, signed("old"), nil); err != nil {
		t.Fatal(err)
	}
	k.secret = "new"
	if _, err := verify(v, signed("old"), nil); err == nil {
		t.Error("the old secret still works")
	}
	if _, err := verify(v, signed("new"), nil); err != nil {
		t.Error(err)
	}
}

func TestBuiltin(t *testing.T) {
	got := map[string]string{}
	for _, id := range []string{"test", "000000000000", "123456789012", "12345678901", "1234567890123", "12345678901x", "", "TEST"} {
		if k, ok := (Builtin{}).Key(context.Background(), awsid.PartitionAWS, id); ok {
			got[id] = k.Caller.ARN + " " + k.Secret
		}
	}
	want := map[string]string{
		"test":         "arn:aws:iam::000000000000:root test",
		"000000000000": "arn:aws:iam::000000000000:root test",
		"123456789012": "arn:aws:iam::123456789012:root test",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func BenchmarkVerify(b *testing.B) {
	r := sdkRequest(b, "GET", "http://127.0.0.1:4566/clusters/dev", "", map[string]string{"Amz-Sdk-Request": "attempt=1; max=3", "Amz-Sdk-Invocation-Id": "x"},
		aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, now)
	v := verifierAt(now)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verify(v, r, nil); err != nil {
			b.Fatal(describe(err))
		}
	}
}
