package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseUpstream(t *testing.T) {
	for _, s := range []string{"http://127.0.0.1:5000", "https://localstack.local/", "http://[::1]:9000"} {
		if u, err := ParseUpstream(s); err != nil || u.Path != "" {
			t.Errorf("%s: %v %v", s, u, err)
		}
	}
	for _, s := range []string{"", "127.0.0.1:5000", "ftp://a", "http://", "http://a/b", "http://a?b=c", "http://u:p@a", "http://a b"} {
		if u, err := ParseUpstream(s); err == nil {
			t.Errorf("%q was taken as %v", s, u)
		}
	}
}

// upstreamOf starts an upstream and a gateway with it, both on real connections.
func upstreamOf(t *testing.T, h http.HandlerFunc) (*httptest.Server, *httptest.Server) {
	t.Helper()
	up := httptest.NewServer(h)
	t.Cleanup(up.Close)
	u, err := ParseUpstream(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	gw := httptest.NewServer(newGateway(t, func(c *Config) { c.Upstream = u }))
	t.Cleanup(gw.Close)
	return up, gw
}

const s3Scope = "Credential=test/20260301/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0000000000000000000000000000000000000000000000000000000000000000"

// TestForeign sends requests of both kinds: each gets where its service is.
func TestForeign(t *testing.T) {
	_, gw := upstreamOf(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	form := "application/x-www-form-urlencoded"
	scope := func(service string) string {
		return strings.Replace("AWS4-HMAC-SHA256 "+s3Scope, "/s3/", "/"+service+"/", 1)
	}
	for _, tc := range []struct {
		name, method, target string
		header               map[string]string
		foreign              bool
	}{
		{"S3", "PUT", "/bucket/key", map[string]string{"Authorization": scope("s3")}, true},
		{"S3's SigV4A", "GET", "/bucket/key", map[string]string{"Authorization": "AWS4-ECDSA-P256-SHA256 Credential=test/20260301/s3/aws4_request, SignedHeaders=host, Signature=00"}, true},
		{"S3 signed as of old", "GET", "/bucket/key", map[string]string{"Authorization": "AWS test:c2ln"}, true},
		{"a presigned object", "GET", "/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F20260301%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=00", nil, true},
		{"a presigned object of old", "GET", "/bucket/key?AWSAccessKeyId=test&Signature=x&Expires=1", nil, true},
		{"a public object", "GET", "/bucket/key", nil, true},
		{"a browser's upload", "POST", "/bucket", map[string]string{"Content-Type": "multipart/form-data; boundary=b"}, true},
		{"DynamoDB", "POST", "/", map[string]string{"Authorization": scope("dynamodb"), "X-Amz-Target": "DynamoDB_20120810.ListTables"}, true},
		{"an unsigned target", "POST", "/", map[string]string{"X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth"}, true},
		{"a Query service", "POST", "/", map[string]string{"Authorization": scope("sns"), "Content-Type": form}, true},
		{"an unsigned call by GET", "GET", "/?Action=ListTopics&Version=2010-03-31", nil, true},
		{"EKS", "GET", "/clusters/dev", map[string]string{"Authorization": scope("eks")}, false},
		{"EKS unsigned", "GET", "/clusters/dev", nil, false},
		{"what EKS does not have", "GET", "/no/such", map[string]string{"Authorization": scope("eks")}, false},
		{"SSM", "POST", "/", map[string]string{"Authorization": scope("ssm"), "X-Amz-Target": "AmazonSSM.GetParameter"}, false},
		{"an old target of SSM", "POST", "/", map[string]string{"Authorization": scope("ssm"), "X-Amz-Target": "Old.GetParameter"}, false},
		{"a target under another scope", "POST", "/", map[string]string{"Authorization": scope("s3"), "X-Amz-Target": "AmazonSSM.GetParameter"}, false},
		{"STS unsigned", "POST", "/", map[string]string{"Content-Type": form}, false},
		{"STS by GET", "GET", "/?Action=GetCallerIdentity&Version=2011-06-15", nil, false},
		{"a browser at the root", "GET", "/", nil, false},
		{"metrics", "GET", "/metrics", nil, false},
	} {
		r, err := http.NewRequest(tc.method, gw.URL+tc.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range tc.header {
			r.Header.Set(k, v)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.StatusCode == http.StatusTeapot; got != tc.foreign {
			t.Errorf("%s: status %d, foreign should be %v", tc.name, res.StatusCode, tc.foreign)
		}
	}
}

// TestForwardExactly: what a signature covers arrives as it was sent, and the body
// streams both ways, larger than the gateway's own limit.
func TestForwardExactly(t *testing.T) {
	type seen struct {
		Method, URI, Host, Auth, Agent, Encoding, Accept string
		Bytes                                            int64
	}
	var got seen
	_, gw := upstreamOf(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got = seen{r.Method, r.RequestURI, r.Host, r.Header.Get("Authorization"), r.UserAgent(), r.Header.Get("Content-Encoding"), r.Header.Get("Accept-Encoding"), n}
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("X-Amz-Request-Id", "theirs")
		w.WriteHeader(http.StatusPartialContent)
		fmt.Fprint(w, "part")
	})
	const size = 5 << 20
	uri := "/bucket/a%2Fb/c%20d+e%7E?uploads=&x;y=1&prefix=%2f"
	r, err := http.NewRequest("PUT", gw.URL+uri, io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	r.URL = &url.URL{Scheme: "http", Host: r.URL.Host, Opaque: strings.SplitN(uri, "?", 2)[0], RawQuery: strings.SplitN(uri, "?", 2)[1]}
	r.Host = "bucket.s3.us-east-1.amazonaws.com"
	for k, v := range map[string]string{"Authorization": "AWS4-HMAC-SHA256 " + s3Scope, "User-Agent": "ua", "Content-Encoding": "aws-chunked", "Accept-Encoding": "identity"} {
		r.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	want := seen{"PUT", uri, r.Host, r.Header.Get("Authorization"), "ua", "aws-chunked", "identity", size}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the upstream saw (-want +got):\n%s", diff)
	}
	if res.StatusCode != http.StatusPartialContent || string(body) != "part" || res.Header.Get("ETag") != `"e"` || res.Header.Get("X-Amz-Request-Id") != "theirs" {
		t.Errorf("answer %d %q %v", res.StatusCode, body, res.Header)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestUpstreamErrors: clients read in their protocol what is wrong with the
// upstream.
func TestUpstreamErrors(t *testing.T) {
	down, gw := upstreamOf(t, nil)
	down.Close()
	for service, want := range map[string][]string{
		"s3":       {"<Code>UpstreamUnavailable</Code>", down.URL, "&#34;s3&#34;", "connection refused"},
		"dynamodb": {`"__type":"UpstreamUnavailable"`, down.URL, "dynamodb"},
	} {
		r, _ := http.NewRequest("POST", gw.URL+"/", strings.NewReader("{}"))
		r.Header.Set("Authorization", strings.Replace("AWS4-HMAC-SHA256 "+s3Scope, "/s3/", "/"+service+"/", 1))
		if service == "dynamodb" {
			r.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables")
		}
		answerHas(t, r, http.StatusBadGateway, want...)
	}
	self := httptest.NewUnstartedServer(nil)
	u := &url.URL{Scheme: "http", Host: self.Listener.Addr().String()}
	self.Config.Handler = newGateway(t, func(c *Config) { c.Upstream = u })
	self.Start()
	t.Cleanup(self.Close)
	r, _ := http.NewRequest("GET", self.URL+"/bucket/key", nil)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 "+s3Scope)
	answerHas(t, r, http.StatusLoopDetected, "UpstreamLoop", "leads back")
	none := httptest.NewServer(newGateway(t, nil))
	t.Cleanup(none.Close)
	r, _ = http.NewRequest("GET", none.URL+"/bucket/key", nil)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 "+s3Scope)
	r.Header.Set("X-Amz-Date", "20260301T120000Z")
	answerHas(t, r, http.StatusNotImplemented, "ServiceNotImplemented", "--upstream")
}

func answerHas(t *testing.T, r *http.Request, status int, want ...string) {
	t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != status {
		t.Errorf("%s %s: status %d, want %d: %s", r.Method, r.URL, res.StatusCode, status, body)
	}
	for _, w := range want {
		if !strings.Contains(string(body), w) {
			t.Errorf("%s\nwant %q in it", body, w)
		}
	}
}
