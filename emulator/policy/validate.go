package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Kind is the use a document is put to; it decides which elements it may have, and
// in which words AWS refuses it.
type Kind int

// The kinds of policies.
const (
	Identity Kind = iota // embedded in a user, group or role
	Managed              // a managed policy: its version must be the newer one
	Session              // what narrows an STS session down
	Trust                // a role's AssumeRolePolicyDocument
)

var (
	sidPattern     = regexp.MustCompile(`^[0-9A-Za-z]*$`)
	vendorPattern  = regexp.MustCompile(`^[A-Za-z0-9*?.-]+$`)
	actionPattern  = regexp.MustCompile(`^[A-Za-z0-9*?_.-]+$`)
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	servicePattern = regexp.MustCompile(`^[a-z0-9.-]+\.(amazonaws\.com(\.cn)?|aws\.internal)$`)
)

// Services of EC2's generation have a name of their own in the partition of
// China, beside the one that they have everywhere.
const (
	china       = "aws-cn"
	chinaSuffix = ".amazonaws.com.cn"
)

const errLegacy = sentence("The policy failed legacy parsing")

// Validate parses doc and checks what IAM checks before it stores a policy of
// that kind in a partition, such as aws-cn. Its errors are AWS's sentences for
// MalformedPolicyDocument.
func Validate(doc string, kind Kind, partition string) (*Document, error) {
	if kind == Trust {
		return validateTrust(doc, partition)
	}
	d, err := Parse(doc)
	if errors.Is(err, ErrJSON) && kind != Session {
		err = ErrSyntax
	}
	if err != nil {
		return nil, err
	}
	if kind == Managed && d.Version != "2012-10-17" {
		return nil, sentence("Policy document must be version 2012-10-17 or greater.")
	}
	sids := map[string]bool{}
	for i := range d.Statements {
		s := &d.Statements[i]
		if !sidPattern.MatchString(s.Sid) {
			return nil, sentence("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
		}
		if s.Sid != "" && sids[s.Sid] {
			return nil, sentence("Statement IDs (SID) in a single policy must be unique.")
		}
		sids[s.Sid] = true
		if err := s.identity(partition); err != nil {
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
		if err := checkResource(r, partition); err != nil {
			return err
		}
	}
	return nil
}

// checkActions goes by the cases in moto's tests/test_iam/test_iam_policies.py, which
// hold IAM's answers.
func checkActions(actions []string) error {
	for _, a := range actions {
		vendor, name, found := strings.Cut(a, ":")
		switch {
		case a == "*":
		case !found:
			return sentence("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		case strings.Contains(name, ":"):
			return sentence("Actions/Condition can contain only one colon.")
		case !vendorPattern.MatchString(vendor):
			return sentence("Vendor " + vendor + " is not valid")
		case !actionPattern.MatchString(name):
			return errLegacy
		}
	}
	return nil
}

// iamPaths are what the ARN of an IAM resource may go on with.
var iamPaths = []string{
	"user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/", "sms-mfa/",
	"saml-provider/", "oidc-provider/", "report/", "access-report/",
}

// checkResource goes by the same cases.
func checkResource(r, partition string) error {
	if r == "*" {
		return nil
	}
	p := strings.SplitN(r, ":", 6)
	if len(p) == 1 {
		return sentence(`Resource ` + r + ` must be in ARN format or "*".`)
	}
	if p[1] != partition && !strings.ContainsAny(p[1], "*?") {
		shown := []string{"arn", p[1], "*", "*", "*", "*"}
		copy(shown[2:], p[2:])
		return sentence(fmt.Sprintf("Partition %q is not valid for resource %q.", p[1], strings.Join(shown, ":")))
	}
	if len(p) == 2 {
		return sentence("Resource vendor must be fully qualified and cannot contain regexes.")
	}
	if p[2] == "" || len(p) < 6 && strings.Contains(r, "::") {
		return errLegacy
	}
	if len(p) < 6 {
		return nil // AWS takes ARNs that end early
	}
	region, rest := p[3], p[5]
	switch {
	case p[2] == "iam" && region != "":
		return sentence("IAM resource " + r + " cannot contain region information.")
	case p[2] == "iam" && rest != "root" && !goesOn(rest, iamPaths):
		return sentence(`IAM resource path must either be "*" or start with ` + strings.Join(iamPaths, ", ") + ".")
	case p[2] == "s3" && region != "" && !goesOn(rest, []string{"accesspoint/"}):
		return sentence("Resource " + r + " can not contain region information.")
	}
	return nil
}

// goesOn tells whether rest begins with one of the words, as far as it has no wildcard.
func goesOn(rest string, words []string) bool {
	for _, w := range words {
		fixed := rest
		if i := strings.IndexAny(rest, "*?$"); i >= 0 {
			fixed = rest[:i]
		}
		if strings.HasPrefix(rest, w) || len(fixed) < len(rest) && strings.HasPrefix(w, fixed) {
			return true
		}
	}
	return false
}

// uniqueID tells whether v is what IAM shows in place of a deleted principal.
func uniqueID(v string) bool {
	return len(v) > 16 && (strings.HasPrefix(v, "AIDA") || strings.HasPrefix(v, "AROA"))
}
