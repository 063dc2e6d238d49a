package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/gorilla/mux"
	clocktesting "k8s.io/utils/clock/testing"

	apiec2 "github.com/ekslocal/ekslocal/api/ec2"
	apieks "github.com/ekslocal/ekslocal/api/eks"
	apissm "github.com/ekslocal/ekslocal/api/ssm"
	apists "github.com/ekslocal/ekslocal/api/sts"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fakeEKS has a few operations, one for each way an operation can end.
type fakeEKS struct{}

func (fakeEKS) DescribeCluster(ctx context.Context, in *eks.DescribeClusterInput, _ ...func(*eks.Options)) (*eks.DescribeClusterOutput, error) {
	if *in.Name == "gone" {
		return nil, &ekstypes.ResourceNotFoundException{Message: aws.String("No cluster found for name: gone."), ClusterName: in.Name}
	}
	c := awsid.CallerFrom(ctx)
	return &eks.DescribeClusterOutput{Cluster: &ekstypes.Cluster{Name: in.Name, Arn: aws.String(c.Scope.ARN("eks", "cluster/"+*in.Name))}}, nil
}

func (fakeEKS) CreateCluster(context.Context, *eks.CreateClusterInput, ...func(*eks.Options)) (*eks.CreateClusterOutput, error) {
	panic("a bug")
}

func (fakeEKS) ListClusters(context.Context, *eks.ListClustersInput, ...func(*eks.Options)) (*eks.ListClustersOutput, error) {
	return nil, errors.New("disk on fire")
}

func (fakeEKS) DescribeAccessEntry(_ context.Context, in *eks.DescribeAccessEntryInput, _ ...func(*eks.Options)) (*eks.DescribeAccessEntryOutput, error) {
	return &eks.DescribeAccessEntryOutput{AccessEntry: &ekstypes.AccessEntry{PrincipalArn: in.PrincipalArn}}, nil
}

type fakeSTS struct{}

func (fakeSTS) GetCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput, _ ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
	c := awsid.CallerFrom(ctx)
	return &sts.GetCallerIdentityOutput{Account: aws.String(c.Account), Arn: aws.String(c.ARN), UserId: aws.String(c.UserID)}, nil
}

func (fakeSTS) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return &sts.AssumeRoleWithWebIdentityOutput{Audience: aws.String(awsid.CallerFrom(ctx).Region + " " + *in.RoleArn)}, nil
}

type fakeEC2 struct{}

func (fakeEC2) CreateVpc(ctx context.Context, in *ec2.CreateVpcInput, _ ...func(*ec2.Options)) (*ec2.CreateVpcOutput, error) {
	return &ec2.CreateVpcOutput{}, nil
}

type fakeSSM struct{}

func (fakeSSM) GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	return &ssm.GetParameterOutput{}, nil
}

func bind(t testing.TB, m *wire.Model, impl any) *wire.Service {
	t.Helper()
	s, err := wire.Bind(m, impl)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newGateway(t testing.TB, change func(*Config)) *Gateway {
	t.Helper()
	c := Config{
		Services: []*wire.Service{
			bind(t, apieks.Model(), fakeEKS{}), bind(t, apists.Model(), fakeSTS{}),
			bind(t, apiec2.Model(), fakeEC2{}), bind(t, apissm.Model(), fakeSSM{}),
		},
		Keys: sigv4.Builtin{}, Clock: clocktesting.NewFakePassiveClock(now),
		Log: slog.New(slog.DiscardHandler), Version: "v0", MaxBody: 1 << 10,
	}
	if change != nil {
		change(&c)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// call describes a request; the zero value is a signed GET / of EKS by test.
type call struct {
	method, path, body string
	header             map[string]string
	service, region    string
	key, secret, token string
	unsigned           bool
	remote             string
}

func (c call) request(t testing.TB) *http.Request {
	t.Helper()
	or := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	or(&c.method, "GET")
	or(&c.path, "/")
	or(&c.service, "eks")
	or(&c.region, "us-east-1")
	or(&c.key, "test")
	or(&c.secret, "test")
	r := httptest.NewRequest(c.method, "http://127.0.0.1:4566"+c.path, strings.NewReader(c.body))
	r.RemoteAddr = "127.0.0.1:5555"
	if c.remote != "" {
		r.RemoteAddr = c.remote
	}
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	if c.unsigned {
		return r
	}
	sum := sha256.Sum256([]byte(c.body))
	cred := aws.Credentials{AccessKeyID: c.key, SecretAccessKey: c.secret, SessionToken: c.token}
	if err := v4.NewSigner().SignHTTP(context.Background(), cred, r, hex.EncodeToString(sum[:]), c.service, c.region, now); err != nil {
		t.Fatal(err)
	}
	return r
}

func form(body string) call {
	return call{method: "POST", body: body, service: "sts", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}}
}

func (c call) with(f func(*call)) call { f(&c); return c }

func do(t testing.TB, g http.Handler, c call) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	g.ServeHTTP(w, c.request(t))
	return w
}

const identity = "Action=GetCallerIdentity&Version=2011-06-15"

func TestResponses(t *testing.T) {
	ssmCall := call{method: "POST", service: "ssm", body: `{"Name":"x"}`, header: map[string]string{
		"X-Amz-Target": "AmazonSSM.GetParameter", "Content-Type": "application/x-amz-json-1.1"}}
	ec2Call := form("Action=CreateVpc&Version=2016-11-15").with(func(c *call) { c.service = "ec2" })
	cases := []struct {
		name   string
		call   call
		status int
		want   []string // in body or headers
	}{
		{"rest-json", call{path: "/clusters/dev"}, 200, []string{`"arn":"arn:aws:eks:us-east-1:000000000000:cluster/dev"`, "application/json"}},
		{"account and region", call{path: "/clusters/dev", key: "123456789012", region: "eu-west-1"}, 200, []string{"arn:aws:eks:eu-west-1:123456789012:cluster/dev"}},
		{"arn label", call{path: "/clusters/dev/access-entries/arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa"}, 200, []string{"arn:aws:iam::1:role/a"}},
		{"query", form(identity), 200, []string{"<Account>000000000000</Account>", "text/xml", "<Arn>arn:aws:iam::000000000000:root</Arn>"}},
		{"query as json", form(identity).with(func(c *call) {
			c.header["Accept"] = "application/json"
		}), 200, []string{`{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{`, "application/json"}},
		{"query with GET", call{path: "/?" + identity, service: "sts"}, 200, []string{"<Account>000000000000</Account>"}},
		{"ec2", ec2Call, 200, []string{"CreateVpcResponse", "text/xml;charset=UTF-8"}},
		{"json", ssmCall, 200, []string{"application/x-amz-json-1.1"}},
		{"old version", form("Action=CreateVpc&Version=2014-01-01").with(func(c *call) { c.service = "ec2" }), 200, []string{"CreateVpcResponse"}},
		{"unsigned operation", form("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=r&RoleSessionName=s&WebIdentityToken=t").with(func(c *call) { c.unsigned = true }), 200, []string{"<Audience>us-east-1 r</Audience>"}},

		{"modelled error", call{path: "/clusters/gone"}, 404, []string{"ResourceNotFoundException", "No cluster found for name: gone.", `"clusterName":"gone"`}},
		{"panic", call{method: "POST", path: "/clusters", body: "{}"}, 500, []string{"InternalFailure"}},
		{"plain error", call{path: "/clusters"}, 500, []string{"InternalFailure"}},
		{"bad json", call{method: "POST", path: "/clusters", body: "{"}, 400, []string{"SerializationException"}},
		{"bad json member", call{method: "POST", path: "/clusters", body: `{"name":1}`}, 400, []string{"SerializationException"}},
		{"bad json 1.1", ssmCall.with(func(c *call) { c.body = "[" }), 400, []string{"SerializationException"}},
		{"bad ec2 value", form("Action=CreateVpc&Version=2016-11-15&DryRun=maybe").with(func(c *call) { c.service = "ec2" }), 400, []string{"InvalidParameterValue"}},
		{"bad form", form("Action=%zz"), 404, []string{"MalformedQueryString"}},
		{"too large", call{method: "POST", path: "/clusters", body: strings.Repeat("x", 1025)}, 413, []string{"RequestEntityTooLargeException"}},

		{"not implemented", call{path: "/clusters/dev/node-groups"}, 501, []string{"ekslocal does not implement eks:ListNodegroups"}},
		{"unknown path", call{path: "/nothing"}, 400, []string{"UnknownOperationException", "GET /nothing"}},
		{"unknown action", form("Action=Nothing&Version=2011-06-15"), 400, []string{"InvalidAction", "Could not find operation Nothing for version 2011-06-15"}},
		{"unknown ec2 action", form("Action=Nothing&Version=2016-11-15").with(func(c *call) { c.service = "ec2" }), 400, []string{"InvalidAction", "The action Nothing is not valid for this web service."}},
		{"unknown target", ssmCall.with(func(c *call) {
			c.header = map[string]string{"X-Amz-Target": "AmazonSSM.Nothing"}
		}), 400, []string{"UnknownOperationException", "Nothing"}},
		{"no action", call{method: "POST", service: "sts"}, 400, []string{"MissingAction"}},
		{"unknown service", call{path: "/x", service: "lambda"}, 501, []string{"ServiceNotImplemented", "lambda", "ec2, eks, ssm, sts"}},
		{"unknown service's target", call{method: "POST", service: "dynamodb", header: map[string]string{"X-Amz-Target": "DynamoDB_20120810.GetItem"}}, 501, []string{"ServiceNotImplemented", "dynamodb", "application/x-amz-json"}},
		{"s3", call{path: "/bucket", service: "s3"}, 501, []string{"<Error><Code>ServiceNotImplemented</Code>", "application/xml"}},
	}
	g := newGateway(t, nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := do(t, g, c.call)
			checkResponse(t, w, c.status, c.want)
		})
	}
}

func checkResponse(t *testing.T, w *httptest.ResponseRecorder, status int, want []string) {
	t.Helper()
	var head bytes.Buffer
	w.Result().Header.Write(&head)
	all := head.String() + w.Body.String()
	if w.Code != status {
		t.Errorf("status %d, want %d\n%s", w.Code, status, all)
	}
	for _, s := range want {
		if !strings.Contains(all, s) {
			t.Errorf("%q is not in\n%s", s, all)
		}
	}
	if id := w.Header().Get("X-Amzn-Requestid"); len(id) != 36 || w.Header().Get("X-Amz-Request-Id") != id {
		t.Errorf("request ids: %v", w.Header())
	}
}

func TestAuthentication(t *testing.T) {
	ssmTarget := map[string]string{"X-Amz-Target": "AmazonSSM.GetParameter"}
	ec2Form := form("Action=CreateVpc&Version=2016-11-15").with(func(c *call) { c.service = "ec2" })
	cases := []struct {
		name   string
		call   call
		status int
		want   []string
	}{
		{"eks unknown key", call{path: "/clusters", key: "AKIA"}, 403, []string{"UnrecognizedClientException", "The security token included in the request is invalid.", "test with the secret test"}},
		{"sts unknown key", form(identity).with(func(c *call) { c.key = "AKIA" }), 403, []string{"InvalidClientTokenId", "The security token included in the request is invalid."}},
		{"ec2 unknown key", ec2Form.with(func(c *call) { c.key = "AKIA" }), 401, []string{"AuthFailure", "AWS was not able to validate the provided access credentials"}},
		{"ssm unknown key", call{method: "POST", service: "ssm", header: ssmTarget, key: "AKIA"}, 400, []string{"UnrecognizedClientException"}},
		{"wrong secret", call{path: "/clusters", secret: "x"}, 403, []string{"InvalidSignatureException", "the secret access key of test is test"}},
		{"sts wrong secret", form(identity).with(func(c *call) { c.secret = "x" }), 403, []string{"SignatureDoesNotMatch", "The request signature we calculated"}},
		{"ec2 wrong secret", ec2Form.with(func(c *call) { c.secret = "x" }), 401, []string{"AuthFailure"}},
		{"wrong service", form(identity).with(func(c *call) { c.service = "iam" }), 403, []string{"SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sts'."}},
		{"unsigned eks", call{path: "/clusters", unsigned: true}, 403, []string{"MissingAuthenticationTokenException"}},
		{"unsigned sts", form(identity).with(func(c *call) { c.unsigned = true }), 403, []string{"<Code>MissingAuthenticationToken</Code>", "Request is missing Authentication Token"}},
		{"unsigned and unknown", call{path: "/nothing", unsigned: true}, 403, []string{"MissingAuthenticationTokenException"}},
		{"malformed", call{path: "/clusters", unsigned: true, header: map[string]string{"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260301/us-east-1/eks/aws4_request"}}, 403, []string{"IncompleteSignatureException", "requires 'Signature' parameter"}},
		{"unsigned operation, badly signed", form("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=r").with(func(c *call) { c.secret = "x" }), 403, []string{"SignatureDoesNotMatch"}},
		{"unknown operation is no secret of strangers", call{path: "/nothing", key: "AKIA"}, 403, []string{"UnrecognizedClientException"}},
	}
	g := newGateway(t, nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			checkResponse(t, do(t, g, c.call), c.status, c.want)
		})
	}
}

func TestLax(t *testing.T) {
	g := newGateway(t, func(c *Config) { c.Lax = true })
	unknown := form(identity).with(func(c *call) { c.key, c.token = "AKIA", "anything" })
	checkResponse(t, do(t, g, unknown), 200, []string{"arn:aws:iam::000000000000:root"})
	unknown.remote = "[::1]:1"
	checkResponse(t, do(t, g, unknown), 200, []string{"arn:aws:iam::000000000000:root"})
	unknown.remote = "192.0.2.1:1"
	checkResponse(t, do(t, g, unknown), 403, []string{"InvalidClientTokenId"})
	checkResponse(t, do(t, g, form(identity).with(func(c *call) { c.secret = "x" })), 403, []string{"SignatureDoesNotMatch"})
	unknown.remote = "127.0.0.1:1" // forwarded by the engine
	checkResponse(t, do(t, g.ForContainers(), unknown), 403, []string{"InvalidClientTokenId"})
}

type denyAll struct{ got Call }

func (d *denyAll) Authorize(_ context.Context, c Call) error {
	d.got = c
	return &ekstypes.AccessDeniedException{Message: aws.String("User: x is not authorized to perform: eks:DescribeCluster")}
}

type faults struct{ err error }

func (f faults) Inject(context.Context, Call) error { return f.err }

func TestAuthorizerAndFaults(t *testing.T) {
	d := &denyAll{}
	w := do(t, newGateway(t, func(c *Config) { c.Authorizer = d }), call{path: "/clusters/dev"})
	checkResponse(t, w, 403, []string{"AccessDeniedException", "is not authorized"})
	in, ok := d.got.Input.(*eks.DescribeClusterInput)
	if !ok || *in.Name != "dev" || d.got.Service != "eks" || d.got.Operation != "DescribeCluster" || !d.got.Caller.IsRoot() {
		t.Errorf("the authorizer was asked about %+v", d.got)
	}
	w = do(t, newGateway(t, func(c *Config) { c.Faults = faults{&ekstypes.ServerException{Message: aws.String("injected")}} }), call{path: "/clusters/dev"})
	checkResponse(t, w, 500, []string{"ServerException", "injected"})

	g := newGateway(t, func(c *Config) { c.Faults = faults{ErrDropped} })
	srv := httptest.NewServer(g)
	defer srv.Close()
	r := call{path: "/clusters/dev"}.request(t)
	r.RequestURI, r.URL.Host = "", strings.TrimPrefix(srv.URL, "http://")
	if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
		res.Body.Close()
		t.Error("a dropped connection was answered:", res.Status)
	}
	if rec := g.Recent(); len(rec) != 1 || rec[0].ErrorCode != "ConnectionDropped" {
		t.Errorf("recorded %+v", rec)
	}
}

func TestPlainRoutes(t *testing.T) {
	g := newGateway(t, func(c *Config) {
		c.Routes = func(r *mux.Router) {
			r.HandleFunc("/oidc/{id:.*}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "issuer "+mux.Vars(r)["id"]) })
			r.HandleFunc("/_ekslocal/panic", func(http.ResponseWriter, *http.Request) { panic("x") })
		}
	})
	get := func(path string) *httptest.ResponseRecorder { return do(t, g, call{path: path, unsigned: true}) }
	do(t, g, call{path: "/clusters/gone"})
	if b := get("/metrics").Body.String(); !strings.Contains(b, `ekslocal_aws_requests_total{code="ResourceNotFoundException",operation="DescribeCluster",service="eks"} 1`) {
		t.Error("metrics:\n", b)
	}
	if b := get("/oidc/a%2Fb").Body.String(); b != "issuer a%2Fb" {
		t.Error("a mounted route:", b)
	}
	if w := get("/_ekslocal/panic"); w.Code != 500 {
		t.Error("a panicking handler:", w.Code)
	}
	if b := get("/").Body.String(); !strings.Contains(b, "AWS_ENDPOINT_URL=http://127.0.0.1:4566") {
		t.Error("root:", b)
	}
	if w := do(t, g, call{method: "POST", path: "/metrics", unsigned: true}); w.Code != 405 {
		t.Error("POST to a GET route:", w.Code)
	}
	if w := get("/?" + identity); w.Code != 403 {
		t.Error("an AWS request without signature:", w.Code)
	}
}

func TestRecent(t *testing.T) {
	g := newGateway(t, nil)
	for i := range recentRequests + 3 {
		do(t, g, call{path: fmt.Sprintf("/clusters/c%d", i)})
	}
	do(t, g, call{path: "/clusters/gone"})
	recs := g.Recent()
	if len(recs) != recentRequests {
		t.Fatalf("%d records", len(recs))
	}
	if r := recs[0]; r.ErrorCode != "ResourceNotFoundException" || r.Operation != "DescribeCluster" || r.Status != 404 || r.CallerARN != "arn:aws:iam::000000000000:root" {
		t.Errorf("newest: %+v", r)
	}
	if recs[1].ErrorCode != "" {
		t.Errorf("order: %+v", recs[1])
	}
}

// TestAccessLog also holds that what clients make up does not get into labels.
func TestAccessLog(t *testing.T) {
	var log bytes.Buffer
	g := newGateway(t, func(c *Config) { c.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
	do(t, g, call{path: "/clusters/dev"})
	do(t, g, form("Action=Invented&Version=2011-06-15"))
	var first, second map[string]any
	d := json.NewDecoder(&log)
	if err := errors.Join(d.Decode(&first), d.Decode(&second)); err != nil {
		t.Fatal(err)
	}
	if first["service"] != "eks" || first["operation"] != "DescribeCluster" || first["status"] != 200.0 || first["caller"] != "arn:aws:iam::000000000000:root" || first["request_id"] == "" {
		t.Errorf("%v", first)
	}
	if second["operation"] != "" || second["requested"] != "Invented" || second["code"] != "InvalidAction" {
		t.Errorf("%v", second)
	}
}

// FuzzRequest sends signed requests with foreign contents: every one is answered.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/clusters", "application/json", `{"name":"a"}`, "", "eks")
	f.Add("POST", "/", "application/x-www-form-urlencoded", "Action=CreateVpc&Version=2016-11-15&TagSpecification.1.Tag.1.Key=a", "", "ec2")
	f.Add("POST", "/", "", `{"Name":`, "AmazonSSM.GetParameter", "ssm")
	f.Add("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "", "", "", "sts")
	f.Add("GET", "/clusters/%2F/..//x%zz", "", "\x00", ".", "")
	g := newGateway(f, nil)
	f.Fuzz(func(t *testing.T, method, target, kind, body, amzTarget, service string) {
		r, err := http.NewRequest(method, "http://h"+target, strings.NewReader(body))
		if err != nil || r.Host != "h" {
			t.Skip()
		}
		r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:1"
		r.Header.Set("Content-Type", kind)
		if amzTarget != "" {
			r.Header.Set("X-Amz-Target", amzTarget)
		}
		sum := sha256.Sum256([]byte(body))
		cred := aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}
		if err := v4.NewSigner().SignHTTP(context.Background(), cred, r, hex.EncodeToString(sum[:]), service, "us-east-1", now); err != nil {
			t.Skip()
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 {
			t.Fatalf("status %d", w.Code)
		}
		if w.Code == 500 && !strings.HasPrefix(r.URL.Path, "/clusters") {
			t.Fatalf("internal failure: %s", w.Body)
		}
	})
}

func BenchmarkDescribeCluster(b *testing.B) {
	g := newGateway(b, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(io.Discard, nil)) })
	r := call{path: "/clusters/dev"}.request(b)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}

// TestPresigned plays a verifier of EKS tokens that asks the emulator as it would
// ask STS.
func TestPresigned(t *testing.T) {
	g := newGateway(t, nil)
	r := httptest.NewRequest("GET", "http://127.0.0.1:4566/?"+identity+"&X-Amz-Expires=60", nil)
	r.Header.Set("X-K8s-Aws-Id", "dev")
	sum := sha256.Sum256(nil)
	u, _, err := v4.NewSigner().PresignHTTP(context.Background(), aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"},
		r, hex.EncodeToString(sum[:]), "sts", "eu-west-1", now)
	if err != nil {
		t.Fatal(err)
	}
	for cluster, status := range map[string]int{"dev": 200, "prod": 403} {
		r := httptest.NewRequest("GET", u, nil)
		r.Header.Set("X-K8s-Aws-Id", cluster)
		r.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		checkResponse(t, w, status, []string{map[int]string{200: `"Arn":"arn:aws:iam::000000000000:root"`, 403: `"Code":"SignatureDoesNotMatch"`}[status]})
	}
}
