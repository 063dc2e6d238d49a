package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

// step is one step of a JSON path: a name, or an index.
type step struct {
	name  string
	index int // -1: a name
}

var errPath = errors.New("not a JSON path")

// parsePath takes the subset of JSON path that EventBridge has: $, .name, ['name']
// and [n].
func parsePath(p string) ([]step, error) {
	rest, ok := strings.CutPrefix(p, "$")
	if !ok {
		return nil, errPath
	}
	var out []step
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "['"):
			name, after, ok := strings.Cut(rest[2:], "']")
			if !ok {
				return nil, errPath
			}
			out, rest = append(out, step{name, -1}), after
		case rest[0] == '[':
			text, after, ok := strings.Cut(rest[1:], "]")
			n, err := strconv.Atoi(text)
			if !ok || err != nil || n < 0 {
				return nil, errPath
			}
			out, rest = append(out, step{"", n}), after
		case rest[0] == '.':
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			if end == 0 {
				return nil, errPath
			}
			out, rest = append(out, step{rest[1 : 1+end], -1}), rest[1+end:]
		default:
			return nil, errPath
		}
	}
	return out, nil
}

// lookup follows a path through JSON; nil if it leads nowhere.
func lookup(event []byte, path string) json.RawMessage {
	steps, err := parsePath(path)
	if err != nil {
		return nil
	}
	at := json.RawMessage(event)
	for _, s := range steps {
		if s.index >= 0 {
			var list []json.RawMessage
			if json.Unmarshal(at, &list) != nil || s.index >= len(list) {
				return nil
			}
			at = list[s.index]
			continue
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(at, &object) != nil || object[s.name] == nil {
			return nil
		}
		at = object[s.name]
	}
	return at
}

// predefined are the variables that templates may use without a path.
var predefined = []string{"aws.events.rule-arn", "aws.events.rule-name", "aws.events.event.ingestion-time", "aws.events.event", "aws.events.event.json"}

var placeholder = regexp.MustCompile(`<([A-Za-z0-9._-]+)>`)

func placeholders(template string) []string {
	var out []string
	for _, m := range placeholder.FindAllStringSubmatch(template, -1) {
		out = append(out, m[1])
	}
	return out
}

// message is what a target gets of an event.
func (r *rule) message(t types.Target, event []byte, now time.Time) string {
	switch {
	case t.Input != nil:
		return *t.Input
	case t.InputPath != nil:
		return string(lookup(event, *t.InputPath))
	case t.InputTransformer != nil:
		return r.transform(t.InputTransformer, event, now)
	}
	return string(event)
}

// transform fills a template. Inside quotes values become part of the string;
// elsewhere they stay JSON, as strings do with their quotes. A template that is no
// JSON is text, in which strings have none.
func (r *rule) transform(x *types.InputTransformer, event []byte, now time.Time) string {
	template := *x.InputTemplate
	text := !strings.ContainsAny(strings.TrimSpace(template)[:min(1, len(strings.TrimSpace(template)))], `{["`)
	var out strings.Builder
	quoted := false
	for at := 0; at < len(template); {
		c := template[at]
		if c == '\\' && at+1 < len(template) {
			out.WriteString(template[at : at+2])
			at += 2
			continue
		}
		if c == '"' {
			quoted = !quoted
		}
		m := placeholder.FindStringSubmatch(template[at:])
		if c != '<' || m == nil || !strings.HasPrefix(template[at:], m[0]) {
			out.WriteByte(c)
			at++
			continue
		}
		at += len(m[0])
		v := r.variable(x, m[1], event, now)
		var s string
		switch isString := json.Unmarshal(v, &s) == nil; {
		case isString && (quoted || text):
			if !text {
				s = string(v[1 : len(v)-1]) // escaped as it was
			}
			out.WriteString(s)
		case quoted:
			b, err := json.Marshal(string(v))
			if err == nil {
				out.Write(b[1 : len(b)-1])
			}
		default:
			out.Write(v)
		}
	}
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(out.String())) == nil {
		return compact.String()
	}
	return out.String()
}

// variable is a placeholder's value as JSON; of a path that leads nowhere it is
// empty.
func (r *rule) variable(x *types.InputTransformer, name string, event []byte, now time.Time) json.RawMessage {
	text := ""
	switch name {
	case "aws.events.rule-arn":
		text = r.arn()
	case "aws.events.rule-name":
		text = r.Name
	case "aws.events.event.ingestion-time":
		text = now.Format("2006-01-02T15:04:05Z")
	case "aws.events.event", "aws.events.event.json":
		return event
	default:
		return bytes.TrimSpace(lookup(event, x.InputPathsMap[name]))
	}
	b, err := json.Marshal(text)
	if err != nil {
		return nil // strings always have a JSON form
	}
	return b
}
