package authorize

import (
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// S3Checks lists the questions of a request to S3, which is not emulated: it is read
// off method, host, path, query and headers alone ("Required permissions for Amazon S3
// API operations"). hosts are the names that path-style requests are sent to.
func S3Checks(r *http.Request, partition string, hosts []string) []Check {
	query := r.URL.Query()
	bucket, key := bucketAndKey(r, hosts)
	keys := s3Keys(r, query)
	check := func(action, resource string) Check {
		if resource != "*" {
			resource = awsid.ARN{Partition: partition, Service: "s3", Resource: resource}.String()
		}
		return Check{"s3:" + action, resource, keys}
	}
	switch {
	case bucket == "":
		return []Check{check("ListAllMyBuckets", "*")}
	case key == "":
		return bucketChecks(r, query, bucket, check)
	}
	return objectChecks(r, query, bucket+"/"+key, check)
}

// bucketAndKey takes a request's host and path apart. A host that is no name of the
// endpoint, and not an address, has the bucket before the endpoint's or S3's name.
func bucketAndKey(r *http.Request, hosts []string) (bucket, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if b := virtualBucket(strings.ToLower(host), hosts); b != "" {
		return b, path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

func virtualBucket(host string, hosts []string) string {
	if net.ParseIP(strings.Trim(host, "[]")) != nil || slices.Contains(hosts, host) {
		return ""
	}
	for _, h := range hosts {
		if b, ok := strings.CutSuffix(host, "."+h); ok && net.ParseIP(h) == nil && b != "s3" {
			return strings.TrimSuffix(b, ".s3")
		}
	}
	for _, name := range []string{".s3.", ".s3-"} {
		if b, _, ok := strings.Cut(host, name); ok {
			return b
		}
	}
	return ""
}

// s3Keys are the condition keys of a request that policies for S3 use most.
func s3Keys(r *http.Request, query url.Values) map[string][]string {
	out := map[string][]string{}
	for _, name := range []string{"prefix", "delimiter", "max-keys"} {
		if query.Has(name) {
			out["s3:"+name] = []string{query.Get(name)}
		}
	}
	if v := query.Get("versionId"); v != "" {
		out["s3:versionid"] = []string{v}
	}
	for _, name := range []string{"x-amz-acl", "x-amz-copy-source", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id", "x-amz-storage-class", "x-amz-content-sha256"} {
		if v := r.Header.Get(name); v != "" {
			out["s3:"+name] = []string{v}
		}
	}
	return out
}

// sub is what a sub-resource's actions are called: Get, Put and, if it is not the one
// of Put, Delete.
type sub struct{ get, put, del string }

// bucketSubs are the sub-resources of buckets.
var bucketSubs = map[string]sub{
	"accelerate":          {"GetAccelerateConfiguration", "PutAccelerateConfiguration", ""},
	"acl":                 {"GetBucketAcl", "PutBucketAcl", ""},
	"analytics":           {"GetAnalyticsConfiguration", "PutAnalyticsConfiguration", ""},
	"cors":                {"GetBucketCORS", "PutBucketCORS", ""},
	"encryption":          {"GetEncryptionConfiguration", "PutEncryptionConfiguration", ""},
	"intelligent-tiering": {"GetIntelligentTieringConfiguration", "PutIntelligentTieringConfiguration", ""},
	"inventory":           {"GetInventoryConfiguration", "PutInventoryConfiguration", ""},
	"lifecycle":           {"GetLifecycleConfiguration", "PutLifecycleConfiguration", ""},
	"location":            {"GetBucketLocation", "", ""},
	"logging":             {"GetBucketLogging", "PutBucketLogging", ""},
	"metrics":             {"GetMetricsConfiguration", "PutMetricsConfiguration", ""},
	"notification":        {"GetBucketNotification", "PutBucketNotification", ""},
	"object-lock":         {"GetBucketObjectLockConfiguration", "PutBucketObjectLockConfiguration", ""},
	"ownershipControls":   {"GetBucketOwnershipControls", "PutBucketOwnershipControls", ""},
	"policy":              {"GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"},
	"policyStatus":        {"GetBucketPolicyStatus", "", ""},
	"publicAccessBlock":   {"GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock", ""},
	"replication":         {"GetReplicationConfiguration", "PutReplicationConfiguration", ""},
	"requestPayment":      {"GetBucketRequestPayment", "PutBucketRequestPayment", ""},
	"tagging":             {"GetBucketTagging", "PutBucketTagging", ""},
	"uploads":             {"ListBucketMultipartUploads", "", ""},
	"versioning":          {"GetBucketVersioning", "PutBucketVersioning", ""},
	"versions":            {"ListBucketVersions", "", ""},
	"website":             {"GetBucketWebsite", "PutBucketWebsite", "DeleteBucketWebsite"},
}

// objectSubs are those of objects.
var objectSubs = map[string]sub{
	"acl":        {"GetObjectAcl", "PutObjectAcl", ""},
	"attributes": {"GetObjectAttributes", "", ""},
	"legal-hold": {"GetObjectLegalHold", "PutObjectLegalHold", ""},
	"retention":  {"GetObjectRetention", "PutObjectRetention", ""},
	"tagging":    {"GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging"},
	"torrent":    {"GetObjectTorrent", "", ""},
}

// action is the one of a request with that method to a sub-resource that the query
// names.
func (s sub) action(method string) string {
	switch method {
	case http.MethodPut, http.MethodPost:
		return s.put
	case http.MethodDelete:
		if s.del != "" {
			return s.del
		}
		return s.put
	}
	return s.get
}

// named are the actions on the sub-resources that a query names. Clients name one; of
// several nobody knows which one the upstream takes, so all are asked for.
func named(subs map[string]sub, r *http.Request, query url.Values, resource string, check func(action, resource string) Check) []Check {
	var out []Check
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if a := subs[name].action(r.Method); a != "" {
			out = append(out, check(a, resource))
		}
	}
	return out
}

func bucketChecks(r *http.Request, query url.Values, bucket string, check func(action, resource string) Check) []Check {
	if out := named(bucketSubs, r, query, bucket, check); out != nil {
		return out
	}
	switch r.Method {
	case http.MethodPut:
		return []Check{check("CreateBucket", bucket)}
	case http.MethodDelete:
		return []Check{check("DeleteBucket", bucket)}
	case http.MethodPost:
		// The keys are in the body.
		if query.Has("delete") {
			return []Check{check("DeleteObject", bucket+"/*")}
		}
		return []Check{check("PutObject", bucket+"/*")} // a browser's form
	}
	return []Check{check("ListBucket", bucket)}
}

func objectChecks(r *http.Request, query url.Values, object string, check func(action, resource string) Check) []Check {
	if out := named(objectSubs, r, query, object, check); out != nil {
		return out
	}
	version := ""
	if query.Get("versionId") != "" {
		version = "Version"
	}
	switch r.Method {
	case http.MethodPut, http.MethodPost:
		return writes(r, query, object, check)
	case http.MethodDelete:
		if query.Has("uploadId") {
			return []Check{check("AbortMultipartUpload", object)}
		}
		return []Check{check("DeleteObject"+version, object)}
	}
	if query.Has("uploadId") {
		return []Check{check("ListMultipartUploadParts", object)}
	}
	return []Check{check("GetObject"+version, object)}
}

func writes(r *http.Request, query url.Values, object string, check func(action, resource string) Check) []Check {
	switch {
	case query.Has("restore"):
		return []Check{check("RestoreObject", object)}
	case query.Has("select"):
		return []Check{check("GetObject", object)}
	}
	out := []Check{check("PutObject", object)}
	if r.Header.Get("X-Amz-Acl") != "" {
		out = append(out, check("PutObjectAcl", object))
	}
	if r.Header.Get("X-Amz-Tagging") != "" {
		out = append(out, check("PutObjectTagging", object))
	}
	if source, err := url.PathUnescape(r.Header.Get("X-Amz-Copy-Source")); err == nil && source != "" {
		source, version, _ := strings.Cut(strings.TrimPrefix(source, "/"), "?versionId=")
		action := "GetObject"
		if version != "" {
			action += "Version"
		}
		out = append(out, check(action, source))
	}
	return out
}
