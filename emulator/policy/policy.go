// Package policy is the IAM policy engine: it parses, validates and evaluates
// policy documents, as pure functions of documents and a request, without I/O or a
// clock.
package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Document is a parsed policy.
type Document struct {
	Version    string
	ID         string
	Statements []Statement

	text      string
	compiled  []statement      // of Statements, by index
	byVendor  map[string][]int // statements that may be about a service's actions
	anyVendor []int            // those that may be about the actions of services that byVendor leaves out
}

// Statement is one statement of a Document. A nil slice is an element that the
// statement does not have.
type Statement struct {
	Sid                     string
	Allow                   bool
	Principal, NotPrincipal *Principals
	Action, NotAction       []string
	Resource, NotResource   []string
	Conditions              []Condition
}

// Principals is a Principal or NotPrincipal element.
type Principals struct {
	// Any is the bare "*", which means everyone of every kind.
	Any                                    bool
	AWS, Service, Federated, CanonicalUser []string
}

// Condition is one operator applied to one context key.
type Condition struct {
	Operator string // as written, without ForAllValues:, ForAnyValue: and IfExists
	Set      SetOperator
	IfExists bool
	Key      string // lower case
	Values   []string

	name string // Key as written
}

// SetOperator is the quantifier of a condition on a multi-valued key.
type SetOperator int

// The quantifiers of condition operators.
const (
	Single SetOperator = iota
	ForAllValues
	ForAnyValue
)

// ErrJSON is what Parse answers for something that is not JSON at all.
var ErrJSON error = sentence("This policy contains invalid Json")

// ErrSyntax is what Parse answers for JSON that is not a policy.
var ErrSyntax error = sentence("Syntax errors in policy.")

// sentence is an error in AWS's own words, capitals and full stops included.
type sentence string

func (s sentence) Error() string { return string(s) }

// Parse reads a policy document. Its errors are AWS's sentences. What depends
// on the kind of policy is Validate's business.
func Parse(doc string) (*Document, error) {
	if !json.Valid([]byte(doc)) {
		return nil, ErrJSON
	}
	top, err := object([]byte(doc))
	if err != nil {
		return nil, ErrSyntax
	}
	d := &Document{Version: "2008-10-17", text: doc}
	for _, k := range slices.Sorted(maps.Keys(top)) {
		switch raw := top[k]; k {
		case "Version":
			err = text(raw, &d.Version)
		case "Id":
			err = text(raw, &d.ID)
		case "Statement":
			d.Statements, err = statements(raw)
		default:
			err = ErrSyntax
		}
		if err != nil {
			return nil, ErrSyntax
		}
	}
	if len(d.Statements) == 0 || d.Version != "2008-10-17" && d.Version != withVariables {
		return nil, ErrSyntax
	}
	d.compile()
	return d, nil
}

// object decodes a JSON object by hand-written rules because encoding/json
// matches names without regard to case and lets later duplicates win.
func object(raw []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, ErrSyntax
	}
	out := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		k, ok := t.(string)
		if _, dup := out[k]; !ok || dup {
			return nil, ErrSyntax
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		out[k] = v
	}
	if _, err := dec.Token(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return out, nil
}

func statements(raw json.RawMessage) ([]Statement, error) {
	var list []json.RawMessage
	if raw[0] == '[' {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
	} else {
		list = []json.RawMessage{raw}
	}
	out := make([]Statement, 0, len(list))
	for _, r := range list {
		s, err := readStatement(r)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func readStatement(raw json.RawMessage) (s Statement, err error) {
	fields, err := object(raw)
	if err != nil {
		return s, err
	}
	effect := ""
	for k, v := range fields {
		switch k {
		case "Sid":
			err = text(v, &s.Sid)
		case "Effect":
			err = text(v, &effect)
		case "Principal":
			s.Principal, err = principals(v)
		case "NotPrincipal":
			s.NotPrincipal, err = principals(v)
		case "Action":
			s.Action, err = oneOrMany(v)
		case "NotAction":
			s.NotAction, err = oneOrMany(v)
		case "Resource":
			s.Resource, err = oneOrMany(v)
		case "NotResource":
			s.NotResource, err = oneOrMany(v)
		case "Condition":
			s.Conditions, err = conditions(v)
		default:
			err = ErrSyntax
		}
		if err != nil {
			return s, err
		}
	}
	s.Allow = effect == "Allow"
	if !s.Allow && effect != "Deny" {
		return s, ErrSyntax
	}
	if s.Principal != nil && s.NotPrincipal != nil || s.Action != nil && s.NotAction != nil || s.Resource != nil && s.NotResource != nil {
		return s, ErrSyntax
	}
	return s, nil
}

func principals(raw json.RawMessage) (*Principals, error) {
	if raw[0] == '"' {
		var s string
		if err := text(raw, &s); err != nil || s != "*" {
			return nil, ErrSyntax
		}
		return &Principals{Any: true}, nil
	}
	fields, err := object(raw)
	if err != nil || len(fields) == 0 {
		return nil, ErrSyntax
	}
	p := &Principals{}
	for k, v := range fields {
		switch k {
		case "AWS":
			p.AWS, err = oneOrMany(v)
		case "Service":
			p.Service, err = oneOrMany(v)
		case "Federated":
			p.Federated, err = oneOrMany(v)
		case "CanonicalUser":
			p.CanonicalUser, err = oneOrMany(v)
		default:
			err = ErrSyntax
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

func conditions(raw json.RawMessage) ([]Condition, error) {
	ops, err := object(raw)
	if err != nil {
		return nil, err
	}
	out := []Condition{}
	for _, op := range slices.Sorted(maps.Keys(ops)) {
		keys, err := object(ops[op])
		if err != nil {
			return nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			c, err := readCondition(op, k, keys[k])
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
	}
	return out, nil
}

func readCondition(op, key string, raw json.RawMessage) (Condition, error) {
	c := Condition{Operator: op, Key: strings.ToLower(key), name: key}
	if rest, ok := strings.CutPrefix(c.Operator, "ForAllValues:"); ok {
		c.Operator, c.Set = rest, ForAllValues
	} else if rest, ok := strings.CutPrefix(c.Operator, "ForAnyValue:"); ok {
		c.Operator, c.Set = rest, ForAnyValue
	}
	if rest, ok := strings.CutSuffix(c.Operator, "IfExists"); ok && rest != "" {
		c.Operator, c.IfExists = rest, true
	}
	if _, ok := operators[c.Operator]; (!ok && c.Operator != null) || key == "" || c.Operator == null && c.IfExists {
		return c, ErrSyntax
	}
	list := []json.RawMessage{raw}
	if raw[0] == '[' {
		list = nil
		if err := json.Unmarshal(raw, &list); err != nil {
			return c, err
		}
	}
	c.Values = make([]string, 0, len(list))
	for _, r := range list {
		v, err := scalar(r)
		if err != nil {
			return c, err
		}
		c.Values = append(c.Values, v)
	}
	return c, nil
}

// scalar reads a condition value: IAM takes strings, booleans and numbers.
func scalar(raw json.RawMessage) (string, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return string(bytes.TrimSpace(raw)), nil
	}
	return "", ErrSyntax
}

func text(raw json.RawMessage, to *string) error {
	if raw[0] != '"' {
		return ErrSyntax
	}
	return json.Unmarshal(raw, to)
}

func oneOrMany(raw json.RawMessage) ([]string, error) {
	switch raw[0] {
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return []string{s}, err
	case '[':
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
		out := make([]string, len(list))
		for i, r := range list {
			if err := text(r, &out[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, ErrSyntax
}

// String names the operator as a policy writes it.
func (c Condition) String() string {
	op := c.Operator
	switch c.Set {
	case ForAllValues:
		op = "ForAllValues:" + op
	case ForAnyValue:
		op = "ForAnyValue:" + op
	}
	if c.IfExists {
		op += "IfExists"
	}
	return fmt.Sprintf("%s %s %q", op, cmp.Or(c.name, c.Key), c.Values)
}
