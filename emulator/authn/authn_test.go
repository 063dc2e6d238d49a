package authn

import (
	"bytes"
	stdcmp "cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
)

const (
	account   = "111122223333"
	clusterID = "0123456789ABCDEF0123456789ABCDEF"
	nodeID    = "i-0123456789abcdef0"
)

var home = awsid.Scope{Account: account, Region: "us-east-1"}

// world is everything an authenticator asks, as maps.
type world struct {
	cluster   Cluster
	entries   map[string]Entry // by canonical ARN
	awsAuth   map[string]string
	instances map[string]string
	keys      map[string]sigv4.Key
	log       bytes.Buffer
	now       time.Time
}

func (w *world) Cluster(_ context.Context, id string) (Cluster, bool) {
	return w.cluster, id == clusterID
}

func (w *world) AccessEntry(_ context.Context, s awsid.Scope, cluster, arn string) (Entry, bool) {
	e, ok := w.entries[arn]
	return e, ok && s == w.cluster.Scope && cluster == w.cluster.Name
}

func (w *world) AWSAuth(context.Context, string) (map[string]string, bool) {
	return w.awsAuth, w.awsAuth != nil
}

func (w *world) PrivateDNSName(_ context.Context, _ awsid.Scope, id string) (string, bool) {
	n, ok := w.instances[id]
	return n, ok
}

func (w *world) Key(_ context.Context, _, id string) (sigv4.Key, bool) {
	k, ok := w.keys[id]
	return k, ok
}

func key(arn, userID, id, token string) sigv4.Key {
	return sigv4.Key{Secret: "secret-" + id, SessionToken: token, Caller: awsid.Caller{
		Scope: awsid.Scope{Account: account}, ARN: arn, UserID: userID, AccessKeyID: id}}
}

func newWorld() *world {
	return &world{
		cluster:   Cluster{Scope: home, Name: "dev", AuthenticationMode: ModeAPIAndConfigMap},
		entries:   map[string]Entry{},
		instances: map[string]string{nodeID: "ip-10-0-1-23.ec2.internal"},
		// Presigning takes the time from the system: so do these tests.
		now: time.Now(),
		keys: map[string]sigv4.Key{
			"ROOT":  key("arn:aws:iam::111122223333:root", account, "ROOT", ""),
			"ALICE": key("arn:aws:iam::111122223333:user/team/alice", "AIDAALICE", "ALICE", ""),
			"ADMIN": key("arn:aws:sts::111122223333:assumed-role/admin/bob@example.com", "AROAADMIN:bob@example.com", "ADMIN", "token+/="),
			"NODE":  key("arn:aws:sts::111122223333:assumed-role/nodes/"+nodeID, "AROANODE:"+nodeID, "NODE", "t"),
		},
	}
}

func (w *world) authenticator(t testing.TB) *Authenticator {
	t.Helper()
	a, err := New(Config{
		Clusters: w, Entries: w, ConfigMaps: w, Instances: w, Keys: w,
		Clock: clocktesting.NewFakePassiveClock(w.now),
		Log:   slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// presign is what get-token does, through the SDK. endpoint "" is AWS's own.
func (w *world) presign(t testing.TB, keyID, cluster, endpoint string) string {
	t.Helper()
	k := w.keys[keyID]
	o := sts.Options{
		Region: stdcmp.Or(w.cluster.Scope.Region, home.Region),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: k.Secret, SessionToken: k.SessionToken}, nil
		}),
	}
	if endpoint != "" {
		o.BaseEndpoint = aws.String(endpoint)
	}
	r, err := sts.NewPresignClient(sts.New(o)).PresignGetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, sts.WithAPIOptions(
			smithyhttp.AddHeaderValue("x-k8s-aws-id", cluster), smithyhttp.AddHeaderValue("X-Amz-Expires", "60")))
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.URL
}

func asToken(u string) string { return tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(u)) }

func (w *world) token(t testing.TB, keyID string) string {
	return asToken(w.presign(t, keyID, "dev", "http://127.0.0.1:4566"))
}

func TestAuthenticateToken(t *testing.T) {
	w := newWorld()
	w.entries["arn:aws:iam::111122223333:role/admin"] = Entry{PrincipalARN: "arn:aws:iam::111122223333:role/teams/admin", Type: "STANDARD"}
	want := controlplane.Identity{
		Username: "arn:aws:sts::111122223333:assumed-role/admin/bob-example.com",
		UID:      "aws-iam-authenticator:111122223333:AROAADMIN",
		Extra: map[string][]string{
			"arn":          {"arn:aws:sts::111122223333:assumed-role/admin/bob@example.com"},
			"canonicalArn": {"arn:aws:iam::111122223333:role/admin"},
			"principalId":  {"AROAADMIN"}, "sessionName": {"bob@example.com"}, "accessKeyId": {"ADMIN"},
			"sigs.k8s.io/aws-iam-authenticator/principalId": {"AROAADMIN"},
		},
	}
	for _, endpoint := range []string{"", "http://127.0.0.1:4566", "https://localhost:4566"} {
		got, ok, err := w.authenticator(t).Authenticate(context.Background(), clusterID, asToken(w.presign(t, "ADMIN", "dev", endpoint)))
		if !ok || err != nil {
			t.Fatalf("endpoint %q: %v %v\n%s", endpoint, ok, err, &w.log)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("endpoint %q: %s", endpoint, d)
		}
	}
}

func TestRejectedTokens(t *testing.T) {
	w := newWorld()
	w.entries["arn:aws:iam::111122223333:role/admin"] = Entry{Type: "STANDARD"}
	good := w.presign(t, "ADMIN", "dev", "")
	edit := func(f func(*url.URL, url.Values)) string {
		u, err := url.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		f(u, q)
		u.RawQuery = q.Encode()
		return asToken(u.String())
	}
	set := func(k, v string) string { return edit(func(_ *url.URL, q url.Values) { q.Set(k, v) }) }
	wrongSecret := newWorld()
	k := wrongSecret.keys["ADMIN"]
	k.Secret = "other"
	wrongSecret.keys["ADMIN"] = k
	cases := []struct{ name, token, reason string }{
		{"not base64", tokenPrefix + "***", "illegal base64 data"},
		{"padded", asToken(good) + "==", "illegal base64 data"},
		{"too large", asToken("https://sts.amazonaws.com/?x=" + strings.Repeat("a", 4096)), "token is too large"},
		{"not a URL", asToken("://"), "not a URL"},
		{"scheme", edit(func(u *url.URL, _ url.Values) { u.Scheme = "file" }), `unexpected scheme \"file\"`},
		{"path", edit(func(u *url.URL, _ url.Values) { u.Path = "/x" }), "unexpected path in pre-signed URL"},
		{"user info", edit(func(u *url.URL, _ url.Values) { u.User = url.User("x") }), "unexpected form"},
		{"twice", asToken(good + "&Action=GetCallerIdentity"), "query parameter with multiple values not supported"},
		{"twice in another case", asToken(good + "&action=GetCallerIdentity"), "query parameter with multiple values not supported"},
		{"foreign parameter", set("Foo", "bar"), "non-whitelisted query parameter"},
		{"action", set("Action", "AssumeRole"), "unexpected action parameter"},
		{"cluster header unsigned", set("X-Amz-SignedHeaders", "host"), "client did not sign the x-k8s-aws-id header"},
		{"no expires", edit(func(_ *url.URL, q url.Values) { q.Del("X-Amz-Expires") }), "invalid X-Amz-Expires parameter"},
		{"long expires", set("X-Amz-Expires", "901"), "invalid X-Amz-Expires parameter"},
		{"no date", edit(func(_ *url.URL, q url.Values) { q.Del("X-Amz-Date") }), "X-Amz-Date parameter must be present"},
		{"other date", set("X-Amz-Date", "20200101T000000Z"), "Date in Credential scope does not match"},
		{"host", edit(func(u *url.URL, _ url.Values) { u.Host = "evil.example" }), "unexpected hostname"},
		{"cluster", asToken(w.presign(t, "ADMIN", "prod", "")), "signed for another cluster"},
		{"secret", asToken(wrongSecret.presign(t, "ADMIN", "dev", "")), "signed for another cluster"},
		{"session token", set("X-Amz-Security-Token", "other"), "The security token included in the request is invalid."},
		{"unknown key", asToken((&world{keys: map[string]sigv4.Key{"X": {Secret: "x"}}}).presign(t, "X", "dev", "")), "InvalidClientTokenId"},
		{"unmapped", w.token(t, "ALICE"), "ARN is not mapped"},
	}
	a := w.authenticator(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w.log.Reset()
			id, ok, err := a.Authenticate(context.Background(), clusterID, c.token)
			if !denied(ok, err) {
				t.Fatalf("got %v %v %v", id, ok, err)
			}
			if log := w.log.String(); !strings.Contains(log, "access denied") || !strings.Contains(log, c.reason) {
				t.Errorf("the log does not say %q:\n%s", c.reason, log)
			}
		})
	}
	for name, token := range map[string]string{"a service account's": "eyJhbGciOi", "none": ""} {
		w.log.Reset()
		if _, ok, err := a.Authenticate(context.Background(), clusterID, token); ok || err != nil || w.log.Len() > 0 {
			t.Errorf("%s token: %v %v %q", name, ok, err, &w.log)
		}
	}
	if _, ok, _ := a.Authenticate(context.Background(), "other", asToken(good)); ok {
		t.Error("a cluster that does not exist authenticates")
	}
}

// denied tells whether a token was refused, which is no failure of the emulator.
func denied(ok bool, err error) bool {
	var d *controlplane.Denied
	return !ok && errors.As(err, &d)
}

func TestTokenAge(t *testing.T) {
	w := newWorld()
	w.entries["arn:aws:iam::111122223333:role/admin"] = Entry{Type: "STANDARD"}
	token := w.token(t, "ADMIN")
	start := w.now
	for age, want := range map[time.Duration]bool{14 * time.Minute: true, 16 * time.Minute: false, -16 * time.Minute: false} {
		w.now = start.Add(age)
		if _, ok, err := w.authenticator(t).Authenticate(context.Background(), clusterID, token); ok != want || !ok && !denied(ok, err) {
			t.Errorf("age %v: %v %v, want %v", age, ok, err, want)
		}
	}
}

// FuzzDecodeToken: whatever decodes is a harmless GET of "/".
func FuzzDecodeToken(f *testing.F) {
	f.Add("https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F20260301%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Date=20260301T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Signature=8fd8c8b64ef5b7165058544b29b5832731b028550d9d99ccfbd6905ea69c1461", true)
	f.Add("http://127.0.0.1:4566/?action=GetCallerIdentity&&;%zz", true)
	f.Add("k8s-aws-v1.aHR0cA", false)
	f.Add("//@/#", true)
	w := newWorld()
	w.awsAuth = map[string]string{"mapAccounts": `["111122223333"]`}
	a := w.authenticator(f)
	f.Fuzz(func(t *testing.T, s string, encode bool) {
		if encode {
			s = asToken(s)
		}
		if _, ok, err := a.Authenticate(context.Background(), clusterID, s); err != nil && !denied(ok, err) || ok {
			t.Fatalf("%q: %v %v", s, ok, err)
		}
		if r, err := decodeToken(s); err == nil && (r.Method != "GET" || r.URL.Path != "/" || r.Host == "") {
			t.Fatalf("%q became %s %s", s, r.Method, r.URL)
		}
		w.log.Reset()
	})
}

// TestCLIToken takes a token of the real `aws eks get-token`.
func TestCLIToken(t *testing.T) {
	cli, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("no aws CLI on the PATH")
	}
	if testing.Short() {
		t.Skip("the aws CLI takes its time")
	}
	w := newWorld()
	w.entries["arn:aws:iam::111122223333:role/admin"] = Entry{Type: "STANDARD", Username: "admin"}
	for _, endpoint := range []string{"", "AWS_ENDPOINT_URL=http://127.0.0.1:4566"} {
		cmd := exec.Command(cli, "eks", "get-token", "--cluster-name", "dev", "--output", "json")
		cmd.Env = append(os.Environ(), endpoint, "AWS_ACCESS_KEY_ID=ADMIN", "AWS_SECRET_ACCESS_KEY="+w.keys["ADMIN"].Secret,
			"AWS_SESSION_TOKEN="+w.keys["ADMIN"].SessionToken, "AWS_DEFAULT_REGION=eu-west-1", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var cred struct{ Status struct{ Token string } }
		if err := json.Unmarshal(out, &cred); err != nil {
			t.Fatal(err)
		}
		id, ok, err := w.authenticator(t).Authenticate(context.Background(), clusterID, cred.Status.Token)
		if !ok || err != nil || id.Username != "admin" {
			t.Errorf("%q: %+v %v %v\n%s", endpoint, id, ok, err, &w.log)
		}
	}
}
