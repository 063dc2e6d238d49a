package policy

import "strings"

// pattern is a policy string cut into runes, of which only those written by the
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

func (p pattern) String() string {
	b := make([]byte, len(p))
	for i, g := range p {
		b[i] = g.c
	}
	return string(b)
}

// substitute expands policy variables; one whose key is absent and that has no
// default stays as written, and so matches nothing but itself.
func substitute(s string, ctx map[string][]string) pattern {
	var out pattern
	for {
		before, rest, ok := strings.Cut(s, "${")
		out = append(out, literal(before)...)
		if !ok {
			return out
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return append(out, literal("${"+rest)...)
		}
		for _, c := range []byte(variable(name, ctx)) {
			out = append(out, glyph{c: c})
		}
		s = after
	}
}

func variable(name string, ctx map[string][]string) string {
	if name == "*" || name == "?" || name == "$" {
		return name
	}
	key, def, hasDefault := strings.Cut(name, ",")
	if v := ctx[strings.ToLower(strings.TrimSpace(key))]; len(v) == 1 {
		return v[0]
	}
	if hasDefault {
		return strings.Trim(strings.TrimSpace(def), "'")
	}
	return "${" + name + "}"
}

// Like matches s against a pattern with * and ?, as StringLike does.
func Like(p, s string) bool { return like(literal(p), s) }

// like is linear in practice: only the last star is ever tried again.
func like(p pattern, s string) bool {
	i, j, star, mark := 0, 0, -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i].wild && p[i].c == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i].wild || p[i].c == s[j]):
			i++
			j++
		case star >= 0:
			mark++
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

// matchARN matches a Resource element. Unlike ArnLike its stars cross colons.
func matchARN(p pattern, arn string) bool { return like(p, arn) }

// arnLike compares ARNs part by part: a star stays within its part, but for the
// last part, which may hold colons itself.
func arnLike(p pattern, arn string) bool {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return false
	}
	for i, part := range parts {
		end := len(p)
		if i < 5 {
			end = 0
			for end < len(p) && p[end].c != ':' {
				end++
			}
			if end == len(p) {
				return false
			}
		}
		if !like(p[:end], part) {
			return false
		}
		if i < 5 {
			p = p[end+1:]
		}
	}
	return true
}
