package policy

import (
	"fmt"
	"regexp"
	"strings"
)

// Kind is the use a document is put to; it decides which elements it may have.
type Kind int

// The kinds of policies.
const (
	Identity Kind = iota // attached to a user, group or role; session policies
	Trust                // a role's AssumeRolePolicyDocument
)

var (
	sidPattern     = regexp.MustCompile(`^[0-9A-Za-z]*$`)
	actionPattern  = regexp.MustCompile(`^[A-Za-z0-9*?-]+:[A-Za-z0-9*?_.-]+$`)
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	servicePattern = regexp.MustCompile(`^[a-z0-9.-]+\.(amazonaws\.com(\.cn)?|aws\.internal)$`)
)

// Services of EC2's generation have a name of their own in the partition of
// China, beside the one that they have everywhere.
const (
	china       = "aws-cn"
	chinaSuffix = ".amazonaws.com.cn"
)

// Validate parses doc and checks what IAM checks before it stores a policy of
// that kind in a partition, such as aws-cn. Its errors are AWS's sentences for
// MalformedPolicyDocument.
func Validate(doc string, kind Kind, partition string) (*Document, error) {
	d, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	sids := map[string]bool{}
	for i := range d.Statements {
		s := &d.Statements[i]
		if kind == Identity && !sidPattern.MatchString(s.Sid) {
			return nil, sentence("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
		}
		if s.Sid != "" && sids[s.Sid] {
			return nil, sentence("Statement IDs (SID) in a single policy must be unique.")
		}
		sids[s.Sid] = true
		check := s.identity
		if kind == Trust {
			check = s.trust
		}
		if err := check(partition); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (s *Statement) identity(partition string) error {
	if s.Principal != nil || s.NotPrincipal != nil {
		return sentence("Policy document should not specify a principal.")
	}
	actions, resources := append(s.Action, s.NotAction...), append(s.Resource, s.NotResource...)
	if len(actions) == 0 {
		return sentence("Policy statement must contain actions.")
	}
	if len(resources) == 0 {
		return sentence("Policy statement must contain resources.")
	}
	if err := checkActions(actions); err != nil {
		return err
	}
	for _, r := range resources {
		if r == "*" {
			continue
		}
		p := strings.SplitN(r, ":", 6)
		if p[0] != "arn" && !strings.HasPrefix(p[0], "*") {
			return sentence(fmt.Sprintf("Resource %s must be in ARN format or \"*\".", r))
		}
		if len(p) > 1 && p[0] == "arn" && p[1] != partition && !strings.ContainsAny(p[1], "*?") {
			return sentence(fmt.Sprintf("Partition \"%s\" is not valid for resource \"%s\".", p[1], r))
		}
		if len(p) < 6 && !strings.HasSuffix(r, "*") {
			return sentence("The policy failed legacy parsing")
		}
	}
	return nil
}

func checkActions(actions []string) error {
	for _, a := range actions {
		switch {
		case a == "*" || actionPattern.MatchString(a):
		case !strings.Contains(a, ":"):
			return sentence("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		default:
			return sentence("The policy failed legacy parsing")
		}
	}
	return nil
}

func (s *Statement) trust(partition string) error {
	if s.Resource != nil || s.NotResource != nil {
		return sentence("Has prohibited field Resource")
	}
	p := s.Principal
	if p == nil {
		p = s.NotPrincipal
	}
	if p == nil {
		return sentence("Missing required field Principal")
	}
	if len(s.Action)+len(s.NotAction) == 0 {
		return sentence("Missing required field Action")
	}
	for _, a := range append(s.Action, s.NotAction...) {
		if a != "*" && !strings.HasPrefix(strings.ToLower(a), "sts:") {
			return sentence("AssumeRole policy may only specify STS AssumeRole actions.")
		}
	}
	return p.check(partition)
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

// uniqueID tells whether v is what IAM shows in place of a deleted principal.
func uniqueID(v string) bool {
	return len(v) > 16 && (strings.HasPrefix(v, "AIDA") || strings.HasPrefix(v, "AROA"))
}
