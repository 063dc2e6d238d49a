package events

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// validSchedule checks a rule's schedule: "rate(5 minutes)" or "cron(0 12 * * ? *)",
// as "Schedule expressions" in the EventBridge User Guide defines them. Schedules
// are stored; nothing runs by them.
func validSchedule(e string) bool {
	if body, ok := strings.CutPrefix(e, "rate("); ok && strings.HasSuffix(body, ")") {
		return validRate(strings.TrimSuffix(body, ")"))
	}
	if body, ok := strings.CutPrefix(e, "cron("); ok && strings.HasSuffix(body, ")") {
		return validCron(strings.Fields(strings.TrimSuffix(body, ")")))
	}
	return false
}

var ratePattern = regexp.MustCompile(`^([1-9][0-9]*) (minute|hour|day)(s?)$`)

// validRate wants the unit's number to go with the value.
func validRate(s string) bool {
	m := ratePattern.FindStringSubmatch(s)
	return m != nil && (m[1] == "1") == (m[3] == "")
}

// cronField is the range of a field and the names that it takes.
type cronField struct {
	low, high int
	names     []string
	extra     string // characters with a meaning in this field
}

var cronFields = []cronField{
	{0, 59, nil, ""}, {0, 23, nil, ""}, {1, 31, nil, "?LW"},
	{1, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}, ""},
	{1, 7, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}, "?L#"}, {1970, 2199, nil, ""},
}

func validCron(fields []string) bool {
	if len(fields) != len(cronFields) {
		return false
	}
	for i, f := range fields {
		for part := range strings.SplitSeq(f, ",") {
			if !cronFields[i].valid(part) {
				return false
			}
		}
	}
	// One of day of month and day of week has to be left open.
	return (fields[2] == "?") != (fields[4] == "?")
}

func (c cronField) valid(part string) bool {
	if part == "*" || part == "?" && strings.Contains(c.extra, "?") || part == "L" && strings.Contains(c.extra, "L") || part == "LW" && strings.Contains(c.extra, "W") {
		return true
	}
	if base, step, ok := strings.Cut(part, "/"); ok {
		n, err := strconv.Atoi(step)
		return err == nil && n > 0 && (base == "*" || c.valid(base))
	}
	if low, high, ok := strings.Cut(part, "-"); ok {
		return c.number(low) && c.number(high)
	}
	if day, nth, ok := strings.Cut(part, "#"); ok && strings.Contains(c.extra, "#") {
		n, err := strconv.Atoi(nth)
		return err == nil && n >= 1 && n <= 5 && c.number(day)
	}
	for _, suffix := range []string{"W", "L"} {
		if base, ok := strings.CutSuffix(part, suffix); ok && strings.Contains(c.extra, suffix) {
			return c.number(base)
		}
	}
	return c.number(part)
}

func (c cronField) number(s string) bool {
	if slices.Contains(c.names, strings.ToUpper(s)) {
		return true
	}
	n, err := strconv.Atoi(s)
	return err == nil && n >= c.low && n <= c.high
}
