package logs

import (
	"regexp"
	"strings"
	"unicode"
)

// compile reads a filter pattern: terms, a JSON expression in braces, or fields in
// brackets. Source: CloudWatch Logs User Guide, "Filter pattern syntax".
func compile(text string) (func(message string) bool, error) {
	p := strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
	switch {
	case p == "":
		return func(string) bool { return true }, nil
	case p[0] == '{':
		if !strings.HasSuffix(p, "}") {
			return nil, badPattern("If a filter pattern starts with '{' it must end with '}'")
		}
		return compileJSON(p[1 : len(p)-1])
	case p[0] == '[':
		if !strings.HasSuffix(p, "]") {
			return nil, badPattern("If a filter pattern starts with '[' it must end with ']'")
		}
		return compileFields(p[1 : len(p)-1])
	}
	return compileTerms(p)
}

func badPattern(why string) error { return invalid("Invalid filter pattern: %s", why) }

// term is a word, phrase or regular expression that an event must, may or must not
// hold.
type term struct {
	how  byte // 0, '?' or '-'
	test func(message string) bool
}

// compileTerms reads ERROR "a phrase" -DEBUG ?either ?or %expression%. Optional terms
// count only among themselves: beside others they are ignored, as AWS does.
func compileTerms(p string) (func(string) bool, error) {
	var must, may, not []term
	for {
		p = strings.TrimLeftFunc(p, unicode.IsSpace)
		if p == "" {
			break
		}
		t, rest, err := nextTerm(p)
		if err != nil {
			return nil, err
		}
		p = rest
		switch t.how {
		case '?':
			may = append(may, t)
		case '-':
			not = append(not, t)
		default:
			must = append(must, t)
		}
	}
	return func(m string) bool {
		for _, t := range must {
			if !t.test(m) {
				return false
			}
		}
		for _, t := range not {
			if t.test(m) {
				return false
			}
		}
		if len(must)+len(not) > 0 || len(may) == 0 {
			return true
		}
		for _, t := range may {
			if t.test(m) {
				return true
			}
		}
		return false
	}, nil
}

var wordPattern = regexp.MustCompile(`^[\pL\pN_]+$`)

func nextTerm(p string) (term, string, error) {
	t := term{}
	if p[0] == '?' || p[0] == '-' {
		t.how, p = p[0], p[1:]
	}
	switch {
	case strings.HasPrefix(p, `"`):
		phrase, rest, ok := quotedText(p)
		if !ok || phrase == "" {
			return t, "", badPattern("Invalid character(s) in term '" + p + "'")
		}
		t.test = func(m string) bool { return strings.Contains(m, phrase) }
		return t, rest, nil
	case strings.HasPrefix(p, "%"):
		re, rest, err := expression(p)
		if err != nil {
			return t, "", err
		}
		t.test = re.MatchString
		return t, rest, nil
	}
	word, rest := p, ""
	if i := strings.IndexFunc(p, unicode.IsSpace); i >= 0 {
		word, rest = p[:i], p[i:]
	}
	if !wordPattern.MatchString(word) {
		return t, "", badPattern("Invalid character(s) in term '" + word + "'")
	}
	t.test = func(m string) bool { return strings.Contains(m, word) }
	return t, rest, nil
}

// quotedText reads a quoted string at the beginning of p, in which a backslash
// makes the next character ordinary.
func quotedText(p string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(p); i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p):
			i++
			b.WriteByte(p[i])
		case p[i] == '"':
			return b.String(), p[i+1:], true
		default:
			b.WriteByte(p[i])
		}
	}
	return "", "", false
}

// expression reads %a regular expression% at the beginning of p.
func expression(p string) (*regexp.Regexp, string, error) {
	end := strings.IndexByte(p[1:], '%')
	if end < 0 {
		return nil, "", badPattern("Invalid regular expression")
	}
	re, err := regexp.Compile(p[1 : 1+end])
	if err != nil || strings.ContainsAny(p[1:1+end], "()") {
		return nil, "", badPattern("Invalid regular expression")
	}
	return re, p[end+2:], nil
}
