package policy

import (
	"encoding/json"
	"fmt"
	"strings"
)

const errTrustSyntax = sentence("Syntax error in policy.")

// validateTrust checks a role's trust policy. AWS has a parser of its own for these,
// with its own sentences; those that moto and localstack do not show are those of
// versitygw's iamapi/policy/trust.go.
func validateTrust(doc, partition string) (*Document, error) {
	if !json.Valid([]byte(doc)) {
		return nil, ErrJSON
	}
	if err := trustShape(doc); err != nil {
		return nil, err
	}
	d, err := Parse(doc)
	if err != nil {
		return nil, errTrustSyntax
	}
	sids := map[string]bool{}
	for i := range d.Statements {
		s := &d.Statements[i]
		if err := s.trust(partition); err != nil {
			return nil, err
		}
		if s.Sid != "" && sids[s.Sid] {
			return nil, sentence("The Statement Ids in the policy are not unique")
		}
		sids[s.Sid] = true
	}
	return d, nil
}

// trustShape finds what is missing, which Parse only knows as a syntax error.
func trustShape(doc string) error {
	top, err := object([]byte(doc))
	if err != nil {
		return errTrustSyntax
	}
	version := "2012-10-17"
	if raw, ok := top["Version"]; ok && text(raw, &version) != nil || version != "2008-10-17" && version != "2012-10-17" {
		return sentence("The policy must contain a valid version string")
	}
	var list []json.RawMessage
	if raw := top["Statement"]; len(raw) > 0 && json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	if len(list) == 0 {
		return sentence("Could not parse the policy: Statement is empty!")
	}
	for _, raw := range list {
		s, err := object(raw)
		if err != nil {
			return errTrustSyntax
		}
		effect := ""
		if raw, ok := s["Effect"]; !ok {
			return sentence("Missing required field Effect")
		} else if text(raw, &effect) != nil || effect != "Allow" && effect != "Deny" {
			return sentence("Invalid effect: " + effect)
		}
		if p, err := object(s["Principal"]); err == nil && len(p) == 0 {
			return sentence("Missing required field Principal cannot be empty!")
		}
	}
	return nil
}

func (s *Statement) trust(partition string) error {
	if s.NotPrincipal != nil {
		if s.Allow {
			return sentence("Allow with NotPrincipal is not allowed.")
		}
		return sentence("AssumeRole policy must not contain NotPrincipal field.")
	}
	if s.Principal == nil {
		return sentence("Missing required field Principal")
	}
	if s.Principal.Any { // unlike {"AWS":"*"} (github.com/aws/aws-cdk issue 5732)
		return sentence(`AssumeRolepolicy contained an invalid principal: "STAR":"*".`)
	}
	if err := s.Principal.check(partition); err != nil {
		return err
	}
	if len(s.Action)+len(s.NotAction) == 0 {
		return sentence("Missing required field Action")
	}
	for _, a := range append(s.Action, s.NotAction...) {
		if !strings.HasPrefix(strings.ToLower(a), "sts:") {
			return sentence("AssumeRole policy may only specify STS AssumeRole actions.")
		}
	}
	if s.Resource != nil {
		return sentence("Has prohibited field Resource")
	}
	if s.NotResource != nil {
		return sentence("AssumeRole policy must not contain resources.")
	}
	return nil
}

func (p *Principals) check(partition string) error {
	bad := func(kind, v string) error {
		return sentence(fmt.Sprintf("Invalid principal in policy: %q:%q", kind, v))
	}
	for _, v := range p.AWS {
		if v == "*" || accountPattern.MatchString(v) || uniqueID(v) {
			continue
		}
		a := strings.SplitN(v, ":", 6)
		if len(a) != 6 || a[0] != "arn" || a[1] != partition || a[2] != "iam" && a[2] != "sts" || !accountPattern.MatchString(a[4]) || a[5] == "" || strings.ContainsAny(a[5], "*?") {
			return bad("AWS", v)
		}
	}
	for _, v := range p.Service {
		if v != "*" && !servicePattern.MatchString(v) || strings.HasSuffix(v, chinaSuffix) && partition != china {
			return bad("SERVICE", v)
		}
	}
	for _, v := range p.Federated {
		if v == "" {
			return bad("FEDERATED", v)
		}
	}
	return nil
}
