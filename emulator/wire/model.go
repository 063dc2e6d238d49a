// Package wire is the server side of the AWS wire protocols: it decodes
// requests into SDK input types and encodes SDK outputs and errors, driven by
// wire tables and reflection, and knows no service.
package wire

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Protocol is the AWS protocol that a service speaks.
type Protocol string

// The protocols that this package serves.
const (
	RESTJSON Protocol = "rest-json"
	JSON10   Protocol = "json-1.0"
	JSON11   Protocol = "json-1.1"
	Query    Protocol = "query"
	EC2      Protocol = "ec2"
)

// Model is one service's wire table. Operations are known from the start,
// shapes are parsed when a plan first needs them: EC2 alone has thousands.
type Model struct {
	ID           string // the emulator's name of the service: "eks"
	ServiceID    string // the SDK's: "EKS"
	SigningName  string // the service in a SigV4 credential scope
	TargetPrefix string // of X-Amz-Target, JSON protocols only
	APIVersion   string
	XMLNamespace string // of responses, query and EC2 protocols only
	Protocol     Protocol

	times           timeFormat // of timestamps without a format of their own
	queryCompatible bool       // JSON errors also name their query code in a header
	ops             []opInfo
	errors          map[string]errorInfo // by Go type
	shapes          map[shapeKey]string  // unparsed lines
	unions          map[reflect.Type]map[string]reflect.Type

	mu    sync.Mutex
	plans map[planKey]*plan
}

type opInfo struct {
	name, in, out, wrapper string
	method, uri            string
	status                 int
}

type errorInfo struct {
	shape, code string
	status      int
}

// direction tells request shapes from response shapes: EC2 names the same
// structure's members differently in each.
type direction uint8

const (
	request direction = iota
	response
)

type shapeKey struct {
	dir  direction
	name string
}

// shape is one parsed line of the table.
type shape struct {
	kind    string // struct, list, map, union
	members []shapeMember
}

type shapeMember struct {
	field, wire, target string
	options             []string
}

// Parse reads a table as cmd/wiregen writes it: a line "key value" for each
// fact about the service, then
//
//	op Name [http=METHOD:STATUS:/uri] [in=Shape] [out=Shape] [wrap=Element]
//	error GoType shape=Shape [code=Code] [status=404]
//	in|out|io Shape struct|union member...
//	in|out|io Shape list element
//	in|out|io Shape map key value
//
// where a member is [GoField=]wireName[:TargetShape][!option]... and the
// options are flat, epoch, iso, http, document and rest-json's bindings.
func Parse(table string, unions ...Union) (*Model, error) {
	m := &Model{
		errors: map[string]errorInfo{}, shapes: make(map[shapeKey]string, strings.Count(table, "\n")),
		unions: map[reflect.Type]map[string]reflect.Type{}, plans: map[planKey]*plan{},
	}
	for _, u := range unions {
		m.unions[u.iface] = u.variants
	}
	times := ""
	for line := range strings.Lines(table) {
		line = strings.TrimSuffix(line, "\n")
		key, rest, _ := strings.Cut(line, " ")
		switch key {
		case "", "#":
		case "id":
			m.ID = rest
		case "service":
			m.ServiceID = rest
		case "signing":
			m.SigningName = rest
		case "protocol":
			m.Protocol = Protocol(rest)
		case "version":
			m.APIVersion = rest
		case "target":
			m.TargetPrefix = rest
		case "namespace":
			m.XMLNamespace = rest
		case "times":
			times = rest
		case "querycompatible":
			m.queryCompatible = true
		case "op":
			o, err := parseOp(rest)
			if err != nil {
				return nil, err
			}
			m.ops = append(m.ops, o)
		case "error":
			if err := m.parseError(rest); err != nil {
				return nil, err
			}
		case "in", "out", "io":
			name, def, ok := strings.Cut(rest, " ")
			if !ok {
				return nil, fmt.Errorf("wire table: shape without a definition: %q", line)
			}
			if key != "out" {
				m.shapes[shapeKey{request, name}] = def
			}
			if key != "in" {
				m.shapes[shapeKey{response, name}] = def
			}
		default:
			return nil, fmt.Errorf("wire table: unknown line %q", line)
		}
	}
	return m, m.finish(times)
}

// finish checks what the lines say together.
func (m *Model) finish(times string) error {
	switch m.Protocol {
	case RESTJSON, JSON10, JSON11:
		m.times = epochSeconds
	case Query, EC2:
		f, ok := map[string]timeFormat{"": isoAuto, "seconds": isoSeconds, "millis": isoMillis}[times]
		if !ok {
			return fmt.Errorf("wire table %s: unknown time format %q", m.ID, times)
		}
		m.times = f
	default:
		return fmt.Errorf("wire table %s: unknown protocol %q", m.ID, m.Protocol)
	}
	slices.SortFunc(m.ops, func(a, b opInfo) int { return strings.Compare(a.name, b.name) })
	return nil
}

// MustParse is Parse for generated tables, which a test checks.
func MustParse(table string, unions ...Union) *Model {
	m, err := Parse(table, unions...)
	if err != nil {
		panic(err)
	}
	return m
}

func parseOp(line string) (opInfo, error) {
	words := strings.Split(line, " ")
	o := opInfo{name: words[0], status: 200}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "in":
			o.in = v
		case "out":
			o.out = v
		case "wrap":
			o.wrapper = v
		case "http":
			p := strings.SplitN(v, ":", 3)
			if len(p) != 3 {
				return o, fmt.Errorf("wire table: operation %s: bad http binding %q", o.name, v)
			}
			status, err := strconv.Atoi(p[1])
			if err != nil {
				return o, fmt.Errorf("wire table: operation %s: %w", o.name, err)
			}
			o.method, o.status, o.uri = p[0], status, p[2]
		default:
			return o, fmt.Errorf("wire table: operation %s: unknown word %q", o.name, w)
		}
	}
	return o, nil
}

func (m *Model) parseError(line string) error {
	words := strings.Split(line, " ")
	var e errorInfo
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "shape":
			e.shape = v
		case "code":
			e.code = v
		case "status":
			n, err := strconv.Atoi(v)
			if err != nil {
				return fmt.Errorf("wire table: error %s: %w", words[0], err)
			}
			e.status = n
		default:
			return fmt.Errorf("wire table: error %s: unknown word %q", words[0], w)
		}
	}
	m.errors[words[0]] = e
	return nil
}

// shape parses a shape's line.
func (m *Model) shape(dir direction, name string) (shape, error) {
	def, ok := m.shapes[shapeKey{dir, name}]
	if !ok {
		return shape{}, fmt.Errorf("wire table %s: no shape %q", m.ID, name)
	}
	words := strings.Split(def, " ")
	s := shape{kind: words[0], members: make([]shapeMember, 0, len(words)-1)}
	for _, w := range words[1:] {
		s.members = append(s.members, parseMember(w))
	}
	want := map[string]int{"list": 1, "map": 2, "struct": len(s.members), "union": len(s.members)}
	if n, ok := want[s.kind]; !ok || n != len(s.members) {
		return shape{}, fmt.Errorf("wire table %s: bad shape %s: %q", m.ID, name, def)
	}
	return s, nil
}

func parseMember(word string) shapeMember {
	var x shapeMember
	if name, options, ok := strings.Cut(word, "!"); ok {
		word, x.options = name, strings.Split(options, "!")
	}
	word, x.target, _ = strings.Cut(word, ":")
	if field, wire, ok := strings.Cut(word, "="); ok {
		x.field, x.wire = field, wire
		return x
	}
	x.wire = word
	if word != "" { // SDK names are ASCII
		x.field = strings.ToUpper(word[:1]) + word[1:]
	}
	return x
}
