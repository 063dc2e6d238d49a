package kms

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

// validation is the error that KMS has no modelled type for.
func validation(format string, a ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, a...), Fault: smithy.FaultClient}
}

func accessDenied(format string, a ...any) error {
	return &smithy.GenericAPIError{Code: "AccessDeniedException", Message: fmt.Sprintf(format, a...), Fault: smithy.FaultClient}
}

func notFound(format string, a ...any) error {
	return &types.NotFoundException{Message: aws.String(fmt.Sprintf(format, a...))}
}

func unsupported(format string, a ...any) error {
	return &types.UnsupportedOperationException{Message: aws.String(fmt.Sprintf(format, a...))}
}

func limitExceeded(format string, a ...any) error {
	return &types.LimitExceededException{Message: aws.String(fmt.Sprintf(format, a...))}
}

func dryRun(asked *bool) error {
	if !aws.ToBool(asked) {
		return nil
	}
	return &types.DryRunOperationException{Message: aws.String("The request would have succeeded, but the DryRun option is set.")}
}

// checks collects what AWS's common validation layer finds in a request.
type checks struct{ found []string }

func (c *checks) add(value, member, text string) {
	c.found = append(c.found, "Value "+value+"at '"+member+"' failed to satisfy constraint: "+text)
}

func quoted(v string) string { return "'" + v + "' " }

func (c *checks) text(member string, v *string, lo, hi int) {
	if v == nil {
		c.add("null ", member, "Member must not be null")
		return
	}
	c.length(quoted(*v), member, utf8.RuneCountInString(*v), lo, hi)
}

func (c *checks) optional(member string, v *string, lo, hi int) {
	if v != nil {
		c.text(member, v, lo, hi)
	}
}

// blob checks bytes, whose value AWS does not repeat.
func (c *checks) blob(member string, v []byte, lo, hi int) {
	if v == nil {
		c.add("null ", member, "Member must not be null")
		return
	}
	c.length("", member, len(v), lo, hi)
}

func (c *checks) length(shown, member string, n, lo, hi int) {
	if n < lo {
		c.add(shown, member, fmt.Sprintf("Member must have length greater than or equal to %d", lo))
	}
	if n > hi {
		c.add(shown, member, fmt.Sprintf("Member must have length less than or equal to %d", hi))
	}
}

func (c *checks) span(member string, v *int32, lo, hi int32) {
	if v != nil && *v < lo {
		c.add(fmt.Sprintf("'%d' ", *v), member, fmt.Sprintf("Member must have value greater than or equal to %d", lo))
	}
	if v != nil && *v > hi {
		c.add(fmt.Sprintf("'%d' ", *v), member, fmt.Sprintf("Member must have value less than or equal to %d", hi))
	}
}

// oneOf checks an enumeration; an empty value is one that was not given.
func oneOf[T ~string](c *checks, member string, v T, values []T) {
	names := make([]string, len(values))
	for i, ok := range values {
		if v == ok {
			return
		}
		names[i] = string(ok)
	}
	if v != "" {
		c.add(quoted(string(v)), member, "Member must satisfy enum value set: ["+strings.Join(names, ", ")+"]")
	}
}

func (c *checks) null(member string, missing bool) {
	if missing {
		c.add("null ", member, "Member must not be null")
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
	return validation("%d validation %s detected: %s", len(c.found), noun, strings.Join(c.found, "; "))
}

// page cuts one page out of items, which it sorts by id: tables are in the order of
// escaped ids. The marker is the id of
// the last item handed out.
func page[T any](items []T, id func(T) string, marker *string, limit *int32, def int) ([]T, *string, bool, error) {
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	if marker != nil {
		last, err := base64.StdEncoding.DecodeString(*marker)
		if err != nil || len(last) == 0 {
			return nil, nil, false, &types.InvalidMarkerException{Message: aws.String("Could not deserialize marker '" + *marker + "'")}
		}
		for len(items) > 0 && id(items[0]) <= string(last) {
			items = items[1:]
		}
	}
	if limit != nil {
		def = int(*limit)
	}
	if len(items) <= def {
		return items, nil, false, nil
	}
	items = items[:def]
	return items, aws.String(base64.StdEncoding.EncodeToString([]byte(id(items[def-1])))), true, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
