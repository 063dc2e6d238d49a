package eks

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// maxPage is the most results (and the default) of one page of an EKS list.
const maxPage = 100

// cursor is what a nextToken holds: the key of the last item given out, so that
// pages stay right while items come and go.
type cursor struct {
	List  string `json:"l"`
	After string `json:"a"`
}

// page returns the part of items, sorted by key, that follows token. list names
// the operation: a token of another one is refused.
func page[T any](list string, items []T, key func(T) string, max *int32, token *string) ([]T, *string, error) {
	size := maxPage
	if max != nil {
		if *max < 1 || *max > maxPage {
			return nil, nil, about{}.invalidParameter("maxResults needs to be between 1 and %d", maxPage)
		}
		size = int(*max)
	}
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	if t := aws.ToString(token); t != "" {
		after, ok := decodeCursor(list, t)
		if !ok {
			return nil, nil, about{}.invalidParameter("Invalid nextToken")
		}
		at, found := slices.BinarySearchFunc(items, after, func(it T, k string) int { return strings.Compare(key(it), k) })
		if found {
			at++
		}
		items = items[at:]
	}
	if len(items) <= size {
		return slices.Clip(append([]T{}, items...)), nil, nil
	}
	next, err := encodeCursor(list, key(items[size-1]))
	return items[:size:size], next, err
}

func encodeCursor(list, after string) (*string, error) {
	b, err := json.Marshal(cursor{List: list, After: after})
	if err != nil {
		return nil, err
	}
	return aws.String(base64.RawURLEncoding.EncodeToString(b)), nil
}

func decodeCursor(list, token string) (after string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", false
	}
	var c cursor
	if json.Unmarshal(b, &c) != nil || c.List != list {
		return "", false
	}
	return c.After, true
}

// sortable writes a non-negative number so that text order is number order.
func sortable(n int64) string { return fmt.Sprintf("%019d", n) }
