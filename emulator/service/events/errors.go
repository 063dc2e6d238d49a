package events

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
)

func itoa(n int) string { return strconv.Itoa(n) }

func validation(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "ValidationException", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// detected is what the common validation layer found, nil if nothing.
func detected(found []string) error {
	switch len(found) {
	case 0:
		return nil
	case 1:
		return validation("1 validation error detected: %s", found[0])
	}
	return validation("%d validation errors detected: %s", len(found), strings.Join(found, "; "))
}

func notFound(format string, args ...any) error {
	return &types.ResourceNotFoundException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func noBus(name string) error { return notFound("Event bus %s does not exist.", name) }

func noRule(bus, name string) error {
	return notFound("Rule %s does not exist on EventBus %s.", name, bus)
}

func limitExceeded() error {
	return &types.LimitExceededException{Message: aws.String("The requested resource exceeds the maximum number allowed.")}
}

func badPattern(why error) error {
	return &types.InvalidEventPatternException{Message: aws.String("Event pattern is not valid. Reason: " + why.Error())}
}

// page cuts a page out of what is ordered by key. The token is the last key.
func page[T any](all []T, key func(T) string, token *string, limit *int32) ([]T, *string, error) {
	n := 100
	if limit != nil {
		n = int(*limit)
		if n < 1 || n > 100 {
			return nil, nil, validation("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value between 1 and 100", n)
		}
	}
	slices.SortStableFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	if t := aws.ToString(token); t != "" {
		last, err := base64.StdEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, validation("Parameter NextToken is not valid.")
		}
		i, found := slices.BinarySearchFunc(all, string(last), func(v T, last string) int { return strings.Compare(key(v), last) })
		if found {
			i++
		}
		all = all[i:]
	}
	if len(all) <= n {
		return all, nil, nil
	}
	return all[:n], aws.String(base64.StdEncoding.EncodeToString([]byte(key(all[n-1])))), nil
}
