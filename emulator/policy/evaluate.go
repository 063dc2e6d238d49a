package policy

import (
	"slices"
	"strings"
)

// Decision is what a set of statements says about a request.
type Decision int

// The decisions, in ascending precedence.
const (
	NoMatch Decision = iota // implicit deny
	Allowed
	Denied // explicit deny: no other policy can allow it
)

func (d Decision) String() string { return [...]string{"no match", "allow", "deny"}[d] }

// Principal is who asks. Exactly the fields that identify it are set: ARN and
// Account for IAM principals, Service or Federated for the others.
type Principal struct {
	ARN       string // root, user or assumed-role session
	RoleARN   string // the role behind a session, with its path
	UserID    string // AIDA..., AROA...:session, or the account
	Account   string
	Service   string // eks.amazonaws.com
	Federated string // ARN of the identity provider
}

// Request is one authorization question.
type Request struct {
	Principal Principal
	Action    string // service:Operation
	Resource  string // ARN, or "*" for what has none
	// Context holds the condition keys, lower case; a missing key is absent from
	// the request, a key with several values is multi-valued.
	Context map[string][]string
}

// Evaluate decides by d alone. Principal elements are matched only where d has
// them, so it serves identity policies as well as trust and resource policies.
func (d *Document) Evaluate(r Request) Decision {
	out := NoMatch
	for i := range d.Statements {
		s := &d.Statements[i]
		if !s.matches(r, d.Version == "2012-10-17") {
			continue
		}
		if !s.Allow {
			return Denied
		}
		out = Allowed
	}
	return out
}

// Combine is the decision of several documents that stand beside each other.
func Combine(r Request, docs ...*Document) Decision {
	out := NoMatch
	for _, d := range docs {
		out = max(out, d.Evaluate(r))
	}
	return out
}

func (s *Statement) matches(r Request, variables bool) bool {
	if s.Principal != nil && !s.Principal.matches(r.Principal) ||
		s.NotPrincipal != nil && s.NotPrincipal.matches(r.Principal) {
		return false
	}
	like := func(p string) bool { return Like(strings.ToLower(p), strings.ToLower(r.Action)) }
	if s.Action != nil && !slices.ContainsFunc(s.Action, like) || s.NotAction != nil && slices.ContainsFunc(s.NotAction, like) {
		return false
	}
	sub := func(p string) pattern { return literal(p) }
	if variables {
		sub = func(p string) pattern { return substitute(p, r.Context) }
	}
	res := func(p string) bool { return matchARN(sub(p), r.Resource) }
	if s.Resource != nil && !slices.ContainsFunc(s.Resource, res) || s.NotResource != nil && slices.ContainsFunc(s.NotResource, res) {
		return false
	}
	for _, c := range s.Conditions {
		if !c.holds(r.Context, sub) {
			return false
		}
	}
	return true
}

const ec2Service = "ec2.amazonaws.com"

func (p *Principals) matches(who Principal) bool {
	if p.Any {
		return true
	}
	switch {
	case who.Service != "":
		// ec2.amazonaws.com.cn can only be in documents of China: see Validate.
		return slices.Contains(p.Service, who.Service) || who.Service == ec2Service && slices.Contains(p.Service, ec2Service+".cn")
	case who.Federated != "":
		return slices.Contains(p.Federated, who.Federated)
	}
	return slices.ContainsFunc(p.AWS, func(v string) bool {
		if v == "*" || v == who.Account || v == who.ARN || v == who.RoleARN && v != "" {
			return true
		}
		id, _, _ := strings.Cut(who.UserID, ":")
		partition, _, _ := strings.Cut(strings.TrimPrefix(who.ARN, "arn:"), ":")
		return v == "arn:"+partition+":iam::"+who.Account+":root" || uniqueID(v) && v == id
	})
}

// NamesPrincipal tells whether an Allow statement of d names who itself rather
// than its account as a whole: a trust policy that does needs no identity
// policy beside it in the same account.
func (d *Document) NamesPrincipal(who Principal) bool {
	for _, s := range d.Statements {
		if !s.Allow || s.Principal == nil {
			continue
		}
		if s.Principal.Any || slices.Contains(s.Principal.AWS, "*") || slices.Contains(s.Principal.AWS, who.ARN) ||
			who.RoleARN != "" && slices.Contains(s.Principal.AWS, who.RoleARN) {
			return true
		}
	}
	return false
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
