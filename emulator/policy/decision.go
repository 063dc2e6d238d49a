package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Layer is a kind of policies that a request is judged by.
type Layer int

// The layers, in the order in which a denial is looked for.
const (
	IdentityBased Layer = iota
	PermissionsBoundary
	SessionPolicy
	ResourceBased
	RoleTrust // the resource-based policy of a role
	layers
)

var layerNames = [...]string{"identity-based policy", "permissions boundary", "session policy", "resource-based policy", "role trust policy"}

// String names the layer as AWS's messages do.
func (l Layer) String() string { return layerNames[l] }

// Policy is a document and where it comes from.
type Policy struct {
	Name string // of an inline or managed policy
	ARN  string // of a managed policy, or of the resource that it belongs to
	// Owner is whom an inline policy is embedded in, such as role/ops. The policies of
	// a user's groups are group/admins.
	Owner string
	*Document
}

// Policies are all that stand for and against a request. A nil slice is a layer that
// is not there; an empty one that is not nil allows nothing.
type Policies struct {
	Identity []Policy // of the user with those of its groups, or of the role
	Boundary []Policy
	Session  []Policy
	Resource []Policy
	// Owner is the account of the resource, if it is not the principal's.
	Owner string
	// Trust says that the resource is a role and its policy a trust policy.
	Trust bool
	// ByResource says that nobody gets at the resource unless its own policy allows
	// it, or delegates to the account: so it is with roles and KMS keys.
	ByResource bool
}

// Match is a statement that applied to a request.
type Match struct {
	Layer  Layer
	Policy Policy
	Index  int // of the statement
}

// Statement is the statement itself.
func (m Match) Statement() *Statement { return &m.Policy.Statements[m.Index] }

// String is the statement as a trace prints it: Deny "DenyProd" of policy guardrails
// of role/ops (identity-based policy).
func (m Match) String() string {
	s := m.Statement()
	effect, name, of := "Deny", fmt.Sprintf("statement %d", m.Index+1), m.Policy.Name
	if s.Allow {
		effect = "Allow"
	}
	if s.Sid != "" {
		name = strconv.Quote(s.Sid)
	}
	switch {
	case m.Policy.ARN != "":
		of = m.Policy.ARN
	case m.Policy.Owner != "":
		of += " of " + m.Policy.Owner
	}
	return effect + " " + name + " of policy " + of + " (" + m.Layer.String() + ")"
}

// Decision is the answer to a request, with what made it.
type Decision struct {
	Request Request
	Outcome Outcome // NoMatch is a denial, too
	// Root says that the principal is its account's root, whom no identity policy
	// needs to allow anything.
	Root bool
	// By are the statements that made it: the explicit deny, or one that allows for
	// each layer whose allow counted.
	By []Match
	// Missing are, for an implicit deny, the layers that would have had to allow.
	Missing []Layer
	// CrossAccount says that the resource is another account's.
	CrossAccount bool
	// Layers are the outcomes of each layer; of one that is not there NoMatch.
	Layers [layers]Outcome
}

// Allowed tells whether the request may go on.
func (d *Decision) Allowed() bool { return d.Outcome == Allowed }

// verdict is what one layer says.
type verdict struct {
	allow, deny Match
	named       reach // how the widest allow names the principal
	outcome     Outcome
}

// consult asks one layer. It goes on after an allow, for there may be a deny.
func consult(q *question, layer Layer, policies []Policy) (v verdict) {
	for i := range policies {
		p := &policies[i]
		for _, j := range p.about(q.vendor) {
			s := &p.compiled[j]
			if s.source.Allow && v.named == byItself || s.toNobody(layer) {
				continue // nothing wider is to be had
			}
			named := s.applies(q)
			switch {
			case named == nobody:
			case !s.source.Allow:
				v.deny, v.outcome = Match{layer, *p, j}, Denied
				return v
			case named > v.named:
				v.allow, v.named, v.outcome = Match{layer, *p, j}, named, Allowed
			}
		}
	}
	return v
}

func (p *Policies) layer(l Layer) []Policy {
	switch l {
	case IdentityBased:
		return p.Identity
	case PermissionsBoundary:
		return p.Boundary
	case SessionPolicy:
		return p.Session
	case p.resourceLayer():
		return p.Resource
	}
	return nil
}

func (p *Policies) resourceLayer() Layer {
	if p.Trust {
		return RoleTrust
	}
	return ResourceBased
}

// Decide judges a request as "Policy evaluation logic" and "Cross-account policy
// evaluation logic" of the IAM User Guide say. An explicit deny anywhere is final.
func (p *Policies) Decide(r Request) Decision {
	d := Decision{Request: r, Root: r.Principal.IsRoot()}
	d.CrossAccount = p.Owner != "" && r.Principal.Account != "" && p.Owner != r.Principal.Account
	q := ask(&r)
	var all [layers]verdict
	for l := range all {
		if policies := p.layer(Layer(l)); len(policies) > 0 {
			all[l] = consult(&q, Layer(l), policies)
			d.Layers[l] = all[l].outcome
		}
		if all[l].outcome == Denied {
			d.Outcome, d.By = Denied, []Match{all[l].deny}
			return d
		}
	}
	needed := p.needed(&d, all[p.resourceLayer()].named)
	for l, need := range needed {
		if need && all[l].outcome != Allowed {
			d.Missing = append(d.Missing, Layer(l))
		}
	}
	if d.Missing != nil {
		return d
	}
	d.Outcome = Allowed
	d.By = make([]Match, 0, 2)
	for l, need := range needed {
		if need {
			d.By = append(d.By, all[l].allow)
		}
	}
	return d
}

// needed tells which layers have to allow, by how the resource's policy allows: the
// table of "Policy evaluation logic" about resource-based policies and implicit
// denies in other policy types, and the cross-account page.
func (p *Policies) needed(d *Decision, named reach) (need [layers]bool) {
	resource := p.resourceLayer()
	who := &d.Request.Principal
	switch {
	case who.Service != "" || who.Federated != "":
		// They have no policies of their own.
		need[resource] = true
		return need
	case d.CrossAccount:
		need[resource] = true
		need[IdentityBased] = !d.Root
	case p.ByResource:
		need[resource] = true
		need[IdentityBased] = named == byAccount && !d.Root
	case named >= byRole:
		need[resource] = true
	default:
		need[IdentityBased] = !d.Root
	}
	if named == byItself && !d.CrossAccount {
		return need // not limited by what limits the role or the user
	}
	need[PermissionsBoundary] = p.Boundary != nil
	need[SessionPolicy] = p.Session != nil
	return need
}

// Applying lists the statements of all layers that apply to the request, denying ones
// alone if there are any: what AWS's policy simulator calls matched statements.
func (p *Policies) Applying(r Request) []Match {
	q := ask(&r)
	var allows, denies []Match
	for l := range layers {
		policies := p.layer(l)
		for i := range policies {
			for _, j := range policies[i].about(q.vendor) {
				s := &policies[i].compiled[j]
				switch m := (Match{l, policies[i], j}); {
				case s.toNobody(l) || s.applies(&q) == nobody:
				case s.source.Allow:
					allows = append(allows, m)
				default:
					denies = append(denies, m)
				}
			}
		}
	}
	if denies != nil {
		return denies
	}
	return allows
}

// NearMiss is a statement that would have allowed a request but for a condition.
type NearMiss struct {
	Match
	Condition Condition
	Given     []string // what the request has for the condition's key; nil if nothing
}

// NearMisses lists the Allow statements about the request's principal, action and
// resource that one condition or more kept from applying.
func (p *Policies) NearMisses(r Request) []NearMiss {
	q := ask(&r)
	var out []NearMiss
	for l := range layers {
		policies := p.layer(l)
		for i := range policies {
			for _, j := range policies[i].about(q.vendor) {
				s := &policies[i].compiled[j]
				if !s.source.Allow || s.toNobody(l) || s.actions.match(q.action) == s.notActions || s.names(&q.Principal) == nobody || !s.covers(&q) {
					continue
				}
				for k := range s.conditions {
					if c := &s.conditions[k]; !c.holds(q.Context) {
						out = append(out, NearMiss{Match{l, policies[i], j}, s.source.Conditions[k], q.Context[c.key]})
					}
				}
			}
		}
	}
	return out
}

// MissingKeys lists the condition keys that the statements about the request's action
// use, and that the request does not have.
func (p *Policies) MissingKeys(r Request) []string {
	q := ask(&r)
	var out []string
	for l := range layers {
		policies := p.layer(l)
		for i := range policies {
			for _, j := range policies[i].about(q.vendor) {
				if s := &policies[i].compiled[j]; s.actions.match(q.action) != s.notActions {
					out = s.missing(out, r.Context)
				}
			}
		}
	}
	return out
}

// missing adds to out the keys that the statement uses, that have no value and that
// out does not have yet.
func (s *statement) missing(out []string, ctx map[string][]string) []string {
	add := func(name string) {
		low := strings.ToLower(name)
		if name != "" && len(ctx[low]) == 0 && !slices.ContainsFunc(out, func(o string) bool { return strings.EqualFold(o, name) }) {
			out = append(out, name)
		}
	}
	variables := func(v *value) {
		for i := range v.parts {
			add(v.parts[i].name)
		}
	}
	for i := range s.resources {
		variables(&s.resources[i])
	}
	for i := range s.conditions {
		add(s.source.Conditions[i].name)
		for j := range s.conditions[i].values {
			variables(&s.conditions[i].values[j])
		}
	}
	return out
}
