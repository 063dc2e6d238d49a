package pattern

// Match tells whether an event, a JSON object, has what the pattern asks for.
func (p *Pattern) Match(event []byte) bool {
	v, err := decode(string(event))
	return err == nil && v.kind == kindObject && p.root.match(&v)
}

// IsObject tells whether text is a JSON object that has all the names.
func IsObject(text string, names ...string) bool {
	v, err := decode(text)
	if err != nil || v.kind != kindObject {
		return false
	}
	for _, n := range names {
		if _, ok := v.get(n); !ok {
			return false
		}
	}
	return true
}

func (o *object) match(v *value) bool {
	for _, alternatives := range o.ors {
		ok := false
		for _, a := range alternatives {
			ok = ok || a.match(v)
		}
		if !ok {
			return false
		}
	}
	for _, f := range o.fields {
		var sub *value
		if v != nil && v.kind == kindObject {
			if m, ok := v.get(f.name); ok {
				sub = &m
			}
		}
		if f.nested != nil {
			if !f.nested.matchNested(sub) {
				return false
			}
		} else if !matchLeaf(f.any, sub) {
			return false
		}
	}
	return true
}

// matchNested matches an object, or any of an array's objects. Of what is not
// there, only patterns that ask for absence hold.
func (o *object) matchNested(v *value) bool {
	if v == nil || v.kind != kindArray {
		return o.match(v)
	}
	for i := range v.items {
		if o.matchNested(&v.items[i]) {
			return true
		}
	}
	return false
}

// matchLeaf matches a value, or any element of an array. An object is no value.
func matchLeaf(any []matcher, v *value) bool {
	if v != nil && v.kind == kindObject || v != nil && v.kind == kindArray && len(v.items) == 0 {
		v = nil
	}
	if v != nil && v.kind == kindArray {
		for i := range v.items {
			if matchLeaf(any, &v.items[i]) {
				return true
			}
		}
		return false
	}
	for _, m := range any {
		if m(v) {
			return true
		}
	}
	return false
}
