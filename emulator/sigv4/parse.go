package sigv4

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"
	dateFormat = "20060102"
)

// Authorization is the signature that a request carries, taken apart but not
// verified.
type Authorization struct {
	AccessKeyID string
	// Date (YYYYMMDD), Region and Service are the credential scope.
	Date, Region, Service string
	// Time is X-Amz-Date, or the Date header where there is none.
	Time time.Time
	// SignedHeaders are lower case, in the order given.
	SignedHeaders []string
	// SessionToken is the X-Amz-Security-Token that came along.
	SessionToken string
	// Presigned tells that the signature is in the query, valid for Expires.
	Presigned bool
	Expires   time.Duration

	stamp     string // Time as it was sent, part of what is signed
	signature [sha256.Size]byte
	// rawHeaders is SignedHeaders as sent.
	rawHeaders string
}

// Signs tells whether header (lower case) is among the signed ones.
func (a *Authorization) Signs(header string) bool { return slices.Contains(a.SignedHeaders, header) }

// Signed tells whether r carries something that wants to be a signature.
func Signed(r *http.Request) bool {
	return r.Header.Get("Authorization") != "" || strings.Contains(r.URL.RawQuery, "X-Amz-Algorithm=")
}

// Parse reads the signature that r carries in its Authorization header or its
// query. The error is an *Error: CodeMissing for a request that carries none.
func Parse(r *http.Request) (*Authorization, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		return parseHeader(r, h)
	}
	if strings.Contains(r.URL.RawQuery, "X-Amz-") {
		if q := r.URL.Query(); q.Has("X-Amz-Algorithm") || q.Has("X-Amz-Signature") || q.Has("X-Amz-Credential") {
			return parseQuery(q)
		}
	}
	return nil, missing()
}

func parseHeader(r *http.Request, h string) (*Authorization, error) {
	alg, rest, _ := strings.Cut(h, " ")
	if alg != algorithm {
		if strings.HasPrefix(alg, "AWS4-") {
			return nil, incomplete("Unsupported AWS 'algorithm': '%s'.", alg)
		}
		return nil, incomplete("Authorization header requires 'Credential' parameter. "+
			"Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. %s", digest(h))
	}
	var cred, headers, sig string
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, ",")
		part = strings.TrimSpace(part)
		k, v, ok := strings.Cut(part, "=")
		switch {
		case !ok && part != "":
			return nil, incomplete("'%s' not a valid key=value pair (missing equal-sign) in Authorization header: %s", part, digest(h))
		case k == "Credential":
			cred = v
		case k == "SignedHeaders":
			headers = v
		case k == "Signature":
			sig = v
		}
	}
	stamp := r.Header.Get("X-Amz-Date")
	date := stamp
	if date == "" {
		date = r.Header.Get("Date")
	}
	var gaps []string
	for _, p := range [...]struct{ name, value string }{{"Credential", cred}, {"Signature", sig}, {"SignedHeaders", headers}} {
		if p.value == "" {
			gaps = append(gaps, "Authorization header requires '"+p.name+"' parameter.")
		}
	}
	if date == "" {
		gaps = append(gaps, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if gaps != nil {
		return nil, incomplete("%s %s", strings.Join(gaps, " "), digest(h))
	}
	return build(&Authorization{
		SessionToken: r.Header.Get("X-Amz-Security-Token"), rawHeaders: headers, stamp: date,
	}, cred, sig)
}

// digest stands for the offending header in messages, as AWS puts it: the
// header itself is a secret of sorts.
func digest(h string) string {
	sum := sha256.Sum256([]byte(h))
	return "(Hashed with SHA-256 and encoded with Base64) Authorization=" + base64.StdEncoding.EncodeToString(sum[:])
}

func parseQuery(q url.Values) (*Authorization, error) {
	if alg := q.Get("X-Amz-Algorithm"); alg != algorithm {
		return nil, incomplete("Unsupported AWS 'algorithm': '%s'.", alg)
	}
	for _, k := range [...]string{"X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"} {
		if q.Get(k) == "" {
			return nil, incomplete("AWS query-string parameters must include '%s'. Re-examine the query-string parameters.", k)
		}
	}
	// Which of two equal names was signed would be a matter of taste.
	for k, v := range q {
		if len(v) > 1 && strings.HasPrefix(k, "X-Amz-") {
			return nil, incomplete("AWS query-string parameter '%s' must not be repeated.", k)
		}
	}
	a := &Authorization{
		Presigned: true, SessionToken: q.Get("X-Amz-Security-Token"),
		rawHeaders: q.Get("X-Amz-SignedHeaders"), stamp: q.Get("X-Amz-Date"), Expires: MaxSkew,
	}
	if e := q.Get("X-Amz-Expires"); e != "" {
		n, err := strconv.ParseUint(e, 10, 31)
		if err != nil || n > 7*24*3600 {
			return nil, incomplete("X-Amz-Expires must be a number of seconds between 0 and 604800, got '%s'.", e)
		}
		a.Expires = time.Duration(n) * time.Second
	}
	return build(a, q.Get("X-Amz-Credential"), q.Get("X-Amz-Signature"))
}

func build(a *Authorization, cred, sig string) (*Authorization, error) {
	p := strings.Split(cred, "/")
	if len(p) != 5 {
		return nil, incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", cred)
	}
	a.AccessKeyID, a.Date, a.Region, a.Service = p[0], p[1], p[2], p[3]
	if p[4] != terminator {
		return nil, mismatch("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, p[4])
	}
	if !validRegion(a.Region) {
		return nil, mismatch("Credential should be scoped to a valid region, not '%s'.", a.Region)
	}
	var err error
	if a.Time, err = parseTime(a.stamp); err != nil {
		return nil, incomplete("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", a.stamp)
	}
	a.stamp = stamp(a.Time)
	if day := a.Time.Format(dateFormat); a.Date != day {
		return nil, mismatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", a.Date, day, a.stamp)
	}
	if n, err := hex.Decode(a.signature[:], []byte(sig)[:min(len(sig), 2*sha256.Size)]); err != nil || n != sha256.Size || len(sig) != 2*sha256.Size {
		// It cannot match anything: AWS does not tell a malformed one apart.
		return nil, wrongSignature(nil)
	}
	a.SignedHeaders = strings.Split(a.rawHeaders, ";")
	if !a.Signs("host") && !a.Signs(":authority") {
		return nil, mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return a, nil
}

// parseTime takes X-Amz-Date's form and what the Date header may hold instead.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(timeFormat, s)
	if err == nil {
		return t, nil
	}
	if t, e := time.Parse(time.RFC3339, s); e == nil {
		return t.UTC(), nil
	}
	if t, e := http.ParseTime(s); e == nil {
		return t.UTC(), nil
	}
	return time.Time{}, err
}

// validRegion takes names that look like a region, not only those AWS has: the
// region becomes a part of keys and ARNs. "global" is what stands there for no
// region.
func validRegion(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 32 && s != "global"
}

func canonicalHeaderKey(lower string) string { return textproto.CanonicalMIMEHeaderKey(lower) }
