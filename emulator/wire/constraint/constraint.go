// Package constraint words what AWS's common validation layer finds in a request
// before the service itself looks at it: everything at once, in one sentence.
package constraint

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Checks collects what is wrong with a request. The zero value has found nothing.
// Members are named by their paths in lower camel case: tags.1.member.key.
type Checks struct{ found []finding }

type finding struct {
	value, member, text string
	detail              string // what Bare leaves out
}

// Add notes that a member's value, as it is to be shown, breaks a constraint; "" shows
// none.
func (c *Checks) Add(value, member, text string) {
	c.found = append(c.found, finding{value: value, member: member, text: text})
}

func quote(v string) string { return "'" + v + "'" }

// Null notes a required member that is missing.
func (c *Checks) Null(member string, missing bool) {
	if missing {
		c.Add("null", member, "Member must not be null")
	}
}

// Length checks a string that may be absent.
func (c *Checks) Length(member string, v *string, lo, hi int) {
	if v != nil {
		c.between(quote(*v), member, "length", int64(utf8.RuneCountInString(*v)), int64(lo), int64(hi))
	}
}

// Blob checks bytes that must be there, whose value is not shown.
func (c *Checks) Blob(member string, v []byte, lo, hi int) {
	c.Null(member, v == nil)
	if v != nil {
		c.between("", member, "length", int64(len(v)), int64(lo), int64(hi))
	}
}

// Required checks a string that must be there.
func (c *Checks) Required(member string, v *string, lo, hi int) {
	c.Null(member, v == nil)
	c.Length(member, v, lo, hi)
}

// Span checks a number that may be absent.
func (c *Checks) Span(member string, v *int32, lo, hi int32) {
	if v != nil {
		c.between(fmt.Sprintf("'%d'", *v), member, "value", int64(*v), int64(lo), int64(hi))
	}
}

// Count checks how many members a list has.
func (c *Checks) Count(member string, list []string, lo, hi int) {
	c.between("'["+strings.Join(list, ", ")+"]'", member, "length", int64(len(list)), int64(lo), int64(hi))
}

func (c *Checks) between(shown, member, what string, n, lo, hi int64) {
	if n < lo {
		c.Add(shown, member, fmt.Sprintf("Member must have %s greater than or equal to %d", what, lo))
	}
	if n > hi {
		c.Add(shown, member, fmt.Sprintf("Member must have %s less than or equal to %d", what, hi))
	}
}

// Pattern checks a string that may be absent; shown is the pattern in AWS's model,
// which Go's syntax cannot always say.
func (c *Checks) Pattern(member string, v *string, re *regexp.Regexp, shown string) {
	if v != nil && !re.MatchString(*v) {
		c.Add(quote(*v), member, "Member must satisfy regular expression pattern: "+shown)
	}
}

// OneOf checks an enumeration; the empty string is an absent member.
func (c *Checks) OneOf(member, v string, values ...string) {
	for _, ok := range append(values, "") {
		if v == ok {
			return
		}
	}
	c.found = append(c.found, finding{quote(v), member, "Member must satisfy enum value set", ": [" + strings.Join(values, ", ") + "]"})
}

// Enum is OneOf with the SDK's types.
func Enum[T ~string](c *Checks, member string, v T, values []T) {
	names := make([]string, len(values))
	for i, ok := range values {
		names[i] = string(ok)
	}
	c.OneOf(member, string(v), names...)
}

// Message is all that was found, "" if nothing was.
func (c *Checks) Message() string {
	return c.say(func(f finding) string {
		if f.value != "" {
			f.value += " "
		}
		return "Value " + f.value + "at '" + f.member + "' failed to satisfy constraint: " + f.text + f.detail
	})
}

// Bare is Message as services say it that repeat no value of the request.
func (c *Checks) Bare() string {
	return c.say(func(f finding) string {
		return "Value at '" + f.member + "' failed to satisfy constraint: " + f.text
	})
}

func (c *Checks) say(one func(finding) string) string {
	if len(c.found) == 0 {
		return ""
	}
	all := make([]string, len(c.found))
	for i, f := range c.found {
		all[i] = one(f)
	}
	noun := "errors"
	if len(all) == 1 {
		noun = "error"
	}
	return fmt.Sprintf("%d validation %s detected: %s", len(all), noun, strings.Join(all, "; "))
}
