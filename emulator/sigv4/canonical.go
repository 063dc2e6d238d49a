package sigv4

import (
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// spelling is one of the readings of a request that clients sign. They differ
// only where a client or a proxy writes a request in another way than it signs
// it, so the first one nearly always holds.
type spelling struct {
	host string
	path string
}

// spellings lists the readings, the literal one first.
func spellings(host, escapedPath string) []spelling {
	hosts := []string{host}
	for _, port := range [...]string{":80", ":443"} {
		// SDKs sign without the scheme's own port; some send it all the same.
		if h, ok := strings.CutSuffix(host, port); ok {
			hosts = append(hosts, h)
		}
	}
	for _, h := range hosts {
		if l := strings.ToLower(h); l != h {
			hosts = append(hosts, l) // botocore signs the lower-case name
		}
	}
	paths := []string{escapedPath}
	if n := normalPath(escapedPath); n != escapedPath {
		paths = append(paths, n) // botocore removes dot segments and empty ones
	}
	var out []spelling
	for _, h := range hosts {
		for _, p := range paths {
			out = append(out, spelling{h, p})
		}
	}
	return out
}

func normalPath(p string) string {
	n := path.Clean(p)
	if n != "/" && strings.HasSuffix(p, "/") {
		n += "/"
	}
	return n
}

// appendCanonical appends the canonical request of r in spelling s.
func appendCanonical(b []byte, r *http.Request, a *Authorization, s spelling, payloadHash string) []byte {
	b = append(append(b, r.Method...), '\n')
	// Every service but S3 encodes the path as sent a second time.
	switch {
	case s.path == "":
		b = append(b, '/')
	case a.Service == s3:
		for i, segment := range strings.Split(s.path, "/") {
			if i > 0 {
				b = append(b, '/')
			}
			b = append(b, reescape(segment)...)
		}
	default:
		b = appendPath(b, s.path)
	}
	b = append(b, '\n')
	b = appendQuery(b, r.URL.RawQuery, a.Presigned)
	b = append(b, '\n')
	for _, h := range a.SignedHeaders {
		b = append(append(b, h...), ':')
		b = appendHeader(b, r, h, s.host)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(append(b, a.rawHeaders...), '\n')
	return append(b, payloadHash...)
}

// escapedPath is the path of r as the client sent it.
func escapedPath(r *http.Request) string {
	if p := r.RequestURI; strings.HasPrefix(p, "/") {
		p, _, _ = strings.Cut(p, "?")
		return p
	}
	return r.URL.EscapedPath()
}

func appendHeader(b []byte, r *http.Request, name, host string) []byte {
	switch name {
	case "host", ":authority":
		return append(b, host...)
	case "content-length":
		// net/http keeps the header only on some paths.
		if _, ok := r.Header["Content-Length"]; !ok && r.ContentLength >= 0 {
			return strconv.AppendInt(b, r.ContentLength, 10)
		}
	case "transfer-encoding":
		return append(b, strings.Join(r.TransferEncoding, ",")...)
	}
	for i, v := range r.Header[canonicalHeaderKey(name)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTrimmed(b, v)
	}
	return b
}

// appendTrimmed appends v without outer space, runs of inner space as one.
func appendTrimmed(b []byte, v string) []byte {
	v = strings.TrimSpace(v)
	if !strings.Contains(v, "  ") {
		return append(b, v...)
	}
	for i := range len(v) {
		if v[i] != ' ' || v[i-1] != ' ' { // v does not begin with a space
			b = append(b, v[i])
		}
	}
	return b
}

// appendQuery appends the canonical form of a raw query: parameters sorted by
// encoded name, then value, without the signature itself.
func appendQuery(b []byte, raw string, presigned bool) []byte {
	if raw == "" {
		return b
	}
	type pair struct{ k, v string }
	pairs := make([]pair, 0, 16)
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		k = reescape(k)
		if presigned && k == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{k, reescape(v)})
	}
	slices.SortStableFunc(pairs, func(x, y pair) int {
		if c := strings.Compare(x.k, y.k); c != 0 {
			return c
		}
		return strings.Compare(x.v, y.v)
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, p.k...), '='), p.v...)
	}
	return b
}

// reescape brings an escaped query component into SigV4's escaping. What cannot
// be unescaped stands for itself.
func reescape(s string) string {
	plain := true
	for i := range len(s) {
		if !unreserved(s[i]) {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		b = appendEscapedByte(b, c)
	}
	return string(b)
}

func appendPath(b []byte, p string) []byte {
	for i := range len(p) {
		if p[i] == '/' {
			b = append(b, '/')
		} else {
			b = appendEscapedByte(b, p[i])
		}
	}
	return b
}

func appendEscapedByte(b []byte, c byte) []byte {
	if unreserved(c) {
		return append(b, c)
	}
	return append(b, '%', upperHex[c>>4], upperHex[c&15])
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	default:
		return c - '0'
	}
}
