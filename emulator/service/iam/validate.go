package iam

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/wire/constraint"
)

// checks are those of the common validation layer, which come before IAM's own. Its
// answers repeat no value since 2024: "Value at 'roleName' failed ..."
// (github.com/aws/eks-hybrid pull request 113).
type checks struct{ constraint.Checks }

func (c *checks) err() error {
	if msg := c.Bare(); msg != "" {
		return validationError(msg)
	}
	return nil
}

func validationError(msg string) error {
	return &smithy.GenericAPIError{Code: "ValidationError", Message: msg, Fault: smithy.FaultClient}
}

var (
	namePattern   = regexp.MustCompile(`^[\w+=,.@-]+$`)
	pathPattern   = regexp.MustCompile(`^(/|/[\x21-\x7e]+/)$`)
	prefixPattern = regexp.MustCompile(`^/[\x21-\x7f]*$`)
	latinPattern  = regexp.MustCompile(`^[\t\n\r\x20-\x{ff}]+$`)
	wordPattern   = regexp.MustCompile(`^\w+$`)
	// described is roleDescriptionType's pattern.
	described      = regexp.MustCompile(`^[\t\n\r\x20-\x7e\x{a1}-\x{ff}]*$`)
	versionPattern = regexp.MustCompile(`^v[1-9][0-9]*(\.[A-Za-z0-9-]*)?$`)
	tagKey         = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$`)
	tagValue       = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

const tagAlphabet = `[\p{L}\p{Z}\p{N}_.:/=+\-@]`

// maxName is the length limit of each kind of name.
var maxName = map[string]int{
	"roleName": 64, "userName": 128, "groupName": 128, "policyName": 128, "instanceProfileName": 128,
	"newUserName": 64, "newGroupName": 128,
}

// name checks a required name by the member's own limits.
func (c *checks) name(member string, v *string) { c.Required(member, v, 1, maxName[member]) }

// newUser is name for a user to be made: old ones may have longer names.
func (c *checks) newUser(v *string) { c.Required("userName", v, 1, 64) }

func (c *checks) path(v *string) { c.Length("path", v, 1, 512) }

func (c *checks) arn(member string, v *string) { c.Required(member, v, 20, 2048) }

func (c *checks) document(member string, v *string) { c.Required(member, v, 1, 131072) }

func (c *checks) description(v *string) {
	c.Length("description", v, 0, 1000)
	c.Pattern("description", v, described, `[\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*`)
}

func (c *checks) tags(tags []types.Tag) {
	if len(tags) > maxTags {
		c.Add("", "tags", "Member must have length less than or equal to "+strconv.Itoa(maxTags))
	}
	for i, t := range tags {
		at := fmt.Sprintf("tags.%d.member.", i+1)
		c.Required(at+"key", t.Key, 1, 128)
		if t.Key != nil && *t.Key != "" {
			c.Pattern(at+"key", t.Key, tagKey, tagAlphabet+"+")
		}
		c.Required(at+"value", t.Value, 0, 256)
		c.Pattern(at+"value", t.Value, tagValue, tagAlphabet+"*")
	}
}

// tagKeys checks what Untag* is given. A bad key is answered with all constraints of
// a key (versitygw iamapi/controller_test.go, which mirrors AWS).
func (c *checks) tagKeys(keys []string) {
	c.Null("tagKeys", keys == nil)
	if len(keys) > maxTags {
		c.Add("", "tagKeys", "Member must have length less than or equal to "+strconv.Itoa(maxTags))
	}
	for _, k := range keys {
		if len(k) > 128 || !tagKey.MatchString(k) {
			c.Add("", "tagKeys", "Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: "+tagAlphabet+"+, Member must not be null]")
			return
		}
	}
}

// named checks a name that something is looked up by.
func named(member string, v *string) error {
	var c checks
	c.name(member, v)
	if err := c.err(); err != nil {
		return err
	}
	return checkNames(member, *v)
}

// checkPrefix checks the PathPrefix of a list.
func checkPrefix(v *string) error {
	if v != nil && !prefixPattern.MatchString(*v) {
		return validationError("The specified value for pathPrefix is invalid. It must begin with the / character and contain only alphanumeric characters and/or / characters.")
	}
	return nil
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
	if err != nil {
		return validationError("Invalid ARN:  Could not be parsed!")
	}
	if a.Service != "iam" {
		return invalidInput("ARN " + arn + " is not valid.")
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

// checkLatin refuses documents that are not of the model's alphabet.
func checkLatin(member, doc string) error {
	if !latinPattern.MatchString(doc) {
		return validationError("The specified value for " + member + " is invalid. It must contain only printable ASCII characters.")
	}
	return nil
}

// checkPolicy checks a document for a use of identity policies.
func checkPolicy(ctx context.Context, doc string, kind policy.Kind) (string, error) {
	if err := checkLatin("policyDocument", doc); err != nil {
		return "", err
	}
	doc = decodeDocument(doc)
	if _, err := policy.Validate(doc, kind, scopeOf(ctx).Partition()); err != nil {
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
