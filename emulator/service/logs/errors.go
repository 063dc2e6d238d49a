package logs

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/wire/constraint"
)

func invalid(format string, a ...any) error {
	return &types.InvalidParameterException{Message: aws.String(fmt.Sprintf(format, a...))}
}

func notFound(format string, a ...any) error {
	return &types.ResourceNotFoundException{Message: aws.String(fmt.Sprintf(format, a...))}
}

func noGroup() error  { return notFound("The specified log group does not exist.") }
func noStream() error { return notFound("The specified log stream does not exist.") }

func limitExceeded() error {
	return &types.LimitExceededException{Message: aws.String("Resource limit exceeded.")}
}

func badToken() error { return invalid("The specified nextToken is invalid.") }

// pattern is a constraint of the model: a name's alphabet and length.
type pattern struct {
	shown string // as AWS shows it
	re    *regexp.Regexp
	max   int
}

func newPattern(shown string, most int) pattern {
	return pattern{shown, regexp.MustCompile("^(?:" + shown + ")$"), most}
}

var (
	groupName     = newPattern(`[\.\-_/#A-Za-z0-9]+`, 512)
	streamName    = newPattern(`[^:*]*`, 512)
	groupID       = newPattern(`[\w#+=/:,.@-]*`, 2048)
	resourceARN   = newPattern(`[\w+=/:,.@-]*`, 1011)
	resourceID    = newPattern(`[\w+=/:,.@\-\*]*`, 2048)
	anyText       = newPattern(`(?s).*`, 1<<20)
	filterText    = newPattern(`(?s).*`, 1024)
	filterName    = newPattern(`[^:*]*`, 512)
	metricName    = newPattern(`[^:*$]*`, 255)
	keyID         = newPattern(`(?s).*`, 256)
	policyText    = newPattern(`(?s).*`, 51200)
	namePattern   = newPattern(`[\.\-_/#A-Za-z0-9]*`, 512)
	tagKeyText    = newPattern(`([\p{L}\p{Z}\p{N}_.:/=+\-@]+)`, 128)
	tagValueText  = newPattern(`([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`, 256)
	listGroupText = newPattern(`(\^?[\.\-_\/#A-Za-z0-9]{3,24})(\|\^?[\.\-_\/#A-Za-z0-9]{3,24}){0,4}`, 129)
)

// checks are those of the common validation layer.
type checks struct{ constraint.Checks }

// text checks a string that must be given. least is 0 where it may be empty.
func (c *checks) text(member string, v *string, p pattern, least int) {
	c.Null(member, v == nil)
	c.optional(member, v, p, least)
}

// optional checks a string's pattern only if its length is right.
func (c *checks) optional(member string, v *string, p pattern, least int) {
	if v == nil {
		return
	}
	if n := utf8.RuneCountInString(*v); n < least || n > p.max {
		c.Length(member, v, least, p.max)
		return
	}
	c.Pattern(member, v, p.re, p.shown)
}

// oneOf checks an enumeration; an empty value is one that was not given.
func oneOf[T ~string](c *checks, member string, v T, values []T) {
	constraint.Enum(&c.Checks, member, v, values)
}

func (c *checks) err() error {
	if msg := c.Message(); msg != "" {
		return invalid("%s", msg)
	}
	return nil
}

// page cuts one page out of items, which it sorts by id: tables are in the order of
// escaped ids. The token is the id of
// the last item handed out.
func page[T any](items []T, id func(T) string, token *string, limit *int32, def int) ([]T, *string, error) {
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	if token != nil {
		last, err := base64.StdEncoding.DecodeString(*token)
		if err != nil || len(last) == 0 {
			return nil, nil, badToken()
		}
		for len(items) > 0 && id(items[0]) <= string(last) {
			items = items[1:]
		}
	}
	if limit != nil {
		def = int(*limit)
	}
	if len(items) <= def {
		return items, nil, nil
	}
	items = items[:def]
	return items, aws.String(base64.StdEncoding.EncodeToString([]byte(id(items[def-1])))), nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func optionalMillis(t int64) *int64 {
	if t == 0 {
		return nil
	}
	return &t
}
