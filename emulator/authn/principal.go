package authn

import (
	"fmt"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// principal is who signed a token.
type principal struct {
	ARN       string // as sts:GetCallerIdentity says
	Canonical string // the IAM principal behind it
	Account   string
	// ID is the principal's unique id: AROA..., AIDA..., or the account's.
	ID string
	// Session is the role session's name, empty for users and root.
	Session     string
	AccessKeyID string
}

func newPrincipal(c awsid.Caller) (principal, error) {
	canonical, err := CanonicalARN(c.ARN)
	if err != nil {
		return principal{}, err
	}
	id, session, _ := strings.Cut(c.UserID, ":")
	if id == "" || strings.Contains(session, ":") {
		return principal{}, fmt.Errorf("malformed UserID %q", c.UserID)
	}
	return principal{
		ARN: c.ARN, Canonical: canonical, Account: c.Account, ID: id, Session: session, AccessKeyID: c.AccessKeyID,
	}, nil
}

// CanonicalARN returns the ARN under which the principal of an IAM or STS ARN is
// known to a cluster: an assumed role's session becomes its role, and role ARNs
// lose their path, for STS does not know it. Users keep theirs.
func CanonicalARN(s string) (string, error) {
	a, err := awsid.ParseARN(s)
	if err != nil {
		return "", err
	}
	parts := strings.Split(a.Resource, "/")
	switch {
	case a.Service == "sts" && parts[0] == "assumed-role" && len(parts) >= 3:
		a.Service, a.Region = "iam", ""
		a.Resource = "role/" + parts[len(parts)-2]
	case a.Service == "sts" && parts[0] == "federated-user" && len(parts) == 2:
	case a.Service == "iam" && parts[0] == "role" && len(parts) >= 2:
		a.Resource = "role/" + parts[len(parts)-1]
	case a.Service == "iam" && parts[0] == "user" && len(parts) >= 2:
	case a.Service == "iam" && a.Resource == "root":
	default:
		return "", fmt.Errorf("%q is not the ARN of an IAM principal", s)
	}
	return a.String(), nil
}
