package policy

import "time"

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
}

// OIDCProvider is an IAM OpenID Connect provider.
type OIDCProvider struct {
	ARN       string
	Issuer    string // without https://, as condition keys are prefixed
	ClientIDs []string
}
