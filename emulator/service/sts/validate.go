package sts

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// checks collects what AWS's common validation layer finds in a request.
type checks struct{ found []string }

func (c *checks) add(value, member, text string) {
	c.found = append(c.found, "Value "+value+" at '"+member+"' failed to satisfy constraint: "+text)
}

func (c *checks) length(member string, v *string, lo, hi int) {
	if v == nil {
		return
	}
	n := utf8.RuneCountInString(*v)
	if n < lo {
		c.add("'"+*v+"'", member, "Member must have length greater than or equal to "+strconv.Itoa(lo))
	}
	if n > hi {
		c.add("'"+*v+"'", member, "Member must have length less than or equal to "+strconv.Itoa(hi))
	}
}

func (c *checks) required(member string, v *string, lo, hi int) {
	if v == nil {
		c.add("null", member, "Member must not be null")
		return
	}
	c.length(member, v, lo, hi)
}

func (c *checks) pattern(member string, v *string, re *regexp.Regexp, shown string) {
	if v != nil && !re.MatchString(*v) {
		c.add("'"+*v+"'", member, "Member must satisfy regular expression pattern: "+shown)
	}
}

func (c *checks) span(member string, v *int32, lo, hi int32) {
	if v == nil {
		return
	}
	if *v < lo {
		c.add(fmt.Sprintf("'%d'", *v), member, fmt.Sprintf("Member must have value greater than or equal to %d", lo))
	}
	if *v > hi {
		c.add(fmt.Sprintf("'%d'", *v), member, fmt.Sprintf("Member must have value less than or equal to %d", hi))
	}
}

func (c *checks) err() error {
	if len(c.found) == 0 {
		return nil
	}
	noun := "errors"
	if len(c.found) == 1 {
		noun = "error"
	}
	return validationError(fmt.Sprintf("%d validation %s detected: %s", len(c.found), noun, strings.Join(c.found, "; ")))
}

func validationError(msg string) error {
	return &smithy.GenericAPIError{Code: "ValidationError", Message: msg, Fault: smithy.FaultClient}
}

// accessDenied is AWS's AccessDenied, which is no modelled type and whose status
// is not the usual 400.
type accessDenied struct{ smithy.GenericAPIError }

// HTTPStatusCode tells the wire layer the status.
func (*accessDenied) HTTPStatusCode() int { return http.StatusForbidden }

func denied(msg string) error {
	return &accessDenied{smithy.GenericAPIError{Code: "AccessDenied", Message: msg, Fault: smithy.FaultClient}}
}

func notAuthorized(who, action, resource string) error {
	return denied("User: " + who + " is not authorized to perform: " + action + " on resource: " + resource)
}

var (
	wordPattern     = regexp.MustCompile(`^[\w+=,.@-]*$`)
	externalPattern = regexp.MustCompile(`^[\w+=,.@:/-]*$`)
)

const maxPackedSize = 2048 // of session policies and tags together

// assumption is what the AssumeRole operations have in common.
type assumption struct {
	roleARN, sessionName *string
	duration             *int32
	policy               *string
	policyARNs           []types.PolicyDescriptorType
}

func (a assumption) check(c *checks) {
	c.required("roleArn", a.roleARN, 20, 2048)
	c.required("roleSessionName", a.sessionName, 2, 64)
	c.pattern("roleSessionName", a.sessionName, wordPattern, `[\w+=,.@-]*`)
	c.span("durationSeconds", a.duration, 900, 43200)
	c.length("policy", a.policy, 1, 2048)
	for i, p := range a.policyARNs {
		c.length(fmt.Sprintf("policyArns.%d.member.arn", i+1), p.Arn, 20, 2048)
	}
}

// sessionPolicies checks the policies that narrow a session down.
func (a assumption) sessionPolicies(partition string) (doc string, arns []string, err error) {
	if a.policy != nil {
		doc = *a.policy
		if _, err := policy.Validate(doc, policy.Identity, partition); err != nil {
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
	n := len(v.Policy)
	for _, a := range v.PolicyARNs {
		n += len(a)
	}
	for k, val := range v.Tags {
		n += len(k) + len(val)
	}
	if n == 0 {
		return nil, nil
	}
	percent := (n*100 + maxPackedSize - 1) / maxPackedSize
	if percent > 100 {
		return nil, &types.PackedPolicyTooLargeException{Message: aws.String(fmt.Sprintf("Packed policy consumes %d%% of allotted space, please use smaller policy.", percent))}
	}
	return aws.Int32(int32(percent)), nil
}
