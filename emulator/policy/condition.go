package policy

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// operator compares one value of the request with one value of the policy. A
// negated operator holds when no policy value matches.
type operator struct {
	match  func(have string, want pattern) bool
	negate bool
}

var operators = map[string]operator{
	"StringEquals":              {match: equals},
	"StringNotEquals":           {match: equals, negate: true},
	"StringEqualsIgnoreCase":    {match: equalFold},
	"StringNotEqualsIgnoreCase": {match: equalFold, negate: true},
	"StringLike":                {match: stringLike},
	"StringNotLike":             {match: stringLike, negate: true},
	"ArnEquals":                 {match: arnMatch},
	"ArnNotEquals":              {match: arnMatch, negate: true},
	"ArnLike":                   {match: arnMatch},
	"ArnNotLike":                {match: arnMatch, negate: true},
	"Bool":                      {match: equalFold},
	"BinaryEquals":              {match: binaryEquals},
	"IpAddress":                 {match: inNetwork},
	"NotIpAddress":              {match: inNetwork, negate: true},
	"NumericEquals":             {match: numeric(func(c int) bool { return c == 0 })},
	"NumericNotEquals":          {match: numeric(func(c int) bool { return c == 0 }), negate: true},
	"NumericLessThan":           {match: numeric(func(c int) bool { return c < 0 })},
	"NumericLessThanEquals":     {match: numeric(func(c int) bool { return c <= 0 })},
	"NumericGreaterThan":        {match: numeric(func(c int) bool { return c > 0 })},
	"NumericGreaterThanEquals":  {match: numeric(func(c int) bool { return c >= 0 })},
	"DateEquals":                {match: date(func(c int) bool { return c == 0 })},
	"DateNotEquals":             {match: date(func(c int) bool { return c == 0 }), negate: true},
	"DateLessThan":              {match: date(func(c int) bool { return c < 0 })},
	"DateLessThanEquals":        {match: date(func(c int) bool { return c <= 0 })},
	"DateGreaterThan":           {match: date(func(c int) bool { return c > 0 })},
	"DateGreaterThanEquals":     {match: date(func(c int) bool { return c >= 0 })},
	"Null":                      {}, // asks for the key, not for its values: see holds
}

func (c Condition) holds(ctx map[string][]string, sub func(string) pattern) bool {
	have, present := ctx[c.Key]
	present = present && len(have) > 0
	if c.Operator == "Null" {
		return slices.ContainsFunc(c.Values, func(v string) bool { return strings.EqualFold(v, "true") == !present })
	}
	op := operators[c.Operator]
	if !present {
		// An absent key fails positive operators and satisfies negated ones;
		// ForAllValues is vacuously true.
		return c.IfExists || c.Set == ForAllValues || op.negate && c.Set == Single
	}
	want := make([]pattern, len(c.Values))
	for i, v := range c.Values {
		want[i] = sub(v)
	}
	one := func(h string) bool {
		return slices.ContainsFunc(want, func(w pattern) bool { return op.match(h, w) }) != op.negate
	}
	if c.Set == ForAllValues || c.Set == Single && op.negate {
		return !slices.ContainsFunc(have, func(h string) bool { return !one(h) })
	}
	return slices.ContainsFunc(have, one)
}

func equals(have string, want pattern) bool     { return have == want.String() }
func equalFold(have string, want pattern) bool  { return strings.EqualFold(have, want.String()) }
func stringLike(have string, want pattern) bool { return like(want, have) }
func arnMatch(have string, want pattern) bool   { return arnLike(want, have) }

func binaryEquals(have string, want pattern) bool {
	b, err := base64.StdEncoding.DecodeString(want.String())
	return err == nil && have == string(b)
}

func inNetwork(have string, want pattern) bool {
	ip, err := netip.ParseAddr(have)
	if err != nil {
		return false
	}
	w := want.String()
	if !strings.Contains(w, "/") {
		other, err := netip.ParseAddr(w)
		return err == nil && other.Unmap() == ip.Unmap()
	}
	n, err := netip.ParsePrefix(w)
	return err == nil && n.Contains(ip.Unmap())
}

func numeric(ok func(cmp int) bool) func(string, pattern) bool {
	return func(have string, want pattern) bool {
		h, good1 := number(have)
		w, good2 := number(want.String())
		return good1 && good2 && ok(h.Cmp(w))
	}
}

// number is a float of fixed precision: big.Rat would let "1e999999999" eat the
// machine.
func number(s string) (*big.Float, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != f {
		return nil, false
	}
	return big.NewFloat(f), true
}

func date(ok func(cmp int) bool) func(string, pattern) bool {
	return func(have string, want pattern) bool {
		h, good1 := instant(have)
		w, good2 := instant(want.String())
		return good1 && good2 && ok(h.Compare(w))
	}
}

// instant reads the forms that IAM takes: ISO 8601 at its precisions, or epoch
// seconds.
func instant(s string) (time.Time, bool) {
	for _, f := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(f, s); err == nil {
			return t, true
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), true
	}
	return time.Time{}, false
}
