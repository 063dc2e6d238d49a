package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
)

const (
	tokenPrefix = "k8s-aws-v1."
	// maxToken leaves room for the session tokens of real STS.
	maxToken      = 4 << 10
	clusterHeader = "x-k8s-aws-id"
	maxExpires    = 900 // seconds
)

// allowedParameters are those of a presigned GetCallerIdentity, lower case.
var allowedParameters = []string{
	"action", "version", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires",
	"x-amz-security-token", "x-amz-signature", "x-amz-signedheaders",
}

func isEKSToken(token string) bool { return strings.HasPrefix(token, tokenPrefix) }

// formatError is a token that could not have been accepted from anybody.
func formatError(format string, args ...any) error {
	return fmt.Errorf("input token was not properly formatted: "+format, args...)
}

// decodeToken returns the STS request that a token stands for, to whatever host.
func decodeToken(token string) (*http.Request, error) {
	if len(token) > maxToken {
		return nil, formatError("token is too large")
	}
	encoded, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok {
		return nil, formatError("token is missing expected %q prefix", tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, formatError("%v", err)
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		return nil, formatError("not a URL") // url's error would quote the signature
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return nil, formatError("unexpected scheme %q in pre-signed URL", u.Scheme)
	}
	if u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return nil, formatError("unexpected form of pre-signed URL")
	}
	if u.Path != "/" {
		return nil, formatError("unexpected path in pre-signed URL")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, formatError("malformed query parameter")
	}
	if err := checkParameters(q); err != nil {
		return nil, err
	}
	return &http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Accept": {"application/json"}}, Body: http.NoBody,
	}, nil
}

func checkParameters(q url.Values) error {
	lower := url.Values{}
	for k, v := range q {
		l := strings.ToLower(k)
		if len(v) != 1 || lower.Has(l) {
			return formatError("query parameter with multiple values not supported")
		}
		if !slices.Contains(allowedParameters, l) {
			return formatError("non-whitelisted query parameter %q", k)
		}
		lower[l] = v
	}
	if a := lower.Get("action"); a != "GetCallerIdentity" {
		return formatError("unexpected action parameter in pre-signed URL")
	}
	if !slices.Contains(strings.Split(strings.ToLower(lower.Get("x-amz-signedheaders")), ";"), clusterHeader) {
		return formatError("client did not sign the %s header in the pre-signed URL", clusterHeader)
	}
	expires, err := strconv.Atoi(lower.Get("x-amz-expires"))
	if err != nil || expires < 0 || expires > maxExpires {
		return formatError("invalid X-Amz-Expires parameter in pre-signed URL: %q", lower.Get("x-amz-expires"))
	}
	if lower.Get("x-amz-date") == "" {
		return formatError("X-Amz-Date parameter must be present in pre-signed URL")
	}
	return nil
}

// verify finds out who made token for cluster c.
func (a *Authenticator) verify(ctx context.Context, c Cluster, token string) (principal, error) {
	r, err := decodeToken(token)
	if err != nil {
		return principal{}, err
	}
	if err := a.checkHost(r.URL, c); err != nil {
		return principal{}, err
	}
	// The cluster's own name, whatever the client meant: a token for another
	// cluster then carries a wrong signature.
	r.Header.Set(clusterHeader, c.Name)
	auth, err := sigv4.Parse(r)
	if err != nil {
		return principal{}, formatError("%v", err)
	}
	if auth.Service != "sts" {
		return principal{}, formatError("pre-signed URL is for %q, not for sts", auth.Service)
	}
	// EKS asks the STS of its own partition, which knows no others' keys. Account
	// ids do not tell: aws-auth's mapAccounts would let the other one in.
	if signed, own := awsid.PartitionOf(auth.Region), c.Scope.Partition(); signed != own {
		return principal{}, fmt.Errorf("sts getCallerIdentity failed: the token is signed for the region %s of the partition %s, the cluster is in %s", auth.Region, signed, own)
	}
	key, err := a.verifier.Verify(ctx, auth, r, nil)
	if err != nil {
		var e *sigv4.Error
		if errors.As(err, &e) && e.Canonical != "" {
			return principal{}, fmt.Errorf("sts getCallerIdentity failed: %s: the token is signed for another cluster than %q or with another secret", e.Code, c.Name)
		}
		return principal{}, fmt.Errorf("sts getCallerIdentity failed: %w", err)
	}
	return newPrincipal(key.Caller)
}
