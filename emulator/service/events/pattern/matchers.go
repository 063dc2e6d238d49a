package pattern

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
)

// matcher decides on one value of an event; nil stands for a field that is not
// there.
type matcher func(v *value) bool

// matchTypes are the matchers with a name, but for anything-but, which is made of
// others.
var matchTypes = map[string]func(value) (matcher, error){
	"prefix":             func(v value) (matcher, error) { return affix("prefix", strings.HasPrefix, v) },
	"suffix":             func(v value) (matcher, error) { return affix("suffix", strings.HasSuffix, v) },
	"equals-ignore-case": parseIgnoreCase,
	"wildcard":           parseWildcard,
	"numeric":            parseNumeric,
	"exists":             parseExists,
	"cidr":               parseCIDR,
}

// named returns how a match type is parsed, nil if there is no such.
func named(name string) func(value) (matcher, error) {
	if name == "anything-but" {
		return parseAnythingBut
	}
	return matchTypes[name]
}

func isText(v *value) bool { return v != nil && v.kind == kindString }

// exact matches a value of its own type; numbers by their value.
func exact(want value) matcher {
	return func(v *value) bool { return v != nil && equal(*v, want) }
}

func equal(a, b value) bool {
	if a.kind != b.kind {
		return false
	}
	if a.kind == kindNumber {
		return compareNumbers(a.text, b.text) == 0
	}
	return a.text == b.text && a.kind != kindArray && a.kind != kindObject
}

// compareNumbers compares as EventBridge does, whose numbers are doubles. One out of
// range is infinite.
func compareNumbers(a, b string) int {
	x, _ := strconv.ParseFloat(a, 64) // JSON's syntax has been checked
	y, _ := strconv.ParseFloat(b, 64)
	return cmp.Compare(x, y)
}

// affix is prefix or suffix, of a string or ignoring case.
func affix(name string, has func(s, x string) bool, v value) (matcher, error) {
	if v.kind == kindObject && len(v.members) == 1 && v.members[0].name == "equals-ignore-case" && v.members[0].kind == kindString {
		want := strings.ToLower(v.members[0].text)
		return func(v *value) bool { return isText(v) && has(strings.ToLower(v.text), want) }, nil
	}
	if v.kind != kindString {
		return nil, reason("%s match pattern must be a string", name)
	}
	return func(e *value) bool { return isText(e) && has(e.text, v.text) }, nil
}

func parseIgnoreCase(v value) (matcher, error) {
	if v.kind != kindString {
		return nil, reason("equals-ignore-case match pattern must be a string")
	}
	return func(e *value) bool { return isText(e) && strings.EqualFold(e.text, v.text) }, nil
}

func checkWildcard(v value) error {
	if v.kind != kindString {
		return reason("wildcard match pattern must be a string")
	}
	for i := 0; i < len(v.text); i++ {
		switch v.text[i] {
		case '\\':
			if i+1 == len(v.text) || v.text[i+1] != '*' && v.text[i+1] != '\\' {
				return reason("Invalid escape character at pos %d", i)
			}
			i++
		case '*':
			if i+1 < len(v.text) && v.text[i+1] == '*' {
				return reason("Consecutive wildcard characters at pos %d", i+1)
			}
		}
	}
	return nil
}

func parseWildcard(v value) (matcher, error) {
	if err := checkWildcard(v); err != nil {
		return nil, err
	}
	return func(e *value) bool { return isText(e) && wild(v.text, e.text) }, nil
}

func parseExists(v value) (matcher, error) {
	if v.kind != kindBool {
		return nil, reason("exists match pattern must be either true or false.")
	}
	want := v.text == "true"
	return func(e *value) bool { return (e != nil) == want }, nil
}

func parseAnythingBut(v value) (matcher, error) {
	const form = "Value of anything-but must be an array or single string/number value."
	switch v.kind {
	case kindObject:
		if len(v.members) != 1 {
			return nil, reason("Only one key allowed in match expression")
		}
		return parseAnythingButThat(v.members[0])
	case kindArray:
		if len(v.items) == 0 {
			return nil, reason("Empty arrays are not allowed")
		}
		for _, i := range v.items {
			if i.kind != kindString && i.kind != kindNumber {
				return nil, reason("Inside anything but list, start|null|boolean is not supported.")
			}
			if i.kind != v.items[0].kind {
				return nil, reason("Inside anything but list, either all values are number or string, mixed type is not supported")
			}
		}
		return none(v.items), nil
	case kindString, kindNumber:
		return none([]value{v}), nil
	}
	return nil, reason(form)
}

// none matches every value but these. A field that is not there does not match.
func none(but []value) matcher {
	return func(e *value) bool {
		if e == nil {
			return false
		}
		for _, b := range but {
			if equal(*e, b) {
				return false
			}
		}
		return true
	}
}

// parseAnythingButThat is anything-but of another matcher.
func parseAnythingButThat(m member) (matcher, error) {
	items := m.items
	if m.kind != kindArray {
		items = []value{m.value}
	}
	var not []matcher
	for _, v := range items {
		if err := checkAnythingBut(m.name, v); err != nil {
			return nil, err
		}
		x, err := matchTypes[m.name](v)
		if err != nil {
			return nil, err
		}
		not = append(not, x)
	}
	if len(not) == 0 {
		return nil, reason("Empty arrays are not allowed")
	}
	return func(e *value) bool {
		if e == nil {
			return false
		}
		for _, n := range not {
			if n(e) {
				return false
			}
		}
		return true
	}, nil
}

func checkAnythingBut(name string, v value) error {
	switch name {
	case "prefix", "suffix":
		if v.kind == kindObject {
			return reason("Value of anything-but must be an array or single string/number value.")
		}
		if v.kind != kindString {
			return reason("prefix/suffix match pattern must be a string")
		}
		if v.text == "" {
			return reason("Null prefix/suffix not allowed")
		}
	case "equals-ignore-case":
		if v.kind != kindString {
			return reason("Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.")
		}
	case "wildcard":
	default:
		return reason("Unsupported anything-but pattern: %s", name)
	}
	return nil
}

// numericOps are numeric's operators, by what the comparison may answer.
var numericOps = map[string][]int{"=": {0}, "<": {-1}, "<=": {-1, 0}, ">": {1}, ">=": {1, 0}}

func parseNumeric(v value) (matcher, error) {
	if v.kind != kindArray {
		return nil, reason("Value of numeric must be an array.")
	}
	if len(v.items) == 0 {
		return nil, reason("Invalid member in numeric match: ]")
	}
	type bound struct {
		ops   []int
		value string
	}
	var bounds []bound
	for i := 0; i < len(v.items); i += 2 {
		op := v.items[i]
		if op.kind != kindString {
			return nil, reason("Invalid member in numeric match: %s", op.text)
		}
		ops, ok := numericOps[op.text]
		if !ok {
			return nil, reason("Unrecognized numeric range operator: %s", op.text)
		}
		if len(bounds) == 1 && (strings.HasPrefix(op.text, v.items[0].text[:1]) || op.text == "=" || v.items[0].text == "=") {
			return nil, reason("Bad numeric range operator: %s", op.text)
		}
		if len(bounds) == 2 {
			return nil, reason("Too many terms in numeric range expression")
		}
		if i+1 == len(v.items) || v.items[i+1].kind != kindNumber {
			return nil, reason("Value of %s must be numeric", op.text)
		}
		bounds = append(bounds, bound{ops, v.items[i+1].text})
	}
	if len(bounds) == 2 {
		low, high := bounds[0], bounds[1]
		if strings.HasPrefix(v.items[0].text, "<") {
			low, high = high, low
		}
		if compareNumbers(low.value, high.value) >= 0 {
			return nil, reason("Bottom must be less than top")
		}
	}
	return func(e *value) bool {
		if e == nil || e.kind != kindNumber {
			return false
		}
		for _, b := range bounds {
			c, ok := compareNumbers(e.text, b.value), false
			for _, o := range b.ops {
				ok = ok || o == c
			}
			if !ok {
				return false
			}
		}
		return true
	}, nil
}

func parseCIDR(v value) (matcher, error) {
	if v.kind != kindString {
		return nil, reason("prefix match pattern must be a string")
	}
	ip, bits, ok := strings.Cut(v.text, "/")
	if !ok || strings.Contains(bits, "/") {
		return nil, reason("Malformed CIDR, one '/' required")
	}
	n, err := strconv.Atoi(bits)
	if err != nil {
		return nil, reason("Malformed CIDR, mask bits must be an integer")
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, reason("Nonstandard IP address: %s", ip)
	}
	p, err := addr.Prefix(n)
	if err != nil {
		return nil, reason("Malformed CIDR, mask bits must be between 0 and %d", addr.BitLen())
	}
	return func(e *value) bool {
		if !isText(e) {
			return false
		}
		a, err := netip.ParseAddr(e.text)
		return err == nil && p.Contains(a)
	}, nil
}
