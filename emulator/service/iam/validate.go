package iam

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// checks collects what AWS's common validation layer finds in a request, all of
// it before the first answer. It comes before the checks of IAM itself.
type checks struct{ found []string }

func (c *checks) add(value, member, text string) {
	c.found = append(c.found, "Value "+value+" at '"+member+"' failed to satisfy constraint: "+text)
}

// length checks the length of a member that may be absent.
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

// required checks a member that must be there, and its length.
func (c *checks) required(member string, v *string, lo, hi int) {
	if v == nil {
		c.add("null", member, "Member must not be null")
		return
	}
	c.length(member, v, lo, hi)
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

// oneOf checks an enumeration; the empty string is an absent member.
func (c *checks) oneOf(member, v string, values ...string) {
	for _, ok := range append(values, "") {
		if v == ok {
			return
		}
	}
	c.add("'"+v+"'", member, "Member must satisfy enum value set: ["+strings.Join(values, ", ")+"]")
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

var (
	namePattern = regexp.MustCompile(`^[\w+=,.@-]+$`)
	pathPattern = regexp.MustCompile(`^(/|/[\x21-\x7e]+/)$`)
	tagPattern  = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// maxName is the length limit of each kind of name.
var maxName = map[string]int{
	"roleName": 64, "userName": 64, "groupName": 128, "policyName": 128, "instanceProfileName": 128,
	"newUserName": 64, "newGroupName": 128,
}

// name checks a required name by the member's own limits.
func (c *checks) name(member string, v *string) { c.required(member, v, 1, maxName[member]) }

func (c *checks) path(v *string) { c.length("path", v, 1, 512) }

func (c *checks) arn(member string, v *string) { c.required(member, v, 20, 2048) }

func (c *checks) document(member string, v *string) { c.required(member, v, 1, 131072) }

func (c *checks) tags(tags []types.Tag) {
	for i, t := range tags {
		c.required(fmt.Sprintf("tags.%d.member.key", i+1), t.Key, 1, 128)
		c.required(fmt.Sprintf("tags.%d.member.value", i+1), t.Value, 0, 256)
	}
}

// checkNames is IAM's own check of names, after the common ones.
func checkNames(nameValue ...string) error {
	for i := 0; i < len(nameValue); i += 2 {
		if !namePattern.MatchString(nameValue[i+1]) {
			return validationError("The specified value for " + nameValue[i] + " is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-")
		}
	}
	return nil
}

// pathOf returns the path to use for a new entity.
func pathOf(v *string) (string, error) {
	if v == nil {
		return "/", nil
	}
	if !pathPattern.MatchString(*v) || strings.Contains(*v, "//") {
		return "", validationError("The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return *v, nil
}

// checkARN tells malformed ARNs and those of other partitions from those of
// things that do not exist.
func checkARN(ctx context.Context, arn string) error {
	a, err := awsid.ParseARN(arn)
	if err != nil || a.Service != "iam" {
		return &types.InvalidInputException{Message: aws.String("ARN " + arn + " is not valid.")}
	}
	if a.Partition != scopeOf(ctx).Partition() {
		return validationError("Invalid ARN partition")
	}
	return nil
}

func malformed(err error) error {
	return &types.MalformedPolicyDocumentException{Message: aws.String(err.Error())}
}

// decodeDocument takes a policy document as clients send it. Some send it
// percent-encoded, the form in which IAM hands documents out.
func decodeDocument(doc string) string {
	if strings.HasPrefix(doc, "%7B") || strings.HasPrefix(doc, "%7b") {
		if plain, err := percentDecode(doc); err == nil {
			return plain
		}
	}
	return doc
}

// identityPolicy checks a document for use as an identity policy.
func identityPolicy(ctx context.Context, doc string) (string, error) {
	doc = decodeDocument(doc)
	if _, err := policy.Validate(doc, policy.Identity, scopeOf(ctx).Partition()); err != nil {
		return "", malformed(err)
	}
	return doc, nil
}

// size counts a document the way quotas do: white space is free.
func size(doc string) int {
	n := 0
	for _, r := range doc {
		if !strings.ContainsRune(" \t\r\n", r) {
			n++
		}
	}
	return n
}

// jsonString is used where AWS quotes a value inside a sentence.
func jsonString(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
