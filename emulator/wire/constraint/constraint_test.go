package constraint

import (
	"regexp"
	"testing"
)

func TestChecks(t *testing.T) {
	str, num := func(s string) *string { return &s }, func(n int32) *int32 { return &n }
	type T string
	const at = " failed to satisfy constraint: Member must "
	for _, tt := range []struct {
		name       string
		do         func(c *Checks)
		want, bare string
	}{
		{"nothing", func(c *Checks) {
			c.Length("a", nil, 1, 2)
			c.Span("b", nil, 1, 2)
			c.OneOf("c", "", "x")
			c.Null("d", false)
		}, "", ""},
		{"fits", func(c *Checks) {
			c.Required("a", str("äö"), 1, 2)
			c.Span("b", num(2), 1, 2)
			c.OneOf("c", "x", "x")
			c.Count("d", []string{"x"}, 1, 1)
		}, "", ""},
		{"null", func(c *Checks) { c.Required("a", nil, 1, 2) }, "1 validation error detected: Value null at 'a'" + at + "not be null", "1 validation error detected: Value at 'a'" + at + "not be null"},
		{"short", func(c *Checks) { c.Length("a", str(""), 1, 2) }, "1 validation error detected: Value '' at 'a'" + at + "have length greater than or equal to 1", "1 validation error detected: Value at 'a'" + at + "have length greater than or equal to 1"},
		{"low", func(c *Checks) { c.Span("a", num(0), 1, 2) }, "1 validation error detected: Value '0' at 'a'" + at + "have value greater than or equal to 1", "1 validation error detected: Value at 'a'" + at + "have value greater than or equal to 1"},
		{"many", func(c *Checks) { c.Count("a", []string{"x", "y"}, 0, 1) }, "1 validation error detected: Value '[x, y]' at 'a'" + at + "have length less than or equal to 1", "1 validation error detected: Value at 'a'" + at + "have length less than or equal to 1"},
		{"bytes", func(c *Checks) {
			c.Blob("a", []byte{}, 1, 2)
			c.Blob("b", nil, 1, 2)
			Enum(c, "c", T("z"), []T{"x", "y"})
			Enum(c, "d", T("x"), []T{"x", "y"})
		},
			"3 validation errors detected: Value at 'a'" + at + "have length greater than or equal to 1; Value null at 'b'" + at + "not be null; Value 'z' at 'c'" + at + "satisfy enum value set: [x, y]",
			"3 validation errors detected: Value at 'a'" + at + "have length greater than or equal to 1; Value at 'b'" + at + "not be null; Value at 'c'" + at + "satisfy enum value set"},
		{"two", func(c *Checks) {
			c.OneOf("a", "z", "x", "y")
			c.Pattern("b", str("!"), regexp.MustCompile(`^\w+$`), `[\w]+`)
		},
			"2 validation errors detected: Value 'z' at 'a'" + at + "satisfy enum value set: [x, y]; Value '!' at 'b'" + at + `satisfy regular expression pattern: [\w]+`,
			"2 validation errors detected: Value at 'a'" + at + "satisfy enum value set; Value at 'b'" + at + `satisfy regular expression pattern: [\w]+`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c Checks
			tt.do(&c)
			if c.Message() != tt.want || c.Bare() != tt.bare {
				t.Errorf("Message = %q\nBare = %q", c.Message(), c.Bare())
			}
		})
	}
}
