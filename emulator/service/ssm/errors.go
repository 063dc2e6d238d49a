package ssm

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
)

// validation is the error that SSM has no modelled type for.
func validation(format string, a ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, a...), Fault: smithy.FaultClient}
}

// notFound carries no message, as SSM's does.
func notFound() error { return &types.ParameterNotFound{} }

// checks collects what AWS's common validation layer finds in a request.
type checks struct{ found []string }

func (c *checks) add(value, member, text string) {
	c.found = append(c.found, "Value "+value+" at '"+member+"' failed to satisfy constraint: "+text)
}

func (c *checks) required(member string, v *string, lo, hi int) {
	if v == nil {
		c.add("null", member, "Member must not be null")
		return
	}
	n := utf8.RuneCountInString(*v)
	if n < lo {
		c.add("'"+*v+"'", member, fmt.Sprintf("Member must have length greater than or equal to %d", lo))
	}
	if n > hi {
		c.add("'"+*v+"'", member, fmt.Sprintf("Member must have length less than or equal to %d", hi))
	}
}

func (c *checks) optional(member string, v *string, lo, hi int) {
	if v != nil {
		c.required(member, v, lo, hi)
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

func (c *checks) count(member string, list []string, lo, hi int) {
	shown := "'[" + strings.Join(list, ", ") + "]'"
	if list == nil {
		c.add("null", member, "Member must not be null")
		return
	}
	if len(list) < lo {
		c.add(shown, member, fmt.Sprintf("Member must have length greater than or equal to %d", lo))
	}
	if len(list) > hi {
		c.add(shown, member, fmt.Sprintf("Member must have length less than or equal to %d", hi))
	}
}

func (c *checks) oneOf(member, v string, values ...string) {
	for _, ok := range values {
		if v == ok || v == "" {
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
	return validation("%d validation %s detected: %s", len(c.found), noun, strings.Join(c.found, "; "))
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
