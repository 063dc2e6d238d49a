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

// null asks for the key, not for its values.
const null = "Null"

// operator compares one value of the request with one value of the policy. A
// negated operator holds when no policy value matches.
type operator struct {
	match     func(have string, want *value, p pattern) bool
	negate    bool
	variables bool         // values may hold policy variables
	read      func(*value) // parses a policy's value beforehand; nil if it is text
}

// operators are those of "IAM JSON policy elements: Condition operators", which also
// says which take variables.
var operators = map[string]operator{
	"StringEquals":              {match: equals, variables: true},
	"StringNotEquals":           {match: equals, variables: true, negate: true},
	"StringEqualsIgnoreCase":    {match: equalFold, variables: true},
	"StringNotEqualsIgnoreCase": {match: equalFold, variables: true, negate: true},
	"StringLike":                {match: stringLike, variables: true},
	"StringNotLike":             {match: stringLike, variables: true, negate: true},
	"ArnEquals":                 {match: arnMatch, variables: true},
	"ArnNotEquals":              {match: arnMatch, variables: true, negate: true},
	"ArnLike":                   {match: arnMatch, variables: true},
	"ArnNotLike":                {match: arnMatch, variables: true, negate: true},
	"Bool":                      {match: equalFold, variables: true},
	"BinaryEquals":              {match: binaryEquals, read: readBinary},
	"IpAddress":                 {match: inNetwork, read: readNetwork},
	"NotIpAddress":              {match: inNetwork, read: readNetwork, negate: true},
	"NumericEquals":             {match: numeric(func(c int) bool { return c == 0 }), read: readNumber},
	"NumericNotEquals":          {match: numeric(func(c int) bool { return c == 0 }), read: readNumber, negate: true},
	"NumericLessThan":           {match: numeric(func(c int) bool { return c < 0 }), read: readNumber},
	"NumericLessThanEquals":     {match: numeric(func(c int) bool { return c <= 0 }), read: readNumber},
	"NumericGreaterThan":        {match: numeric(func(c int) bool { return c > 0 }), read: readNumber},
	"NumericGreaterThanEquals":  {match: numeric(func(c int) bool { return c >= 0 }), read: readNumber},
	"DateEquals":                {match: date(func(c int) bool { return c == 0 }), read: readInstant},
	"DateNotEquals":             {match: date(func(c int) bool { return c == 0 }), read: readInstant, negate: true},
	"DateLessThan":              {match: date(func(c int) bool { return c < 0 }), read: readInstant},
	"DateLessThanEquals":        {match: date(func(c int) bool { return c <= 0 }), read: readInstant},
	"DateGreaterThan":           {match: date(func(c int) bool { return c > 0 }), read: readInstant},
	"DateGreaterThanEquals":     {match: date(func(c int) bool { return c >= 0 }), read: readInstant},
}

func (c *condition) holds(ctx map[string][]string) bool {
	have := ctx[c.key]
	if c.null {
		return slices.ContainsFunc(c.values, func(v value) bool { return strings.EqualFold(v.raw, "true") == (len(have) == 0) })
	}
	if len(have) == 0 || c.set != Single && !slices.ContainsFunc(have, func(h string) bool { return h != "" }) {
		// An absent key fails positive operators and satisfies negated ones. Set
		// operators count a list of empty strings as none: all of nothing is true,
		// any of nothing is false, negated or not.
		return c.ifExists && len(have) == 0 || c.set == ForAllValues || c.operator.negate && c.set == Single
	}
	if c.set == ForAllValues || c.set == Single && c.operator.negate {
		for _, h := range have {
			if !c.one(h, ctx) {
				return false
			}
		}
		return true
	}
	for _, h := range have {
		if c.one(h, ctx) {
			return true
		}
	}
	return false
}

// one judges one of the request's values.
func (c *condition) one(have string, ctx map[string][]string) bool {
	for i := range c.values {
		w := &c.values[i]
		if p, ok := w.resolve(ctx); ok && c.operator.match(have, w, p) {
			return !c.operator.negate
		}
	}
	return c.operator.negate
}

// text is what the value says once its variables are replaced.
func (v *value) text(p pattern) string {
	if v.parts == nil {
		return v.raw
	}
	return p.String()
}

func equals(have string, want *value, p pattern) bool { return have == want.text(p) }
func equalFold(have string, want *value, p pattern) bool {
	return strings.EqualFold(have, want.text(p))
}
func stringLike(have string, _ *value, p pattern) bool { return like(p, have) }
func arnMatch(have string, _ *value, p pattern) bool   { return arnLike(p, have) }
func binaryEquals(have string, want *value, _ pattern) bool {
	return want.binary != nil && have == *want.binary
}

func readBinary(v *value) {
	if b, err := base64.StdEncoding.DecodeString(v.raw); err == nil {
		s := string(b)
		v.binary = &s
	}
}

func inNetwork(have string, want *value, _ pattern) bool {
	ip, err := netip.ParseAddr(have)
	return err == nil && want.network.IsValid() && want.network.Contains(ip.Unmap())
}

// readNetwork takes addresses as networks of their own. Host bits do not matter.
func readNetwork(v *value) {
	if ip, err := netip.ParseAddr(v.raw); err == nil {
		ip = ip.Unmap()
		v.network = netip.PrefixFrom(ip, ip.BitLen())
	} else if n, err := netip.ParsePrefix(v.raw); err == nil {
		v.network = n.Masked()
	}
}

func numeric(ok func(cmp int) bool) func(string, *value, pattern) bool {
	return func(have string, want *value, _ pattern) bool {
		h := number(have)
		return h != nil && want.number != nil && ok(h.Cmp(want.number))
	}
}

func readNumber(v *value) { v.number = number(v.raw) }

// number is a float of fixed precision: big.Rat would let "1e999999999" eat the
// machine.
func number(s string) *big.Float {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != f {
		return nil
	}
	return big.NewFloat(f)
}

func date(ok func(cmp int) bool) func(string, *value, pattern) bool {
	return func(have string, want *value, _ pattern) bool {
		h := instant(have)
		return !h.IsZero() && !want.instant.IsZero() && ok(h.Compare(want.instant))
	}
}

func readInstant(v *value) { v.instant = instant(v.raw) }

// instant reads the forms that IAM takes: ISO 8601 at its precisions, or epoch
// seconds. A year is four digits.
func instant(s string) time.Time {
	for _, f := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(f, s); err == nil {
			return t
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0)
	}
	return time.Time{}
}
