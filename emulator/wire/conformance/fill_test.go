package conformance

import (
	"fmt"
	"reflect"
	"time"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// filler makes values with every member set, so that no two members of a
// structure are equal and a mix-up shows.
type filler struct {
	serial int
	unions map[reflect.Type][]reflect.Type
	pick   int // which variant of a union

	entered map[reflect.Type]bool // the structures on the path
}

// fill sets v and all below it. A type that contains itself is filled once on
// each path.
func (f *filler) fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !f.entered[v.Type().Elem()] {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem())
		}
	case reflect.Struct:
		f.fillStruct(v)
	case reflect.Slice:
		f.fillSlice(v)
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		for _, k := range []string{"key", "odd <&'\" é> key"} {
			e := reflect.New(v.Type().Elem()).Elem()
			f.fill(e)
			m.SetMapIndex(reflect.ValueOf(k).Convert(v.Type().Key()), e)
		}
		v.Set(m)
	case reflect.Interface:
		if vs := f.unions[v.Type()]; len(vs) > 0 {
			x := reflect.New(vs[f.pick%len(vs)])
			f.fill(x.Elem())
			v.Set(x)
		}
	case reflect.String:
		f.serial++
		v.SetString(fmt.Sprintf("text <&\"'> é\n %d", f.serial))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		f.serial++
		v.SetInt(int64(f.serial % 100))
	case reflect.Float32, reflect.Float64:
		f.serial++
		v.SetFloat(float64(f.serial) + 0.5)
	}
}

// unfilled are fields that are not the wire's, and PutEvents' EndpointId, out of
// which the client makes a host name.
var unfilled = map[string]bool{"ResultMetadata": true, "ErrorCodeOverride": true, "EndpointId": true}

func (f *filler) fillStruct(v reflect.Value) {
	t := v.Type()
	if t == reflect.TypeFor[time.Time]() {
		f.serial++
		v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 4, 19, 35, 0, time.UTC).Add(time.Duration(f.serial) * time.Second)))
		return
	}
	f.entered[t] = true
	defer delete(f.entered, t)
	for i := range v.NumField() {
		if sf := t.Field(i); sf.IsExported() && !unfilled[sf.Name] {
			f.fill(v.Field(i))
		}
	}
}

func (f *filler) fillSlice(v reflect.Value) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		f.serial++
		v.SetBytes([]byte{0, 255, '<', byte(f.serial)})
		return
	}
	if f.entered[v.Type().Elem()] {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 2, 2))
	for i := range 2 {
		f.fill(v.Index(i))
	}
}

func newFiller(m *wire.Model, pick int) *filler {
	return &filler{unions: m.Unions(), pick: pick, entered: map[reflect.Type]bool{}}
}
