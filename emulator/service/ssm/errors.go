package ssm

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/wire/constraint"
)

// validation is the error that SSM has no modelled type for.
func validation(format string, a ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, a...), Fault: smithy.FaultClient}
}

// notFound carries no message, as SSM's does.
func notFound() error { return &types.ParameterNotFound{} }

// checks are those of the common validation layer.
type checks struct{ constraint.Checks }

// list checks how many members a required list has.
func (c *checks) list(member string, list []string, lo, hi int) {
	c.Null(member, list == nil)
	if list != nil {
		c.Count(member, list, lo, hi)
	}
}

// members checks the length of each string in a list; what is wrong with one is
// said of the list.
func (c *checks) members(member string, list []string, lo, hi int) {
	for _, v := range list {
		if n := utf8.RuneCountInString(v); n < lo || n > hi {
			c.Add("'["+strings.Join(list, ", ")+"]'", member, fmt.Sprintf("Member must satisfy constraint: [Member must have length less than or equal to %d, Member must have length greater than or equal to %d]", hi, lo))
			return
		}
	}
}

func (c *checks) err() error {
	if msg := c.Message(); msg != "" {
		return validation("%s", msg)
	}
	return nil
}

// page cuts one page out of items, which are sorted by id. The token is the id
// of the last item handed out.
func page[T any](items []T, id func(T) string, token *string, max *int32, def int32) ([]T, *string, error) {
	if aws.ToString(token) != "" {
		last, err := base64.StdEncoding.DecodeString(*token)
		if err != nil {
			return nil, nil, &types.InvalidNextToken{Message: aws.String("The specified token isn't valid.")}
		}
		for len(items) > 0 && id(items[0]) <= string(last) {
			items = items[1:]
		}
	}
	limit := int(def)
	if max != nil {
		limit = int(*max)
	}
	if len(items) <= limit {
		return items, nil, nil
	}
	items = items[:limit]
	return items, aws.String(base64.StdEncoding.EncodeToString([]byte(id(items[limit-1])))), nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
