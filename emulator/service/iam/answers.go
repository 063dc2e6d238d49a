package iam

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// notFound is NoSuchEntity in AWS's words for the kind of thing.
func notFound(kind, name string) error {
	return noSuchEntity("The " + kind + " with name " + name + " cannot be found.")
}

func noSuchEntity(msg string) error { return &types.NoSuchEntityException{Message: &msg} }

func exists(msg string) error { return &types.EntityAlreadyExistsException{Message: &msg} }

func conflict(msg string) error { return &types.DeleteConflictException{Message: &msg} }

func limitExceeded(msg string) error { return &types.LimitExceededException{Message: &msg} }

// encodeDocument is how IAM hands documents out: percent-encoded by RFC 3986.
func encodeDocument(doc string) *string {
	return aws.String(strings.ReplaceAll(url.QueryEscape(doc), "+", "%20"))
}

func percentDecode(s string) (string, error) { return url.PathUnescape(s) }

// key is the id under which something with a name is stored.
func key(name string) string { return strings.ToLower(name) }

// uniqueID returns prefix and 17 random characters of IAM's alphabet.
func uniqueID(prefix string) string { return prefix + randomBase32(17) }

func randomBase32(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	return base32.StdEncoding.EncodeToString(b)[:n]
}

// newSecret returns the 40 characters of a secret access key.
func newSecret() string {
	b := make([]byte, 30)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// page cuts one page out of items, which it sorts by id first. The marker is
// the id of the last item handed out, so pages stay right while others write.
func page[T any](items []T, id func(T) string, marker *string, maxItems *int32) (out []T, truncated bool, next *string, err error) {
	slices.SortStableFunc(items, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	if marker != nil {
		last, err := base64.StdEncoding.DecodeString(*marker)
		if err != nil {
			return nil, false, nil, validationError("Invalid Marker.")
		}
		n, found := slices.BinarySearchFunc(items, string(last), func(t T, last string) int { return strings.Compare(id(t), last) })
		if found {
			n++
		}
		items = items[n:]
	}
	limit := int(aws.ToInt32(maxItems))
	if maxItems == nil {
		limit = 100
	}
	if len(items) <= limit {
		return nonNil(items), false, nil, nil
	}
	items = items[:limit]
	return items, true, aws.String(base64.StdEncoding.EncodeToString([]byte(id(items[limit-1])))), nil
}

// nonNil makes empty lists appear in answers as IAM's do.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func checkPage(c *checks, marker *string, maxItems *int32) {
	c.Length("marker", marker, 1, 320)
	c.Span("maxItems", maxItems, 1, 1000)
}

func toTypes(tags []tag) []types.Tag {
	out := make([]types.Tag, len(tags))
	for i, t := range tags {
		out[i] = types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)}
	}
	return out
}

// orNil leaves an empty list out of the answer.
func orNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// answer is out, or err alone.
func answer[T any](out *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return out, nil
}
