package policy

import "strings"

// withVariables is the version of the policy language that has policy variables.
const withVariables = "2012-10-17"

// statement is a Statement made ready to be evaluated often: cases folded, wildcards
// and variables found, values parsed. It never changes, so that documents can be
// shared by goroutines.
type statement struct {
	source     *Statement
	actions    actions
	notActions bool // actions are those of NotAction
	resources  []value
	conditions []condition
}

// condition is a Condition made ready.
type condition struct {
	operator operator
	null     bool
	set      SetOperator
	ifExists bool
	key      string
	values   []value
}

func (d *Document) compile() {
	variables := d.Version == withVariables
	d.compiled = make([]statement, len(d.Statements))
	for i := range d.Statements {
		s := &d.Statements[i]
		c := statement{source: s, actions: newActions(s.Action), notActions: s.NotAction != nil}
		if c.notActions {
			c.actions = newActions(s.NotAction)
		}
		for _, r := range append(s.Resource, s.NotResource...) {
			c.resources = append(c.resources, newResource(r, variables))
		}
		for _, k := range s.Conditions {
			c.conditions = append(c.conditions, k.compile(variables))
		}
		d.compiled[i] = c
	}
	d.index()
}

// index finds the statements that each service's actions may be in: most policies of
// a role are about other services than the one that a request is for.
func (d *Document) index() {
	d.byVendor = map[string][]int{}
	for i := range d.compiled {
		for v := range d.compiled[i].actions.vendors {
			d.byVendor[v] = nil
		}
	}
	for i := range d.compiled {
		s := &d.compiled[i]
		if s.notActions || s.actions.anyVendor {
			d.anyVendor = append(d.anyVendor, i)
		}
		for v, list := range d.byVendor {
			if s.notActions || s.actions.anyVendor || s.actions.vendors[v] {
				d.byVendor[v] = append(list, i)
			}
		}
	}
}

// about lists the statements that may be about an action of the service.
func (d *Document) about(vendor string) []int {
	if list, ok := d.byVendor[vendor]; ok {
		return list
	}
	return d.anyVendor
}

func (c Condition) compile(variables bool) condition {
	op := operators[c.Operator]
	out := condition{operator: op, null: c.Operator == null, set: c.Set, ifExists: c.IfExists, key: c.Key}
	for _, v := range c.Values {
		w := newValue(v, variables && op.variables)
		if op.read != nil {
			op.read(&w)
		}
		out.values = append(out.values, w)
	}
	return out
}

// actions are the patterns of an Action element, lower case. AWS's managed policies
// have hundreds, of which most are plain names: these are found by hash.
type actions struct {
	vendors   map[string]bool // the services of the patterns, as far as they name one
	anyVendor bool            // a pattern does not
	all       bool
	exact     map[string]struct{}
	wild      []wildAction
}

// wildAction is a pattern with wildcards, after the text before the first of them.
type wildAction struct {
	prefix string
	rest   pattern
}

func newWild(a string) wildAction {
	i := strings.IndexAny(a, "*?")
	return wildAction{a[:i], literal(a[i:])}
}

func newActions(list []string) actions {
	out := actions{vendors: map[string]bool{}}
	for _, a := range list {
		a = strings.ToLower(a)
		vendor, _, _ := strings.Cut(a, ":")
		if strings.ContainsAny(vendor, "*?") {
			out.anyVendor = true
		} else {
			out.vendors[vendor] = true
		}
		switch {
		case a == "*":
			out.all = true
		case !strings.ContainsAny(a, "*?"):
			if out.exact == nil {
				out.exact = map[string]struct{}{}
			}
			out.exact[a] = struct{}{}
		default:
			out.wild = append(out.wild, newWild(a))
		}
	}
	return out
}

// match takes the action in lower case.
func (a *actions) match(action string) bool {
	if a.all {
		return true
	}
	if _, ok := a.exact[action]; ok {
		return true
	}
	for i := range a.wild {
		if w := &a.wild[i]; strings.HasPrefix(action, w.prefix) && like(w.rest, action[len(w.prefix):]) {
			return true
		}
	}
	return false
}

// newResource makes a Resource element's pattern. ARNs that end early go on with
// wildcards. Variables stand after the fifth colon only ("IAM policy elements:
// Variables and tags", where you can use policy variables): before it they are what
// they look like.
func newResource(r string, variables bool) value {
	if n := strings.Count(r, ":"); strings.HasPrefix(r, "arn:") && n < 5 {
		r += strings.Repeat(":*", 5-n)
	}
	fixed, rest := "", r
	if strings.HasPrefix(r, "arn:") {
		parts := strings.SplitAfterN(r, ":", 6)
		fixed, rest = strings.Join(parts[:5], ""), parts[5]
	}
	v := newValue(rest, variables)
	v.raw = r
	if v.parts == nil {
		return newValue(r, false)
	}
	v.parts = append([]part{{fixed: literal(fixed)}}, v.parts...)
	return v
}
