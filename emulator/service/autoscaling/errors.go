package autoscaling

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/smithy-go"
)

func validation(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationError", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

func noGroup(name string) error {
	return validation("AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
}

func exists(format string, args ...any) error {
	return &types.AlreadyExistsFault{Message: aws.String(fmt.Sprintf(format, args...))}
}

func inUse(format string, args ...any) error {
	return &types.ResourceInUseFault{Message: aws.String(fmt.Sprintf(format, args...))}
}

// required is the common validation layer's error for one absent member.
func required(member string, v *string) error {
	if aws.ToString(v) != "" {
		return nil
	}
	return validation("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
}

func compare(a, b string) int { return cmp.Compare(a, b) }

// page cuts a page out of all. The token is how many came before: the order is
// stable as long as nothing is made or deleted, as on AWS.
func page[T any](all []T, token *string, limit *int32, def, most int) ([]T, *string, error) {
	n := def
	if limit != nil {
		n = int(*limit)
		if n < 1 || n > most {
			return nil, nil, validation("1 validation error detected: Value '%d' at 'maxRecords' failed to satisfy constraint: Member must have value less than or equal to %d", n, most)
		}
	}
	from := 0
	if t := aws.ToString(token); t != "" {
		b, err := base64.StdEncoding.DecodeString(t)
		if err == nil {
			_, err = fmt.Sscanf(string(b), "after %d", &from)
		}
		if err != nil || from < 0 {
			return nil, nil, &types.InvalidNextToken{Message: aws.String("The token '" + t + "' is invalid.")}
		}
	}
	all = all[min(from, len(all)):]
	if len(all) <= n {
		return slices.Clip(all), nil, nil
	}
	return slices.Clip(all[:n]), aws.String(base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "after %d", from+n))), nil
}

// nonNil makes an empty list of no list: Auto Scaling answers those.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
