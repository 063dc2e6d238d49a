package logs

import (
	"regexp"
	"slices"
	"strings"
)

// A pattern of fields matches events whose words stand in columns:
// [ip, user, ..., status = 4*, size > 1000]. Text in quotes or brackets is one word.

// field is one column: a name that may be compared, or an ellipsis for any number.
type field struct {
	any  bool
	test func(word any) bool // nil: whatever
}

var fieldPattern = regexp.MustCompile(`^\s*([A-Za-z0-9_.\-]*)\s*(.*)$`)

func compileFields(text string) (func(string) bool, error) {
	var fields []field
	ellipses := 0
	for _, part := range splitOutside(text) {
		part = strings.TrimSpace(part)
		if part == "..." {
			ellipses++
			fields = append(fields, field{any: true})
			continue
		}
		f, err := compileField(part)
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	if ellipses > 1 {
		return nil, badPattern("Only one ellipsis is allowed")
	}
	return func(m string) bool { return columnsMatch(fields, words(m)) }, nil
}

// compileField reads name, name = value, or several of those with && and ||.
func compileField(text string) (field, error) {
	m := fieldPattern.FindStringSubmatch(text)
	if m == nil || m[1] == "" {
		return field{}, badPattern("Invalid character(s) in term '" + text + "'")
	}
	if m[2] == "" {
		return field{}, nil
	}
	// The same grammar as in JSON patterns, of one value instead of a property.
	p := &parser{rest: fieldName(m[1]).ReplaceAllString(text, "$$${1}")}
	e, err := p.or(0)
	if err != nil {
		return field{}, err
	}
	if p.space(); p.rest != "" {
		return field{}, badPattern("Invalid character(s) in term '" + p.rest + "'")
	}
	return field{test: e}, nil
}

// fieldName finds a column's name where a comparison begins.
func fieldName(name string) *regexp.Regexp {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `(\s*(?:!=|=|<|>))`)
}

func columnsMatch(fields []field, words []string) bool {
	i := 0
	for i < len(fields) && !fields[i].any {
		i++
	}
	if i == len(fields) {
		// The last column takes what is left: [w1=ERROR, w2] finds lines of any length.
		if n := len(fields) - 1; len(words) > len(fields) {
			words = append(slices.Clone(words[:n]), strings.Join(words[n:], " "))
		}
		return len(words) == len(fields) && columns(fields, words)
	}
	tail := fields[i+1:]
	return len(words) >= len(fields)-1 && columns(fields[:i], words[:i]) && columns(tail, words[len(words)-len(tail):])
}

func columns(fields []field, words []string) bool {
	for i, f := range fields {
		if f.test != nil && !f.test(words[i]) {
			return false
		}
	}
	return true
}

// words splits an event at spaces outside of quotes and brackets.
func words(m string) []string {
	var out []string
	for m = strings.TrimLeft(m, " \t"); m != ""; m = strings.TrimLeft(m, " \t") {
		end := byte(' ')
		switch m[0] {
		case '"':
			end = '"'
		case '[':
			end = ']'
		}
		if end != ' ' {
			if i := strings.IndexByte(m[1:], end); i >= 0 {
				out, m = append(out, m[1:1+i]), m[i+2:]
				continue
			}
		}
		i := strings.IndexAny(m, " \t")
		if i < 0 {
			return append(out, m)
		}
		out, m = append(out, m[:i]), m[i:]
	}
	return out
}

// splitOutside splits at commas that are not in quotes.
func splitOutside(text string) []string {
	var out []string
	quoted, from := false, 0
	for i := range len(text) {
		switch text[i] {
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				out, from = append(out, text[from:i]), i+1
			}
		}
	}
	return append(out, text[from:])
}
