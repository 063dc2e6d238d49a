package logs

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// A JSON pattern is a tree of comparisons: { $.a = "x" && ($.n > 5 || $.b[0] IS NULL) }.

// expr judges a decoded event.
type expr func(event any) bool

func compileJSON(text string) (func(string) bool, error) {
	p := &parser{rest: text}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, badPattern("Invalid character(s) in term '" + p.rest + "'")
	}
	return func(m string) bool {
		var v any
		d := json.NewDecoder(strings.NewReader(m))
		d.UseNumber()
		return d.Decode(&v) == nil && e(v)
	}, nil
}

type parser struct{ rest string }

func (p *parser) space() { p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace) }

// take reads a token if it comes next.
func (p *parser) take(token string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
	}
	return ok
}

// word reads a keyword, in any case, if it comes next.
func (p *parser) word(w string) bool {
	p.space()
	if len(p.rest) < len(w) || !strings.EqualFold(p.rest[:len(w)], w) {
		return false
	}
	if len(p.rest) > len(w) && (unicode.IsLetter(rune(p.rest[len(w)])) || p.rest[len(w)] == '_') {
		return false
	}
	p.rest = p.rest[len(w):]
	return true
}

// maxDepth bounds the parentheses in a pattern, which is at most 1024 characters.
const maxDepth = 100

func (p *parser) or(depth int) (expr, error) {
	left, err := p.and(depth)
	for err == nil && p.take("||") {
		a := left
		var b expr
		b, err = p.and(depth)
		left = func(v any) bool { return a(v) || b(v) }
	}
	return left, err
}

func (p *parser) and(depth int) (expr, error) {
	left, err := p.factor(depth)
	for err == nil && p.take("&&") {
		a := left
		var b expr
		b, err = p.factor(depth)
		left = func(v any) bool { return a(v) && b(v) }
	}
	return left, err
}

func (p *parser) factor(depth int) (expr, error) {
	if !p.take("(") {
		return p.comparison()
	}
	if depth == maxDepth {
		return nil, badPattern("The expression is nested too deeply")
	}
	e, err := p.or(depth + 1)
	if err == nil && !p.take(")") {
		err = badPattern("Missing closing parenthesis")
	}
	return e, err
}

func (p *parser) comparison() (expr, error) {
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	switch {
	case p.word("NOT"):
		if !p.word("EXISTS") {
			return nil, badPattern("Expected NOT EXISTS")
		}
		return func(v any) bool { return len(path.of(v)) == 0 }, nil
	case p.word("EXISTS"):
		return func(v any) bool { return len(path.of(v)) > 0 }, nil
	case p.word("IS"):
		return p.is(path)
	}
	for _, op := range []string{"!=", ">=", "<=", "=", ">", "<"} {
		if p.take(op) {
			return p.compare(path, op)
		}
	}
	return nil, badPattern("Expected an operator at '" + p.rest + "'")
}

func (p *parser) is(path path) (expr, error) {
	for word, want := range map[string]any{"NULL": nil, "TRUE": true, "FALSE": false} {
		if p.word(word) {
			return path.any(func(v any) bool { return v == want }), nil
		}
	}
	return nil, badPattern("Expected NULL, TRUE or FALSE after IS")
}

func (p *parser) compare(path path, op string) (expr, error) {
	p.space()
	var test func(v any) bool
	switch {
	case strings.HasPrefix(p.rest, `"`):
		text, rest, ok := quotedText(p.rest)
		if !ok {
			return nil, badPattern("Missing closing quote")
		}
		p.rest = rest
		test = textTest(text)
	case strings.HasPrefix(p.rest, "%"):
		re, rest, err := expression(p.rest)
		if err != nil {
			return nil, err
		}
		p.rest = rest
		test = func(v any) bool { s, ok := scalarText(v); return ok && re.MatchString(s) }
	default:
		end := strings.IndexFunc(p.rest, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("()&|", r) })
		if end < 0 {
			end = len(p.rest)
		}
		word := p.rest[:end]
		if word == "" {
			return nil, badPattern("Expected a value after " + op)
		}
		p.rest = p.rest[end:]
		if n, err := strconv.ParseFloat(word, 64); err == nil {
			return path.any(numberTest(op, n)), nil
		}
		test = textTest(word)
	}
	switch op {
	case "=":
		return path.any(test), nil
	case "!=":
		return path.any(func(v any) bool { return !test(v) }), nil
	}
	return nil, badPattern("Only numbers can be compared with " + op)
}

func numberTest(op string, n float64) func(any) bool {
	return func(v any) bool {
		s, ok := scalarText(v)
		if !ok {
			return false
		}
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return op == "!="
		}
		switch op {
		case "=":
			return x == n
		case "!=":
			return x != n
		case ">":
			return x > n
		case "<":
			return x < n
		case ">=":
			return x >= n
		}
		return x <= n
	}
}

// textTest compares with a text in which stars stand for anything. A bare IP
// prefix such as 10.0.0.0/8 is one of CloudWatch's ways to match addresses.
func textTest(text string) func(any) bool {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return func(v any) bool {
			s, ok := scalarText(v)
			a, err := netip.ParseAddr(s)
			return ok && (s == text || err == nil && prefix.Contains(a))
		}
	}
	parts := strings.Split(text, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	re := regexp.MustCompile("(?s)^" + strings.Join(parts, ".*") + "$") // only quoted text and .*
	return func(v any) bool { s, ok := scalarText(v); return ok && re.MatchString(s) }
}

// scalarText is a value that is no object and no list, as text.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// path is a selector such as $.user.groups[0] or $['a b'].c[*].
type path []step

type step struct {
	name  string // "" with index or all
	index int
	all   bool
}

var bareName = regexp.MustCompile(`^[\pL\pN_@/\-]+`)

func (p *parser) path() (path, error) {
	if !p.take("$") {
		return nil, badPattern("Property selectors must start with '$' at '" + p.rest + "'")
	}
	var out path
	for {
		switch {
		case strings.HasPrefix(p.rest, ".\""):
			text, rest, ok := quotedText(p.rest[1:])
			if !ok {
				return nil, badPattern("Missing closing quote")
			}
			p.rest = rest
			out = append(out, step{name: text})
		case strings.HasPrefix(p.rest, "."):
			n := bareName.FindString(p.rest[1:])
			if n == "" {
				return nil, badPattern("Expected a property at '" + p.rest + "'")
			}
			p.rest = p.rest[1+len(n):]
			out = append(out, step{name: n})
		case strings.HasPrefix(p.rest, "["):
			end := strings.IndexByte(p.rest, ']')
			if end < 0 {
				return nil, badPattern("Missing ']'")
			}
			s, err := bracket(strings.TrimSpace(p.rest[1:end]))
			if err != nil {
				return nil, err
			}
			p.rest = p.rest[end+1:]
			out = append(out, s)
		default:
			return out, nil
		}
	}
}

func bracket(text string) (step, error) {
	if text == "*" {
		return step{all: true}, nil
	}
	if n := len(text); n > 2 && (text[0] == '\'' || text[0] == '"') && text[n-1] == text[0] {
		return step{name: text[1 : n-1]}, nil
	}
	i, err := strconv.Atoi(text)
	if err != nil || i < 0 {
		return step{}, badPattern("Invalid index '" + text + "'")
	}
	return step{index: i}, nil
}

// of returns the values that the path leads to.
func (p path) of(v any) []any {
	at := []any{v}
	for _, s := range p {
		var next []any
		for _, v := range at {
			switch v := v.(type) {
			case map[string]any:
				if x, ok := v[s.name]; ok && s.name != "" {
					next = append(next, x)
				}
			case []any:
				if s.all {
					next = append(next, v...)
				} else if s.name == "" && s.index < len(v) {
					next = append(next, v[s.index])
				}
			}
		}
		at = next
	}
	return at
}

// any holds where the path leads to a value that passes. Where there is none,
// nothing holds, != neither.
func (p path) any(test func(any) bool) expr {
	return func(v any) bool {
		for _, x := range p.of(v) {
			if test(x) {
				return true
			}
		}
		return false
	}
}
