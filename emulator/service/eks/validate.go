package eks

import (
	"context"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

const (
	maxClusterName   = 100
	maxNodegroupName = 63
	maxTags          = 50

	clusterService = "eks.amazonaws.com"
	nodeService    = "ec2.amazonaws.com"
	podsService    = "pods.eks.amazonaws.com"
)

var (
	namePattern    = regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9_-]*$`)
	roleARNPattern = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\x21-\x7e]+$`)
)

func checkClusterName(name *string) error {
	n := aws.ToString(name)
	switch {
	case n == "":
		return about{}.invalidParameter("Cluster name must be specified.")
	case len(n) > maxClusterName:
		return about{cluster: n}.invalidParameter("Cluster name must be at most %d characters long.", maxClusterName)
	case !namePattern.MatchString(n):
		return about{cluster: n}.invalidParameter(
			"The cluster name can contain only alphanumeric characters (case-sensitive), hyphens and underscores. It must start with an alphanumeric character and can't be longer than %d characters.", maxClusterName)
	}
	return nil
}

func checkNodegroupName(a about) error {
	switch {
	case a.nodegroup == "":
		return a.invalidParameter("Nodegroup name must be specified.")
	case len(a.nodegroup) > maxNodegroupName:
		return a.invalidParameter("The node group name can't be longer than %d characters.", maxNodegroupName)
	case !namePattern.MatchString(a.nodegroup):
		return a.invalidParameter("The node group name must begin with a letter or number and can have any combination of letters, numbers, hyphens and underscores.")
	}
	return nil
}

// checkTags holds for every taggable resource.
func checkTags(tags map[string]string) error {
	a := about{}
	if len(tags) > maxTags {
		return a.invalidParameter("Number of tags %d exceeds the limit of %d.", len(tags), maxTags)
	}
	for k, v := range tags {
		if bad := tagProblem(k, v); bad != "" {
			return a.invalidParameter("%s", bad)
		}
	}
	return nil
}

// tagProblem tells in words what is wrong with a tag, empty if nothing is.
func tagProblem(k, v string) string {
	switch {
	case k == "" || utf8.RuneCountInString(k) > 128:
		return "Tag keys must be between 1 and 128 characters long."
	case utf8.RuneCountInString(v) > 256:
		return "Tag values must be at most 256 characters long."
	case strings.HasPrefix(strings.ToLower(k), "aws:"):
		return "Tag keys cannot start with 'aws:'."
	}
	return ""
}

// checkRole makes sure that EKS could use a role of the caller's account that was
// passed to it.
func (s *Service) checkRole(ctx context.Context, a about, arn string) (Principal, error) {
	if !roleARNPattern.MatchString(arn) {
		return Principal{}, a.invalidParameter("Role with arn: %s is not a valid IAM role ARN", arn)
	}
	if parsed, err := awsid.ParseARN(arn); err == nil && !parsed.SameAccount(awsid.CallerFrom(ctx).Scope) {
		return Principal{}, accessDenied("Cross-account pass role is not allowed.")
	}
	p, ok := s.iam.Principal(ctx, arn)
	if !ok || p.ARN != arn {
		return Principal{}, nil
	}
	return p, nil
}

func trusts(p Principal, service string) bool {
	return p.TrustsService != nil && p.TrustsService(service)
}

// RoleName is the last segment of a role's ARN.
func RoleName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// callerPrincipal is the IAM principal behind the caller of a request: for a
// role's session the role.
func (s *Service) callerPrincipal(ctx context.Context) Principal {
	c := awsid.CallerFrom(ctx)
	arn := c.ARN
	if p, err := awsid.ParseARN(arn); err == nil && p.Service == "sts" {
		if rest, ok := strings.CutPrefix(p.Resource, "assumed-role/"); ok {
			role, _, _ := strings.Cut(rest, "/")
			arn = p.Scope().ARN("iam", "role/"+role)
		}
	}
	if p, ok := s.iam.Principal(ctx, arn); ok {
		return p
	}
	id, _, _ := strings.Cut(c.UserID, ":")
	return Principal{ARN: arn, ID: id}
}
