package wire

import (
	"encoding/base64"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// timeFormat is how timestamps are written; zero means the model's own.
type timeFormat uint8

const (
	epochSeconds timeFormat = iota + 1 // 1700000000 or 1700000000.123
	isoSeconds                         // 2026-11-23T04:19:35Z
	isoMillis                          // 2026-11-23T04:19:35.000Z
	isoAuto                            // isoMillis unless the fraction is zero
	httpDate                           // Mon, 23 Nov 2026 04:19:35 GMT
)

func appendTime(b []byte, t time.Time, f timeFormat) []byte {
	t = t.UTC()
	switch {
	case f == epochSeconds:
		return appendEpoch(b, t)
	case f == httpDate:
		return t.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 GMT")
	case f == isoSeconds, f == isoAuto && t.Nanosecond() < int(time.Millisecond):
		return t.AppendFormat(b, "2006-01-02T15:04:05Z")
	}
	return t.AppendFormat(b, "2006-01-02T15:04:05.000Z")
}

func appendEpoch(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	if ms < 0 {
		b, ms = append(b, '-'), -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if frac := ms % 1000; frac != 0 {
		b = append(b, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
	}
	return b
}

var isoLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02", "20060102T150405Z"}

// parseTime reads a timestamp from text: a query value, label or header.
func parseTime(s string, f timeFormat) (time.Time, bool) {
	switch f {
	case epochSeconds:
		return parseEpoch(s)
	case httpDate:
		for _, l := range []string{time.RFC1123, "Mon, 2 Jan 2006 15:04:05.999999999 GMT"} {
			if t, err := time.Parse(l, s); err == nil {
				return t.UTC(), true
			}
		}
	default:
		for _, l := range isoLayouts {
			if t, err := time.Parse(l, s); err == nil {
				return t.UTC(), true
			}
		}
	}
	return time.Time{}, false
}

// parseEpoch reads seconds since 1970 to the millisecond. Years beyond 9999
// are refused: they could not be written as dates again.
func parseEpoch(s string) (time.Time, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < -62135596800 || f >= 253402300800 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), true
}

// setText sets a scalar from text and says what was wanted if it can't.
func (p *plan) setText(v reflect.Value, s string) (want string, ok bool) {
	switch p.kind {
	case kindString:
		v.SetString(s)
		return "", true
	case kindBool:
		b, err := strconv.ParseBool(strings.ToLower(s))
		if err != nil {
			return "a Boolean", false
		}
		v.SetBool(b)
	case kindInt:
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil || v.OverflowInt(i) {
			return "an Integer", false
		}
		v.SetInt(i)
	case kindFloat:
		f, err := strconv.ParseFloat(s, v.Type().Bits())
		if err != nil {
			return "a Double", false
		}
		v.SetFloat(f)
	case kindTime:
		t, ok := parseTime(s, p.format)
		if !ok {
			return "a timestamp", false
		}
		v.Set(reflect.ValueOf(t))
	case kindBlob:
		d, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return "base64", false
		}
		v.SetBytes(d)
	default:
		return "a structure or list", false
	}
	return "", true
}

// appendText is setText's inverse. Aggregates have no text form.
func (p *plan) appendText(b []byte, v reflect.Value) []byte {
	switch p.kind {
	case kindString:
		return append(b, v.String()...)
	case kindBool:
		return strconv.AppendBool(b, v.Bool())
	case kindInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case kindFloat:
		return appendFloat(b, v.Float(), v.Type().Bits())
	case kindTime:
		return appendTime(b, v.Interface().(time.Time), p.format)
	case kindBlob:
		return base64.StdEncoding.AppendEncode(b, v.Bytes())
	}
	return b
}

func appendFloat(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(b, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(b, f, 'f', -1, bits)
}
