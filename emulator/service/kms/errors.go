package kms

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/wire/constraint"
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

// checks are those of the common validation layer.
type checks struct{ constraint.Checks }

func quoted(v string) string { return "'" + v + "'" }

// oneOf checks an enumeration; an empty value is one that was not given.
func oneOf[T ~string](c *checks, member string, v T, values []T) {
	constraint.Enum(&c.Checks, member, v, values)
}

func (c *checks) err() error {
	if msg := c.Message(); msg != "" {
		return validation("%s", msg)
	}
	return nil
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
