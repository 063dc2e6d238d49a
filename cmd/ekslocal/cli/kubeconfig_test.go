package cli

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ekslocal/ekslocal/api/admin"
)

// eksServer answers what `kubeconfig` asks.
func eksServer(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ekslocal/status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(admin.Status{Clusters: []admin.Cluster{
			{Name: "dev", Region: "eu-west-1"}, {Name: "twice", Region: "eu-west-1"}, {Name: "twice", Region: "ap-south-1"}, {Name: "new", Region: "us-east-1"}}})
	})
	mux.HandleFunc("GET /clusters/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		c := map[string]any{"name": name, "arn": "arn:aws:eks:eu-west-1:000000000000:cluster/" + name, "status": "CREATING"}
		switch name {
		case "dev":
			c["endpoint"], c["certificateAuthority"] = "https://127.0.0.1:6500", map[string]string{"data": base64.StdEncoding.EncodeToString([]byte("CA"))}
		case "new":
		default:
			w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"message":"No cluster found"}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"cluster": c})
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// noAWS keeps the SDK from this machine's configuration.
func noAWS(t *testing.T) {
	for _, k := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"} {
		t.Setenv(k, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
}

func TestKubeconfigMerge(t *testing.T) {
	noAWS(t)
	srv := eksServer(t)
	s := newShell(t)
	s.env["AWS_ENDPOINT_URL"] = srv.URL
	path := filepath.Join(t.TempDir(), "config")
	before, err := os.ReadFile("testdata/kubeconfig-before.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again is the same
		s.must("kubeconfig", "dev", "--kubeconfig", path, "--alias", "dev")
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(got), os.Args[0], "/bin/ekslocal")
		golden(t, "kubeconfig-after.golden", []byte(strings.ReplaceAll(text, srv.URL, "http://ENDPOINT")))
	}
}

func TestKubeconfigPlugins(t *testing.T) {
	noAWS(t)
	s := newShell(t)
	s.env["AWS_ENDPOINT_URL"] = eksServer(t).URL
	for _, tc := range []struct {
		name    string
		flags   []string
		command string
		args    string
	}{
		{"aws", []string{"--plugin", "aws"}, "aws", "--region eu-west-1 eks get-token --cluster-name dev --output json"},
		{"aws with a role", []string{"--plugin", "aws", "--role-arn", "R"}, "aws", "--region eu-west-1 eks get-token --cluster-name dev --output json --role-arn R"},
		{"own", []string{"--plugin", "ekslocal"}, os.Args[0], "token --cluster-name dev --region eu-west-1 --endpoint " + s.env["AWS_ENDPOINT_URL"]},
	} {
		c, err := clientcmd.Load([]byte(s.must(append([]string{"kubeconfig", "dev", "--print"}, tc.flags...)...)))
		if err != nil {
			t.Fatal(err)
		}
		e := c.AuthInfos[c.Contexts[c.CurrentContext].AuthInfo].Exec
		if e.Command != tc.command || strings.Join(e.Args, " ") != tc.args {
			t.Errorf("%s: %s %s", tc.name, e.Command, strings.Join(e.Args, " "))
		}
	}
}

func TestKubeconfigErrors(t *testing.T) {
	noAWS(t)
	s := newShell(t)
	s.env["AWS_ENDPOINT_URL"] = eksServer(t).URL
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("\t{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"none"}, "there is no cluster none in us-east-1: `ekslocal status` lists them"},
		{[]string{"twice"}, "several regions have a cluster twice: choose with --region"},
		{[]string{"new"}, "cluster new is CREATING and has no endpoint yet"},
		{[]string{"dev", "--plugin", "x"}, "--plugin x is neither aws nor ekslocal"},
		{[]string{"dev", "--kubeconfig", broken}, "cannot be read: mend it"},
	} {
		if _, errs, code := s.run(append([]string{"kubeconfig"}, tc.args...)...); code != 1 || !strings.Contains(errs, tc.want) {
			t.Errorf("%v: status %d, %q; want %q", tc.args, code, errs, tc.want)
		}
	}
}

func TestToken(t *testing.T) {
	noAWS(t)
	s := newShell(t)
	s.env["KUBERNETES_EXEC_INFO"] = `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential"}`
	var cred struct {
		APIVersion string
		Kind       string
		Status     struct {
			Token               string
			ExpirationTimestamp time.Time
		}
	}
	if err := json.Unmarshal([]byte(s.must("token", "--cluster-name", "dev", "--region", "eu-west-1")), &cred); err != nil {
		t.Fatal(err)
	}
	if cred.APIVersion != "client.authentication.k8s.io/v1" || cred.Kind != "ExecCredential" {
		t.Errorf("%s %s is not what was asked for", cred.APIVersion, cred.Kind)
	}
	if left := time.Until(cred.Status.ExpirationTimestamp); left < 13*time.Minute || left > 15*time.Minute {
		t.Errorf("the token expires in %v", left)
	}
	raw, ok := strings.CutPrefix(cred.Status.Token, "k8s-aws-v1.")
	b, err := base64.RawURLEncoding.DecodeString(raw)
	if !ok || err != nil {
		t.Fatalf("token %q: %v", cred.Status.Token, err)
	}
	u, err := url.Parse(string(b))
	if err != nil {
		t.Fatal(err)
	}
	// What aws-iam-authenticator accepts, and no more.
	if u.Scheme != "https" || u.Host != "sts.eu-west-1.amazonaws.com" || u.Path != "/" {
		t.Errorf("the URL is %s", u)
	}
	allowed := []string{"Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature", "X-Amz-SignedHeaders"}
	for k := range u.Query() {
		if !slices.Contains(allowed, k) {
			t.Errorf("the URL has a parameter %s", k)
		}
	}
	q := u.Query()
	for k, want := range map[string]string{"Action": "GetCallerIdentity", "X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host;x-k8s-aws-id"} {
		if q.Get(k) != want {
			t.Errorf("%s is %q, want %q", k, q.Get(k), want)
		}
	}
	if !strings.HasPrefix(q.Get("X-Amz-Credential"), "test/") {
		t.Errorf("signed by %s", q.Get("X-Amz-Credential"))
	}
}

func TestTokensNameTheirCluster(t *testing.T) {
	cfg := aws.Config{Region: "us-east-1", Credentials: builtin()}
	a, err1 := presign(t.Context(), cfg, "a")
	b, err2 := presign(t.Context(), cfg, "b")
	if err1 != nil || err2 != nil || a == b {
		t.Errorf("tokens for two clusters are the same: %v, %v", err1, err2)
	}
}
