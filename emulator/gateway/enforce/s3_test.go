package enforce_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
)

// TestS3 has an upstream with buckets: who is known here gets there as far as IAM lets
// him, others as the upstream does.
func TestS3(t *testing.T) {
	var reached []string
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reached = append(reached, r.Method+" "+r.RequestURI+" "+string(body))
	}))
	t.Cleanup(up.Close)
	w := newWorldWith(t, enforce.Enforce, func(c *gateway.Config) {
		u, err := gateway.ParseUpstream(up.URL)
		if err != nil {
			t.Fatal(err)
		}
		c.Upstream = u
	})
	reader := w.session("reader", allow("s3:GetBucketPolicy", "arn:aws:s3:::x"), `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::x","Condition":{"StringLike":{"s3:prefix":"home/*"}}}`, allow("s3:PutObject", "arn:aws:s3:::x/in/*"))
	nobody := w.session("nobody")
	type request struct {
		by                  aws.Config
		method, target      string
		body                string
		change              func(*http.Request) // after signing
		presigned, unsigned bool
	}
	send := func(r request) (int, string) {
		t.Helper()
		req, err := http.NewRequest(r.method, w.url+r.target, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		const payload = "UNSIGNED-PAYLOAD"
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		cred := must(r.by.Credentials.Retrieve(t.Context()))
		switch {
		case r.presigned:
			url, _, err := signer.PresignHTTP(t.Context(), cred, req, payload, "s3", region, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if req, err = http.NewRequest(r.method, url, nil); err != nil {
				t.Fatal(err)
			}
		case !r.unsigned:
			req.Header.Set("X-Amz-Content-Sha256", payload)
			if err := signer.SignHTTP(t.Context(), cred, req, payload, "s3", region, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if r.change != nil {
			r.change(req)
		}
		res := must(http.DefaultClient.Do(req))
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	denied := func(action, resource string) string {
		return " is not authorized to perform: s3:" + action + " on resource: &#34;arn:aws:s3:::" + resource + "&#34; because no identity-based policy allows the s3:" + action + " action</Message>"
	}
	for _, tt := range []struct {
		name    string
		request request
		refusal string // empty: it gets to the upstream
	}{
		{"the policy of its bucket", request{by: reader, method: "GET", target: "/x?policy"}, ""},
		{"of another bucket", request{by: reader, method: "GET", target: "/y?policy"}, denied("GetBucketPolicy", "y")},
		{"by somebody else", request{by: nobody, method: "GET", target: "/x?policy"}, denied("GetBucketPolicy", "x")},
		{"its keys", request{by: reader, method: "GET", target: "/x?list-type=2&prefix=home%2Fa"}, ""},
		{"other keys", request{by: reader, method: "GET", target: "/x?list-type=2&prefix=etc"}, denied("ListBucket", "x")},
		{"an upload", request{by: reader, method: "PUT", target: "/x/in/a%20b%2Bc", body: "content"}, ""},
		{"an upload elsewhere", request{by: reader, method: "PUT", target: "/x/out/a", body: "content"}, denied("PutObject", "x/out/a")},
		{"a presigned upload", request{by: reader, method: "PUT", target: "/x/in/b", presigned: true}, ""},
		{"a presigned read", request{by: reader, method: "GET", target: "/x/in/b", presigned: true}, denied("GetObject", "x/in/b")},
		{"the account's root", request{by: w.root, method: "DELETE", target: "/x"}, ""},
		{"a key of the upstream's", request{by: w.as("minioadmin", "minioadmin", ""), method: "GET", target: "/y"}, ""},
		{"nobody's request", request{by: w.root, method: "GET", target: "/public/object", unsigned: true}, ""},
		{"another path than was signed", request{by: reader, method: "PUT", target: "/x/in/a", change: func(r *http.Request) { r.URL.Path = "/x/in/b" }}, "<Code>SignatureDoesNotMatch</Code>"},
		{"another secret", request{by: w.as(must(reader.Credentials.Retrieve(t.Context())).AccessKeyID, "guess", must(reader.Credentials.Retrieve(t.Context())).SessionToken), method: "GET", target: "/x?policy"}, "<Code>SignatureDoesNotMatch</Code>"},
		{"without its session token", request{by: reader, method: "GET", target: "/x?policy", change: func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") }}, "<Code>InvalidToken</Code>"},
	} {
		before := len(reached)
		status, body := send(tt.request)
		switch {
		case tt.refusal == "" && (status != http.StatusOK || len(reached) != before+1):
			t.Errorf("%s: %d %s", tt.name, status, body)
		case tt.refusal != "" && (status < 400 || !strings.Contains(body, tt.refusal) || len(reached) != before):
			t.Errorf("%s: %d %s, want %s", tt.name, status, body, tt.refusal)
		}
	}
	if want := "PUT /x/in/a%20b%2Bc content"; reached[2] != want {
		t.Errorf("the upstream got %q, want %q", reached[2], want)
	}
}
