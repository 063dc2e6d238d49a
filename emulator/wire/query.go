package wire

import (
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// formNode is one level of a form's dotted keys: A.1.B=x is A -> 1 -> B.
type formNode struct {
	value    string
	hasValue bool
	children map[string]*formNode
}

// parseForm makes the tree. Keys that nest deeper than any shape are dropped,
// as every other unknown key is.
func parseForm(form url.Values) *formNode {
	root := &formNode{}
	for key, values := range form {
		if len(values) == 0 || strings.Count(key, ".") > 2*maxDepth {
			continue
		}
		n := root
		for part := range strings.SplitSeq(key, ".") {
			child := n.children[part]
			if child == nil {
				if n.children == nil {
					n.children = map[string]*formNode{}
				}
				child = &formNode{}
				n.children[part] = child
			}
			n = child
		}
		n.value, n.hasValue = values[0], true
	}
	return root
}

// elements returns the numbered children in their order; gaps close up.
func (n *formNode) elements() []*formNode {
	type element struct {
		number int
		node   *formNode
	}
	es := make([]element, 0, len(n.children))
	for name, c := range n.children {
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && strconv.Itoa(i) == name {
			es = append(es, element{i, c})
		}
	}
	slices.SortFunc(es, func(a, b element) int { return a.number - b.number })
	nodes := make([]*formNode, len(es))
	for i, e := range es {
		nodes[i] = e.node
	}
	return nodes
}

// decodeQuery sets v from a form's node.
func (p *plan) decodeQuery(v reflect.Value, n *formNode, depth int) *DecodeError {
	if depth > maxDepth {
		return &DecodeError{Want: "a parameter of sane depth", Got: "a parameter nested too deeply"}
	}
	switch p.kind {
	case kindStruct:
		v = settable(v)
		for i := range p.fields {
			f := &p.fields[i]
			if c := n.children[f.wire]; c != nil {
				if err := f.decodeQuery(v.Field(f.index), c, depth+1); err != nil {
					return err.under(f.wire)
				}
			}
		}
	case kindUnion:
		return p.decodeQueryUnion(v, n, depth)
	case kindList:
		return p.decodeQueryList(v, n, depth)
	case kindMap:
		return p.decodeQueryMap(v, n, depth)
	case kindDocument:
	default:
		if !n.hasValue {
			return nil
		}
		return p.decodeText(v, n.value)
	}
	return nil
}

func (p *plan) decodeQueryUnion(v reflect.Value, n *formNode, depth int) *DecodeError {
	for i := range p.fields {
		f := &p.fields[i]
		c := n.children[f.wire]
		if c == nil {
			continue
		}
		if !v.IsNil() {
			return &DecodeError{Want: "a union of one member", Got: "a structure of several"}
		}
		x := reflect.New(f.variant)
		if err := f.decodeQuery(x.Elem().Field(f.index), c, depth+1); err != nil {
			return err.under(f.wire)
		}
		v.Set(x)
	}
	return nil
}

// decodeQueryList reads Name.1 and Name.member.1 alike: AWS takes both, and
// clients differ in what they flatten. "Name=" is an empty list.
func (p *plan) decodeQueryList(v reflect.Value, n *formNode, depth int) *DecodeError {
	if c := n.children[p.item]; c != nil {
		n = c
	}
	elements := n.elements()
	list := reflect.MakeSlice(v.Type(), len(elements), len(elements))
	for i, e := range elements {
		if err := p.elem.decodeQuery(list.Index(i), e, depth+1); err != nil {
			return err.under(strconv.Itoa(i + 1))
		}
	}
	v.Set(list)
	return nil
}

// decodeQueryMap reads Name.entry.1.key and Name.1.key alike.
func (p *plan) decodeQueryMap(v reflect.Value, n *formNode, depth int) *DecodeError {
	if c := n.children["entry"]; c != nil {
		n = c
	}
	elements := n.elements()
	m := reflect.MakeMapWithSize(v.Type(), len(elements))
	for _, e := range elements {
		key := e.children[p.key]
		if key == nil || !key.hasValue {
			continue
		}
		x := reflect.New(v.Type().Elem()).Elem()
		if value := e.children[p.value]; value != nil {
			if err := p.elem.decodeQuery(x, value, depth+1); err != nil {
				return err.under(key.value)
			}
		}
		m.SetMapIndex(reflect.ValueOf(key.value).Convert(v.Type().Key()), x)
	}
	v.Set(m)
	return nil
}
