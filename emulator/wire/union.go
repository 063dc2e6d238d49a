package wire

import (
	"reflect"
	"strings"
)

// Union names the variants of one SDK union interface, which reflection alone
// can't find.
type Union struct {
	iface    reflect.Type
	variants map[string]reflect.Type // by member
}

// UnionOf lists the variants of the union I: pointers to the SDK's
// <Union>Member<Member> structs.
func UnionOf[I any](variants ...I) Union {
	u := Union{iface: reflect.TypeFor[I](), variants: map[string]reflect.Type{}}
	for _, v := range variants {
		t := reflect.TypeOf(v).Elem()
		u.variants[strings.TrimPrefix(t.Name(), u.iface.Name()+"Member")] = t
	}
	return u
}

// Unions lists the variants of the service's union interfaces, for tests that
// make values of every type.
func (m *Model) Unions() map[reflect.Type][]reflect.Type {
	us := make(map[reflect.Type][]reflect.Type, len(m.unions))
	for iface, variants := range m.unions {
		for _, v := range variants {
			us[iface] = append(us[iface], v)
		}
	}
	return us
}
