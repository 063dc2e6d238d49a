package policy

import (
	"math/big"
	"net/netip"
	"strings"
	"time"
)

// pattern is a policy string cut into bytes, of which only those written by the
// policy's author may be wildcards: the value of ${aws:username} may hold a
// star that means itself.
type pattern []glyph

type glyph struct {
	c    byte
	wild bool
}

func literal(p string) pattern {
	out := make(pattern, len(p))
	for i := range len(p) {
		out[i] = glyph{p[i], p[i] == '*' || p[i] == '?'}
	}
	return out
}

// quoted is text without wildcards.
func quoted(s string) pattern {
	out := make(pattern, len(s))
	for i := range len(s) {
		out[i] = glyph{c: s[i]}
	}
	return out
}

func (p pattern) String() string {
	b := make([]byte, len(p))
	for i, g := range p {
		b[i] = g.c
	}
	return string(b)
}

// value is a string of a policy that requests are compared with.
type value struct {
	raw   string
	p     pattern // of raw, if parts is nil
	any   bool    // raw is a star
	plain bool    // raw has neither wildcards nor variables
	parts []part  // of a string with variables

	// What the operator's family has read off raw; nil or invalid if raw is none.
	number  *big.Float
	instant time.Time
	network netip.Prefix
	binary  *string
}

// part is a piece of a value: fixed text, or a variable.
type part struct {
	fixed    pattern
	name     string // of the variable, as written; empty for fixed text
	key      string // name in lower case
	fallback *string
}

func newValue(raw string, variables bool) value {
	v := value{raw: raw, any: raw == "*"}
	if variables {
		v.parts = cut(raw)
	}
	if v.parts == nil {
		v.p = literal(raw)
		v.plain = !strings.ContainsAny(raw, "*?")
	}
	return v
}

// cut finds the variables of a string, and returns nil if it has none.
func cut(s string) []part {
	var out []part
	for found := false; ; {
		before, rest, ok := strings.Cut(s, "${")
		if !ok {
			if !found {
				return nil
			}
			return append(out, part{fixed: literal(s)})
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok { // not closed: text
			if !found {
				return nil
			}
			return append(out, part{fixed: literal(s)})
		}
		found = true
		out, s = append(out, part{fixed: literal(before)}, variable(name)), after
	}
}

func variable(name string) part {
	if name == "*" || name == "?" || name == "$" {
		return part{fixed: quoted(name)}
	}
	key, def, ok := strings.Cut(name, ",")
	key = strings.TrimSpace(key)
	p := part{name: key, key: strings.ToLower(key)}
	if ok {
		def = strings.Trim(strings.TrimSpace(def), "'")
		p.fallback = &def
	}
	return p
}

// resolve puts the request's values in the place of variables. It reports false if
// one has no value and no default: then nothing is equal or alike ("IAM policy
// elements: Variables and tags", policy variables with no value). Keys of several
// values are no variables.
func (v *value) resolve(ctx map[string][]string) (pattern, bool) {
	if v.parts == nil {
		return v.p, true
	}
	var out pattern
	for i := range v.parts {
		p := &v.parts[i]
		switch given := ctx[p.key]; {
		case p.name == "":
			out = append(out, p.fixed...)
		case len(given) == 1 && given[0] != "":
			out = append(out, quoted(given[0])...)
		case p.fallback != nil:
			out = append(out, quoted(*p.fallback)...)
		default:
			return nil, false
		}
	}
	return out, true
}

// covers tells whether a Resource element's pattern matches an ARN. Unlike ArnLike's
// its stars cross colons.
func (v *value) covers(arn string, ctx map[string][]string) bool {
	if v.any {
		return true
	}
	if v.plain {
		return v.raw == arn
	}
	p, ok := v.resolve(ctx)
	return ok && like(p, arn)
}

// Like matches s against a pattern with * and ?, as StringLike does.
func Like(p, s string) bool { return like(literal(p), s) }

// like is linear in practice: only the last star is ever tried again. A question
// mark stands for a character, whose bytes may be several.
func like(p pattern, s string) bool {
	i, j, star, mark := 0, 0, -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i].wild && p[i].c == '*':
			star, mark = i, j
			i++
		case i < len(p) && p[i].wild:
			i++
			j += width(s, j)
		case i < len(p) && p[i].c == s[j]:
			i++
			j++
		case star >= 0:
			mark += width(s, mark)
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i].wild && p[i].c == '*' {
		i++
	}
	return i == len(p)
}

// width is how many bytes the character at i has.
func width(s string, i int) int {
	n := 1
	for i+n < len(s) && s[i+n]&0xC0 == 0x80 {
		n++
	}
	return n
}

// arnLike compares ARNs part by part: a star stays within its part, but for the
// last part, which may hold colons itself.
func arnLike(p pattern, arn string) bool {
	if !strings.HasPrefix(arn, "arn:") || strings.Count(arn, ":") < 5 {
		return false
	}
	for range 5 {
		end := 0
		for end < len(p) && p[end].c != ':' {
			end++
		}
		if end == len(p) {
			return false
		}
		own, rest, _ := strings.Cut(arn, ":")
		if !like(p[:end], own) {
			return false
		}
		p, arn = p[end+1:], rest
	}
	return like(p, arn)
}
