package authorize

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestS3Checks(t *testing.T) {
	for _, tt := range []struct{ request, header, want string }{
		{"GET /", "", "s3:ListAllMyBuckets *"},
		{"PUT /b", "", "s3:CreateBucket b"},
		{"HEAD /b", "", "s3:ListBucket b"},
		{"DELETE /b/", "", "s3:DeleteBucket b"},
		{"GET /b?list-type=2&prefix=a%2F", "", "s3:ListBucket b"},
		{"GET /b?location", "", "s3:GetBucketLocation b"},
		{"GET /b?policy", "", "s3:GetBucketPolicy b"},
		{"PUT /b?policy=", "", "s3:PutBucketPolicy b"},
		{"DELETE /b?policy", "", "s3:DeleteBucketPolicy b"},
		{"DELETE /b?cors", "", "s3:PutBucketCORS b"},
		{"GET /b?versions&prefix=x", "", "s3:ListBucketVersions b"},
		{"GET /b?policy&acl", "", "s3:GetBucketAcl b, s3:GetBucketPolicy b"},
		{"GET /b?uploads", "", "s3:ListBucketMultipartUploads b"},
		{"POST /b?delete", "", "s3:DeleteObject b/*"},
		{"POST /b", "", "s3:PutObject b/*"},
		{"GET /b/dir/a%20key%2B", "", "s3:GetObject b/dir/a key+"},
		{"HEAD /b/k", "", "s3:GetObject b/k"},
		{"GET /b/k?versionId=1", "", "s3:GetObjectVersion b/k"},
		{"GET /b/k?acl", "", "s3:GetObjectAcl b/k"},
		{"GET /b/k?policy", "", "s3:GetObject b/k"}, // no sub-resource of objects
		{"GET /b/k?uploadId=u", "", "s3:ListMultipartUploadParts b/k"},
		{"DELETE /b/k", "", "s3:DeleteObject b/k"},
		{"DELETE /b/k?versionId=1", "", "s3:DeleteObjectVersion b/k"},
		{"DELETE /b/k?uploadId=u", "", "s3:AbortMultipartUpload b/k"},
		{"DELETE /b/k?tagging", "", "s3:DeleteObjectTagging b/k"},
		{"PUT /b/k", "", "s3:PutObject b/k"},
		{"PUT /b/k?partNumber=1&uploadId=u", "", "s3:PutObject b/k"},
		{"POST /b/k?uploads", "", "s3:PutObject b/k"},
		{"POST /b/k?restore", "", "s3:RestoreObject b/k"},
		{"PUT /b/k", "X-Amz-Acl: public-read", "s3:PutObject b/k, s3:PutObjectAcl b/k"},
		{"PUT /b/k", "X-Amz-Copy-Source: /from/a%20b", "s3:PutObject b/k, s3:GetObject from/a b"},
		{"PUT /b/k", "X-Amz-Copy-Source: from/a?versionId=2", "s3:PutObject b/k, s3:GetObjectVersion from/a"},
		{"GET /k", "Host: b.s3.us-east-1.amazonaws.com", "s3:GetObject b/k"},
		{"GET /", "Host: b.c.s3.amazonaws.com:443", "s3:ListBucket b.c"},
		{"GET /k", "Host: b.localhost:4566", "s3:GetObject b/k"},
		{"GET /k", "Host: b.s3.localhost:4566", "s3:GetObject b/k"},
		{"GET /b/k", "Host: localhost:4566", "s3:GetObject b/k"},
		{"GET /b/k", "Host: s3.localhost:4566", "s3:GetObject b/k"},
		{"GET /b/k", "Host: s3.us-east-1.amazonaws.com", "s3:GetObject b/k"},
		{"GET /b/k", "Host: 10.0.0.1:4566", "s3:GetObject b/k"},
		{"GET /b/k", "Host: [::1]:4566", "s3:GetObject b/k"},
		{"GET /b/k", "Host: ekslocal:4566", "s3:GetObject b/k"},
	} {
		method, target, _ := strings.Cut(tt.request, " ")
		r := httptest.NewRequest(method, target, nil)
		r.Host = "127.0.0.1:4566"
		if name, v, ok := strings.Cut(tt.header, ": "); ok {
			if r.Header.Set(name, v); name == "Host" {
				r.Host = v
			}
		}
		var got []string
		for _, c := range S3Checks(r, "aws", []string{"localhost", "127.0.0.1"}) {
			got = append(got, c.Action+" "+strings.TrimPrefix(c.Resource, "arn:aws:s3:::"))
		}
		if d := cmp.Diff(tt.want, strings.Join(got, ", ")); d != "" {
			t.Errorf("%s %s: %s", tt.request, tt.header, d)
		}
	}
	r := httptest.NewRequest("GET", "/b?prefix=a/&max-keys=5", nil)
	want := []Check{{"s3:ListBucket", "arn:aws-cn:s3:::b", map[string][]string{"s3:prefix": {"a/"}, "s3:max-keys": {"5"}}}}
	if d := cmp.Diff(want, S3Checks(r, "aws-cn", nil)); d != "" {
		t.Error(d)
	}
}

// FuzzS3Checks: whatever a client writes, it is asked about something of S3.
func FuzzS3Checks(f *testing.F) {
	f.Add("GET", "/b/k?policy&acl", "b.localhost:4566", "/from/a?versionId=1")
	f.Add("POST", "/?delete", "[::1]", "%zz")
	f.Fuzz(func(t *testing.T, method, target, host, source string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: u, Host: host, Header: http.Header{"X-Amz-Copy-Source": {source}}}
		checks := S3Checks(r, "aws", []string{"localhost"})
		if len(checks) == 0 {
			t.Fatal("nothing is asked")
		}
		for _, c := range checks {
			if !strings.HasPrefix(c.Action, "s3:") || len(c.Action) == 3 || c.Resource != "*" && !strings.HasPrefix(c.Resource, "arn:aws:s3:::") {
				t.Errorf("%s on %s", c.Action, c.Resource)
			}
		}
	})
}
