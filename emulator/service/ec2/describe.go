package ec2

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// lister answers the Describe operation of one kind: R is its record, V what
// the response shows.
type lister[R, V any] struct {
	kind    *kind[R]
	view    func(r store.Reader, sc awsid.Scope, rec *R) V
	id      func(*V) string
	tags    func(*V) []types.Tag
	filters fields[V]
	minPage int32 // smallest MaxResults, usually 5
	lenient bool  // passes over ids that are not there
}

// fields maps filter names to the values that an item has for them.
type fields[V any] map[string]func(*V) []string

// query is what every Describe request carries.
type query struct {
	ids     []string
	filters []types.Filter
	max     *int32
	token   *string
}

// run answers one page, ordered by id.
func (l *lister[R, V]) run(r store.Reader, sc awsid.Scope, q query) ([]V, *string, error) {
	match, err := compile(l.filters, l.tags, q.filters)
	if err != nil {
		return nil, nil, err
	}
	recs, err := l.kind.selectIDs(r, sc, q.ids)
	if l.lenient && isCode(err, l.kind.notFound) {
		recs, err = l.kind.present(r, sc, q.ids), nil
	}
	if err != nil {
		return nil, nil, err
	}
	out := make([]V, 0, len(recs))
	for _, rec := range recs {
		if v := l.view(r, sc, rec); match(&v) {
			out = append(out, v)
		}
	}
	return paginate(out, l.id, q.max, q.token, l.minPage)
}

// paginate cuts one page out of items, which are ordered by id. Tokens name the
// last id shown, so that pages stay right while items come and go.
func paginate[V any](items []V, id func(*V) string, size *int32, token *string, least int32) ([]V, *string, error) {
	if token != nil && *token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(*token)
		after, ok := strings.CutPrefix(string(raw), "after:")
		if err != nil || !ok {
			return nil, nil, apiError("InvalidNextToken", "The token '%s' is invalid", *token)
		}
		i, found := slices.BinarySearchFunc(items, after, func(v V, after string) int { return strings.Compare(id(&v), after) })
		if found {
			i++
		}
		items = items[i:]
	}
	if size == nil {
		return items, nil, nil
	}
	if least == 0 {
		least = 5
	}
	n := int(*size)
	switch {
	case n < int(least):
		return nil, nil, errInvalid("Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than or equal to %d.", n, least)
	case n >= len(items):
		return items, nil, nil
	}
	next := base64.RawURLEncoding.EncodeToString([]byte("after:" + id(&items[n-1])))
	return items[:n], &next, nil
}

const maxFilterValue = 255

// compile makes one predicate of a request's filters: an item matches when for
// each filter one of its values matches one of the filter's.
func compile[V any](known fields[V], tags func(*V) []types.Tag, in []types.Filter) (func(*V) bool, error) {
	type clause struct {
		values   func(*V) []string
		patterns []pattern
	}
	clauses := make([]clause, 0, len(in))
	for _, f := range in {
		if f.Name == nil || *f.Name == "" {
			return nil, errInvalid("The filter 'null' is invalid")
		}
		get, ok := known[*f.Name]
		if !ok && tags != nil {
			get, ok = tagField(tags, *f.Name)
		}
		if !ok {
			return nil, errInvalid("The filter '%s' is invalid", *f.Name)
		}
		c := clause{values: get}
		for _, v := range f.Values {
			if len(v) > maxFilterValue {
				return nil, apiError("FilterLimitExceeded", "The maximum length for a filter value is %d characters", maxFilterValue)
			}
			c.patterns = append(c.patterns, compilePattern(v))
		}
		clauses = append(clauses, c)
	}
	return func(v *V) bool {
		for _, c := range clauses {
			if !slices.ContainsFunc(c.values(v), func(s string) bool {
				return slices.ContainsFunc(c.patterns, func(p pattern) bool { return p.match(s) })
			}) {
				return false
			}
		}
		return true
	}, nil
}

func tagField[V any](tags func(*V) []types.Tag, name string) (func(*V) []string, bool) {
	key, isTag := strings.CutPrefix(name, "tag:")
	if !isTag && name != "tag-key" && name != "tag-value" {
		return nil, false
	}
	return func(v *V) []string {
		var out []string
		for _, t := range tags(v) {
			switch {
			case isTag && deref(t.Key) == key, name == "tag-value":
				out = append(out, deref(t.Value))
			case name == "tag-key":
				out = append(out, deref(t.Key))
			}
		}
		return out
	}, true
}

// pattern is a filter value: * is any run of characters, ? any one, a backslash
// takes the meaning from the next character.
type pattern struct {
	literal string
	parts   []rune // nil for a literal; wildcards are negative
}

const (
	anyRun rune = -1
	anyOne rune = -2
)

func compilePattern(s string) pattern {
	if !strings.ContainsAny(s, `*?\`) {
		return pattern{literal: s}
	}
	p := pattern{parts: []rune{}}
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			p.parts, escaped = append(p.parts, r), false
		case r == '\\':
			escaped = true
		case r == '*':
			p.parts = append(p.parts, anyRun)
		case r == '?':
			p.parts = append(p.parts, anyOne)
		default:
			p.parts = append(p.parts, r)
		}
	}
	return p
}

func (p pattern) match(s string) bool {
	if p.parts == nil {
		return p.literal == s
	}
	text := []rune(s)
	i, star, mark := 0, -1, 0
	for j := 0; j < len(text); {
		switch {
		case i < len(p.parts) && p.parts[i] == anyRun:
			star, mark = i, j
			i++
		case i < len(p.parts) && (p.parts[i] == anyOne || p.parts[i] == text[j]):
			i++
			j++
		case star >= 0: // let the last * take one more
			i = star + 1
			mark++
			j = mark
		default:
			return false
		}
	}
	for i < len(p.parts) && p.parts[i] == anyRun {
		i++
	}
	return i == len(p.parts)
}

// Values for fields.

func deref(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func one(p *string) []string {
	if p == nil {
		return nil
	}
	return []string{*p}
}

func text[S ~string](s S) []string {
	if s == "" {
		return nil
	}
	return []string{string(s)}
}

func boolean(p *bool) []string {
	return []string{strconv.FormatBool(p != nil && *p)}
}

func number[N int | int32 | int64](p *N) []string {
	if p == nil {
		return nil
	}
	return []string{strconv.FormatInt(int64(*p), 10)}
}

func instant(t *time.Time) []string {
	if t == nil {
		return nil
	}
	return []string{t.UTC().Format("2006-01-02T15:04:05.000Z")}
}

// each collects f over items.
func each[T any](items []T, f func(*T) []string) []string {
	var out []string
	for i := range items {
		out = append(out, f(&items[i])...)
	}
	return out
}

// countIn counts the records that f is true of.
func countIn[T any](recs []*T, f func(*T) bool) int {
	n := 0
	for _, r := range recs {
		if f(r) {
			n++
		}
	}
	return n
}

// sorted orders items by id, as paginate wants them.
func sorted[V any](items []V, id func(*V) string) []V {
	slices.SortFunc(items, func(a, b V) int { return strings.Compare(id(&a), id(&b)) })
	return items
}
