package wire

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

type kind uint8

const (
	kindString kind = iota
	kindBool
	kindInt
	kindFloat
	kindTime
	kindBlob
	kindList
	kindMap
	kindStruct
	kindUnion
	kindDocument // untyped JSON: neither read nor written
)

// plan says how one Go type goes over the wire. Plans are compiled once from a
// shape and a type, may refer to themselves, and never change afterwards.
type plan struct {
	kind   kind
	format timeFormat
	fields []field           // struct: its members; union: its variants
	byName map[string]*field // the body members of fields by wire name
	elem   *plan             // list and map
	item   string            // the list element's name in XML and queries
	key    string            // the map's key name in XML and queries
	value  string            // the map's value name
}

// field is a member of a structure or union.
type field struct {
	*plan
	name    string // Go field
	wire    string
	index   int
	binding binding
	flat    bool         // a list or map without an element of its own around it
	variant reflect.Type // union only: the struct whose field Value is the member
}

// binding is where rest-json puts a member.
type binding uint8

const (
	inBody binding = iota
	inLabel
	inQuery
	inQueryParams
	inHeader
	inPrefixHeaders
	inPayload
	inStatus
)

var bindings = map[string]binding{"label": inLabel, "query": inQuery, "queryparams": inQueryParams, "header": inHeader,
	"headers": inPrefixHeaders, "payload": inPayload, "status": inStatus}

type planKey struct {
	dir   direction
	shape string
	typ   reflect.Type
	// format distinguishes lists of timestamps, whose shape alone does not say.
	format timeFormat
}

var timeType = reflect.TypeFor[time.Time]()

// compile returns the plan of Go type t for a shape; "" is a scalar's.
func (m *Model) compile(dir direction, shapeName string, t reflect.Type) (*plan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plan(dir, shapeName, t, 0)
}

func (m *Model) plan(dir direction, shapeName string, t reflect.Type, format timeFormat) (*plan, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if format == 0 {
		format = m.times
	}
	k := planKey{dir, shapeName, t, format}
	if p := m.plans[k]; p != nil {
		return p, nil
	}
	p := &plan{format: format}
	m.plans[k] = p
	if err := m.fill(p, k); err != nil {
		delete(m.plans, k) // a later Bind must fail as well
		return nil, err
	}
	return p, nil
}

func (m *Model) fill(p *plan, k planKey) error {
	t := k.typ
	var s shape
	if k.shape != "" {
		var err error
		if s, err = m.shape(k.dir, k.shape); err != nil {
			return err
		}
	}
	mismatch := func() error {
		return fmt.Errorf("wire table %s: shape %q (%s) does not fit Go type %v", m.ID, k.shape, s.kind, t)
	}
	switch t.Kind() {
	case reflect.String:
		p.kind = kindString
	case reflect.Bool:
		p.kind = kindBool
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.kind = kindInt
	case reflect.Float32, reflect.Float64:
		p.kind = kindFloat
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			p.kind = kindBlob
			return nil
		}
		return m.fillList(p, k, s)
	case reflect.Map:
		return m.fillMap(p, k, s)
	case reflect.Interface:
		if s.kind != "union" {
			return mismatch()
		}
		return m.fillUnion(p, k, s)
	case reflect.Struct:
		if t == timeType {
			p.kind = kindTime
			return nil
		}
		if s.kind != "struct" && k.shape != "" {
			return mismatch()
		}
		return m.fillStruct(p, k, s)
	default:
		return mismatch()
	}
	if k.shape != "" {
		return mismatch()
	}
	return nil
}

func (m *Model) fillList(p *plan, k planKey, s shape) (err error) {
	x := shapeMember{wire: "member"}
	if s.kind == "list" {
		x = s.members[0]
	} else if k.shape != "" {
		return fmt.Errorf("wire table %s: shape %s is a %s, not a list", m.ID, k.shape, s.kind)
	}
	p.kind, p.item = kindList, x.wire
	p.elem, err = m.plan(k.dir, x.target, k.typ.Elem(), x.timeFormat())
	return err
}

func (m *Model) fillMap(p *plan, k planKey, s shape) (err error) {
	key, value := shapeMember{wire: "key"}, shapeMember{wire: "value"}
	if s.kind == "map" {
		key, value = s.members[0], s.members[1]
	} else if k.shape != "" {
		return fmt.Errorf("wire table %s: shape %s is a %s, not a map", m.ID, k.shape, s.kind)
	}
	if k.typ.Key().Kind() != reflect.String {
		return fmt.Errorf("wire table %s: map %s has keys of type %v", m.ID, k.shape, k.typ.Key())
	}
	p.kind, p.key, p.value = kindMap, key.wire, value.wire
	p.elem, err = m.plan(k.dir, value.target, k.typ.Elem(), value.timeFormat())
	return err
}

// fillStruct pairs the shape's members with the type's fields: all of both,
// since a field that the table does not know would silently stay off the wire.
func (m *Model) fillStruct(p *plan, k planKey, s shape) error {
	p.kind = kindStruct
	p.fields = make([]field, 0, len(s.members))
	known := make(map[string]bool, len(s.members))
	for _, x := range s.members {
		sf, ok := k.typ.FieldByName(x.field)
		if !ok || !sf.IsExported() || len(sf.Index) != 1 {
			return fmt.Errorf("wire table %s: %s.%s is not a field of %v", m.ID, k.shape, x.field, k.typ)
		}
		f := field{name: x.field, wire: x.wire, index: sf.Index[0], flat: slices.Contains(x.options, "flat"), binding: x.binding()}
		if err := m.fillField(&f, k.dir, x, sf.Type); err != nil {
			return fmt.Errorf("%s: %w", x.field, err)
		}
		p.fields, known[x.field] = append(p.fields, f), true
	}
	isError := reflect.PointerTo(k.typ).Implements(errorType)
	for i := range k.typ.NumField() {
		f := k.typ.Field(i)
		if !f.IsExported() || known[f.Name] || f.Name == "ResultMetadata" {
			continue
		}
		// The SDK gives these fields to every error, modelled or not.
		if !isError || f.Name != "Message" && f.Name != "ErrorCodeOverride" {
			return fmt.Errorf("wire table %s: %v.%s is not in shape %s", m.ID, k.typ, f.Name, k.shape)
		}
	}
	p.index()
	return nil
}

func (m *Model) fillUnion(p *plan, k planKey, s shape) error {
	p.kind = kindUnion
	for _, x := range s.members {
		t := m.unions[k.typ][x.field]
		if t == nil {
			return fmt.Errorf("wire table %s: union %v has no variant for member %s", m.ID, k.typ, x.field)
		}
		sf, ok := t.FieldByName("Value")
		if !ok {
			return fmt.Errorf("wire table %s: %v has no field Value", m.ID, t)
		}
		f := field{name: x.field, wire: x.wire, index: sf.Index[0], variant: t, flat: slices.Contains(x.options, "flat")}
		if err := m.fillField(&f, k.dir, x, sf.Type); err != nil {
			return fmt.Errorf("%s: %w", x.field, err)
		}
		p.fields = append(p.fields, f)
	}
	p.index()
	return nil
}

func (m *Model) fillField(f *field, dir direction, x shapeMember, t reflect.Type) (err error) {
	if slices.Contains(x.options, "document") {
		f.plan = &plan{kind: kindDocument}
		return nil
	}
	format := x.timeFormat()
	if format == 0 && (f.binding == inHeader || f.binding == inPrefixHeaders) {
		format = httpDate
	}
	if format == 0 && (f.binding == inLabel || f.binding == inQuery) {
		format = isoAuto
	}
	f.plan, err = m.plan(dir, x.target, t, format)
	return err
}

func (p *plan) index() {
	p.byName = make(map[string]*field, len(p.fields))
	for i := range p.fields {
		if f := &p.fields[i]; f.binding == inBody {
			p.byName[f.wire] = f
		}
	}
}

func (x shapeMember) binding() binding {
	for _, o := range x.options {
		if b, ok := bindings[o]; ok {
			return b
		}
	}
	return inBody
}

func (x shapeMember) timeFormat() timeFormat {
	for _, o := range x.options {
		switch o {
		case "epoch":
			return epochSeconds
		case "iso":
			return isoAuto
		case "http":
			return httpDate
		}
	}
	return 0
}

// settable allocates the pointers of v and returns the value behind them.
func settable(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	return v
}

// present returns the value of a member without its pointers, and whether it
// goes on the wire: nil and, as enums have no pointer, "" mean absent.
func present(v reflect.Value) (reflect.Value, bool) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return v, false
		}
		v = v.Elem()
		if v.Kind() == reflect.String {
			return v, true
		}
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Interface:
		return v, !v.IsNil()
	case reflect.String:
		return v, v.Len() > 0
	}
	return v, true
}
