package sts

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/wire/constraint"
)

// checks are those of the common validation layer.
type checks struct{ constraint.Checks }

func (c *checks) err() error {
	if msg := c.Message(); msg != "" {
		return validationError(msg)
	}
	return nil
}

func validationError(msg string) error {
	return &smithy.GenericAPIError{Code: "ValidationError", Message: msg, Fault: smithy.FaultClient}
}

// invalidParameter is what STS answers for session tags that contradict each other
// (localstack's test_sts.snapshot.json, recorded from AWS).
func invalidParameter(msg string) error {
	return &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: msg, Fault: smithy.FaultClient}
}

// accessDenied is AWS's AccessDenied, which is no modelled type and whose status
// is not the usual 400.
type accessDenied struct{ smithy.GenericAPIError }

// HTTPStatusCode tells the wire layer the status.
func (*accessDenied) HTTPStatusCode() int { return http.StatusForbidden }

func denied(msg string) error {
	return &accessDenied{smithy.GenericAPIError{Code: "AccessDenied", Message: msg, Fault: smithy.FaultClient}}
}

// checkMFA takes the code of a device of the calling user. It reports whether there
// was one.
func (s *Service) checkMFA(ctx context.Context, caller awsid.Caller, serial, code *string) (bool, error) {
	if serial == nil && code == nil {
		return false, nil
	}
	if serial != nil && code != nil && s.iam.TakeMFACode(ctx, caller.Scope, caller.UserID, *serial, *code) {
		return true, nil
	}
	return false, denied("MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.")
}

func notAuthorized(who, action, resource string) error {
	return denied("User: " + who + " is not authorized to perform: " + action + " on resource: " + resource)
}

const tagAlphabet = `[\p{L}\p{Z}\p{N}_.:/=+\-@]`

func (c *checks) mfa(serial, code *string) {
	c.Length("serialNumber", serial, 9, 256)
	c.Pattern("serialNumber", serial, serialPattern, `[\w+=/:,.@-]*`)
	c.Length("tokenCode", code, 6, 6)
	c.Pattern("tokenCode", code, digitsPattern, `[\d]*`)
}

func (c *checks) tags(tags []types.Tag, transitive []string) {
	if len(tags) > 50 {
		keys := make([]string, len(tags))
		for i, t := range tags {
			keys[i] = aws.ToString(t.Key) + "=" + aws.ToString(t.Value)
		}
		c.Count("tags", keys, 0, 50)
	}
	c.Count("transitiveTagKeys", transitive, 0, 50)
	for i, t := range tags {
		at := fmt.Sprintf("tags.%d.member.", i+1)
		c.Required(at+"key", t.Key, 1, 128)
		if aws.ToString(t.Key) != "" {
			c.Pattern(at+"key", t.Key, tagKey, tagAlphabet+"+")
		}
		c.Required(at+"value", t.Value, 0, 256)
		c.Pattern(at+"value", t.Value, tagValue, tagAlphabet+"*")
	}
}

var (
	wordPattern     = regexp.MustCompile(`^[\w+=,.@-]*$`)
	arnPattern      = regexp.MustCompile(`^arn:[^:]+:[^:]+:[^:]*:[^:]*:[^:]+`)
	latinPattern    = regexp.MustCompile(`^[\t\n\r\x20-\x{ff}]+$`)
	keyPattern      = regexp.MustCompile(`^\w*$`)
	digitsPattern   = regexp.MustCompile(`^\d*$`)
	serialPattern   = regexp.MustCompile(`^[\w+=/:,.@-]*$`)
	tagKey          = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$`)
	tagValue        = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
	externalPattern = regexp.MustCompile(`^[\w+=,.@:/-]*$`)
)

const maxPackedSize = 2048 // of session policies and tags together

// assumption is what the AssumeRole operations have in common.
type assumption struct {
	roleARN, sessionName *string
	duration             *int32
	policy               *string
	policyARNs           []types.PolicyDescriptorType
	longest              int // policy
}

// Long session policies are for the packed size to refuse where the model has no
// limit of its own: AssumeRole's is gone, that of web identities is not.
const (
	maxPolicy = 2048
	noLimit   = math.MaxInt32
)

func (a assumption) check(c *checks) {
	c.Required("roleArn", a.roleARN, 20, 2048)
	c.Required("roleSessionName", a.sessionName, 2, 64)
	c.Pattern("roleSessionName", a.sessionName, wordPattern, `[\w+=,.@-]*`)
	c.Span("durationSeconds", a.duration, 900, 43200)
	a.checkPolicies(c)
}

func (a assumption) checkPolicies(c *checks) {
	c.Length("policy", a.policy, 1, a.longest)
	if aws.ToString(a.policy) != "" {
		c.Pattern("policy", a.policy, latinPattern, `[\u0009\u000A\u000D\u0020-\u00FF]+`)
	}
	for i, p := range a.policyARNs {
		c.Length(fmt.Sprintf("policyArns.%d.member.arn", i+1), p.Arn, 20, 2048)
	}
}

// sessionPolicies checks the policies that narrow a session down.
func (a assumption) sessionPolicies(partition string) (doc string, arns []string, err error) {
	if a.policy != nil {
		doc = *a.policy
		if _, err := policy.Validate(doc, policy.Session, partition); err != nil {
			return "", nil, &types.MalformedPolicyDocumentException{Message: aws.String(err.Error())}
		}
	}
	if len(a.policyARNs) > 10 {
		return "", nil, validationError("Cannot exceed quota for managed session policies: 10")
	}
	for _, p := range a.policyARNs {
		parsed, err := awsid.ParseARN(aws.ToString(p.Arn))
		if err != nil || parsed.Service != "iam" || parsed.Partition != partition || !strings.HasPrefix(parsed.Resource, "policy/") {
			return "", nil, validationError("Invalid policy ARN: " + aws.ToString(p.Arn))
		}
		arns = append(arns, *p.Arn)
	}
	return doc, arns, nil
}

// packedSize is the share of the quota that policies and tags take, in per
// cent; nil if there are none.
func packedSize(v *session) (*int32, error) {
	tags := 0
	for k, val := range v.Tags {
		tags += len(k) + len(val)
	}
	n := len(v.Policy) + tags
	for _, a := range v.PolicyARNs {
		n += len(a)
	}
	if n == 0 {
		return nil, nil
	}
	percent := func(n int) int { return (n*100 + maxPackedSize - 1) / maxPackedSize }
	if n > maxPackedSize {
		msg := fmt.Sprintf("Packed policy consumes %d%% of allotted space, please use smaller policy.", percent(n))
		if n == tags {
			msg = fmt.Sprintf("Packed size of session tags consumes %d%% of allotted space.", percent(n))
		}
		return nil, &types.PackedPolicyTooLargeException{Message: &msg}
	}
	return aws.Int32(int32(percent(n))), nil
}
