package policy

import (
	"encoding/json"
	"strings"
)

// Remedy is a statement that, added to a policy of the layer, would make up for what
// the decision lacked there.
type Remedy struct {
	Layer     Layer
	Statement GrantStatement
}

// GrantStatement is an Allow statement as a policy document has it. It has no
// conditions: those of statements that nearly matched are not needed by one that is
// about one action on one resource.
type GrantStatement struct {
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    string
	Resource  string `json:",omitempty"`
}

// JSON is the statement's text.
func (s GrantStatement) JSON() string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // ARNs may hold <, > and &
	if err := e.Encode(s); err != nil {
		return "" // strings always encode
	}
	return strings.TrimSpace(b.String())
}

// Remedies are the smallest statements that, together, would have allowed the
// request. There are none for a request that is allowed, and none for an explicit
// deny: that one has to go, or be narrowed down, first.
func (d *Decision) Remedies() []Remedy {
	out := make([]Remedy, 0, len(d.Missing))
	for _, l := range d.Missing {
		s := GrantStatement{Effect: "Allow", Action: d.Request.Action, Resource: exactly(d.Request.Resource)}
		if l == ResourceBased || l == RoleTrust {
			s.Principal = d.Request.Principal.element()
		}
		if l == RoleTrust {
			s.Resource = "" // a trust policy has none
		}
		out = append(out, Remedy{l, s})
	}
	return out
}

// exactly writes a resource so that it means itself in a Resource element. Stars are
// left alone: the ARN of what is yet to be made has one, and policies are written
// with it.
func exactly(resource string) string { return strings.ReplaceAll(resource, "${", "${$}{") }

// element is the Principal element that names p.
func (p *Principal) element() map[string]string {
	switch {
	case p.Service != "":
		return map[string]string{"Service": p.Service}
	case p.Federated != "":
		return map[string]string{"Federated": p.Federated}
	case p.RoleARN != "":
		return map[string]string{"AWS": p.RoleARN}
	}
	return map[string]string{"AWS": p.ARN}
}
