package policy

import (
	"slices"
	"strings"
	"time"
)

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

// IsRoot tells whether the principal is an account itself.
func (p *Principal) IsRoot() bool { return strings.HasSuffix(p.ARN, ":root") }

func (p *Principal) partition() string {
	partition, _, _ := strings.Cut(strings.TrimPrefix(p.ARN, "arn:"), ":")
	return partition
}

// account tells whether v is the principal's account, as a Principal element has it.
func (p *Principal) isAccount(v string) bool {
	if v == p.Account {
		return v != ""
	}
	rest, ok := strings.CutSuffix(v, ":root")
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, p.Account)
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, "arn:")
	partition, ok2 := strings.CutSuffix(rest, ":iam::")
	return ok && ok2 && partition == p.partition()
}

// reach is how a statement names the one who asks. It decides which implicit denies
// of other policies count ("Policy evaluation logic", resource-based policies).
type reach int

const (
	nobody reach = iota
	// byAccount delegates to the account: its identity policies must allow, too.
	byAccount
	// byRole stands in for identity policies, within boundary and session policies.
	byRole
	// byItself is the user or the session, or everybody: nothing else needs to allow.
	byItself
)

// names tells how the statement names who. One without principals is about whom it is
// attached to.
func (s *statement) names(who *Principal) reach {
	switch {
	case s.source.Principal != nil:
		return s.source.Principal.reach(who)
	case s.source.NotPrincipal != nil && s.source.NotPrincipal.excepts(who, !s.source.Allow):
		return nobody
	}
	return byItself
}

// toNobody tells whether the statement of a resource's policy grants something without
// the principals that it has to have.
func (s *statement) toNobody(l Layer) bool {
	return l >= ResourceBased && s.source.Allow && s.source.Principal == nil && s.source.NotPrincipal == nil
}

const ec2Service = "ec2.amazonaws.com"

func (p *Principals) reach(who *Principal) reach {
	switch {
	case p.Any:
		return byItself
	case who.Service != "":
		// ec2.amazonaws.com.cn can only be in documents of China: see Validate.
		if slices.Contains(p.Service, who.Service) || who.Service == ec2Service && slices.Contains(p.Service, ec2Service+".cn") {
			return byItself
		}
		return nobody
	case who.Federated != "":
		if slices.Contains(p.Federated, who.Federated) {
			return byItself
		}
		return nobody
	}
	out := nobody
	for _, v := range p.AWS {
		out = max(out, who.reach(v))
	}
	return out
}

// reach tells how v, an AWS principal of a policy, names the principal.
func (p *Principal) reach(v string) reach {
	id, session, _ := strings.Cut(p.UserID, ":")
	switch {
	case v == "":
		return nobody
	case v == "*" || v == p.ARN:
		return byItself
	case v == p.RoleARN || v == id && session != "" && uniqueID(v):
		return byRole
	case v == id && uniqueID(v):
		return byItself
	case p.isAccount(v):
		return byAccount
	}
	return nobody
}

// excepts tells whether p, a NotPrincipal element, leaves the principal out. Where it
// denies all others, the principal must be there with everything that it is part of:
// its account, its role, its session ("AWS JSON policy elements: NotPrincipal"). AWS
// says that some services look at the account and not that all do; ekslocal holds
// policies to what works with each. Where it allows all others, one of these is
// enough.
func (p *Principals) excepts(who *Principal, deny bool) bool {
	if p.Any {
		return true
	}
	if who.Service != "" || who.Federated != "" {
		return p.reach(who) == byItself
	}
	var account, role, self bool
	for _, v := range p.AWS {
		r := who.reach(v)
		account = account || r == byAccount || v == "*" || who.isAccount(v)
		role = role || r == byRole || v == "*"
		self = self || r == byItself
	}
	if deny {
		return account && self && (role || who.RoleARN == "")
	}
	return account || role || self
}

// Role is an IAM role as those who decide about it see it: STS before it hands
// out a session, EKS before it takes the role for a cluster.
type Role struct {
	Account, Name, ARN string // ARN with the role's path
	ID                 string // AROA...
	Trust              string // the AssumeRolePolicyDocument, not encoded
	Attached           []string
	Inline             map[string]string
	Boundary           string
	MaxSession         time.Duration
	Tags               map[string]string
}

// OIDCProvider is an IAM OpenID Connect provider.
type OIDCProvider struct {
	ARN       string
	Issuer    string // without https://, as condition keys are prefixed
	ClientIDs []string
}

// Entity is a user, group or role with the policies that are attached to it.
type Entity struct {
	ARN, ID  string
	Tags     map[string]string
	Policies []Policy // a user's with those of its groups
	Boundary []Policy // nil if there is none
}
