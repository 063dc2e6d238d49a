package policy

import "strings"

// Outcome is what statements say about a request.
type Outcome int

// The outcomes, in ascending precedence.
const (
	NoMatch Outcome = iota // implicit deny
	Allowed
	Denied // explicit deny: no other policy can allow it
)

func (o Outcome) String() string { return [...]string{"implicit deny", "allow", "explicit deny"}[o] }

// Request is one authorization question.
type Request struct {
	Principal Principal
	Action    string // service:Operation
	Resource  string // ARN, or "*" for what has none
	// Context holds the condition keys, lower case; a missing key is absent from
	// the request, a key with several values is multi-valued.
	Context map[string][]string
}

// question is a Request made ready for many statements.
type question struct {
	*Request
	action, vendor string // lower case
}

func ask(r *Request) question {
	q := question{Request: r, action: strings.ToLower(r.Action)}
	q.vendor, _, _ = strings.Cut(q.action, ":")
	return q
}

// Evaluate decides by d alone. Principal elements are matched only where d has
// them, so it serves identity policies as well as trust and resource policies.
func (d *Document) Evaluate(r Request) Outcome {
	out := NoMatch
	q := ask(&r)
	for _, i := range d.about(q.vendor) {
		s := &d.compiled[i]
		if s.source.Allow && out == Allowed {
			continue
		}
		if s.applies(&q) == nobody {
			continue
		}
		if !s.source.Allow {
			return Denied
		}
		out = Allowed
	}
	return out
}

// applies tells whether the statement is about the request, and how it names the
// principal. Conditions come last: they cost most.
func (s *statement) applies(q *question) reach {
	if s.actions.match(q.action) == s.notActions {
		return nobody
	}
	named := s.names(&q.Principal)
	if named == nobody || !s.covers(q) {
		return nobody
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(q.Context) {
			return nobody
		}
	}
	return named
}

// covers tells whether the statement is about the request's resource. Trust policies
// have no Resource element: they are about their role.
func (s *statement) covers(q *question) bool {
	if s.source.Resource == nil && s.source.NotResource == nil {
		return true
	}
	for i := range s.resources {
		if s.resources[i].covers(q.Resource, q.Context) {
			return s.source.NotResource == nil
		}
	}
	return s.source.NotResource != nil
}

// TrustsService tells whether a role's trust document lets an AWS service
// assume the role. Conditions are judged as absent keys are: EKS asks on
// creation, before there is a request to have a context.
func TrustsService(doc, service string) bool {
	d, err := Parse(doc)
	if err != nil {
		return false
	}
	return d.Evaluate(Request{Principal: Principal{Service: service}, Action: "sts:AssumeRole", Resource: "*"}) == Allowed
}
