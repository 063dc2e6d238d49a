package conformance

import (
	"bytes"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// undecodable are outputs that the SDK itself can't read back, with the reason.
var undecodable = map[string]string{
	"logs/GetLogObject":  eventStream,
	"logs/StartLiveTail": eventStream,
}

const eventStream = "answers with an event stream, which the wire tables leave out"

// unrecorded are operations of which the SDK has no response snapshot, with the
// reason.
var unrecorded = map[string]string{
	"logs/GetLogObject":    eventStream,
	"logs/StartLiveTail":   eventStream,
	"sqs/ReceiveMessage":   "the client checks MD5 sums that no made-up answer has",
	"sqs/SendMessage":      "the client checks MD5 sums that no made-up answer has",
	"sqs/SendMessageBatch": "the client checks MD5 sums that no made-up answer has",
}

// sameValue tells go-cmp what two equal values may differ in: unexported
// fields and what the client adds about the transport.
var sameValue = cmp.Options{
	cmp.FilterPath(func(p cmp.Path) bool {
		f, ok := p.Last().(cmp.StructField)
		return ok && (f.Name() == "ResultMetadata" || f.Name() == "ErrorCodeOverride" || !isExported(f.Name()))
	}, cmp.Ignore()),
	cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
	cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }),
}

func isExported(name string) bool { return name[0] >= 'A' && name[0] <= 'Z' }

// Every operation's output, with every member set, is encoded by us and
// decoded by the real client to the same value.
func TestOutputs(t *testing.T) {
	for id, s := range services {
		t.Run(id, func(t *testing.T) {
			var status int
			var header http.Header
			var body []byte
			client := s.newClient(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
			})
			w, err := wire.Bind(s.model(), client)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range w.Operations() {
				if reason := undecodable[id+"/"+o.Name]; reason != "" {
					t.Logf("%s skipped: %s", o.Name, reason)
					continue
				}
				inType, outType := types(client, o.Name)
				for pick := range 3 { // no union of these services has more variants
					f := newFiller(w.Model(), pick)
					in, want := reflect.New(inType), reflect.New(outType)
					f.fill(in.Elem())
					f.fill(want.Elem())
					header = http.Header{}
					status, body = w.Encode(o, want.Interface(), header, "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE")
					got, err := call(client, o.Name, in.Interface())
					if err != nil {
						t.Errorf("%s: %v\n%.400s", o.Name, err, body)
						break
					}
					if diff := cmp.Diff(want.Interface(), got, sameValue); diff != "" {
						t.Errorf("%s: the client reads something else (-sent +read):\n%.1500s", o.Name, diff)
						break
					}
					if len(f.unions) == 0 {
						break
					}
				}
			}
		})
	}
}

// Empty outputs, nil slices and empty slices reach the client as what they are.
func TestEmptyOutputs(t *testing.T) {
	for id, s := range services {
		t.Run(id, func(t *testing.T) {
			var header http.Header
			var body []byte
			client := s.newClient(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
			})
			w, err := wire.Bind(s.model(), client)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range w.Operations() {
				if undecodable[id+"/"+o.Name] != "" {
					continue
				}
				inType, outType := types(client, o.Name)
				in := reflect.New(inType)
				newFiller(w.Model(), 0).fill(in.Elem())
				for _, empty := range []bool{false, true} {
					want := reflect.New(outType)
					for i := range outType.NumField() {
						if f := want.Elem().Field(i); empty && f.Kind() == reflect.Slice && f.CanSet() && f.Type().Elem().Kind() != reflect.Uint8 {
							f.Set(reflect.MakeSlice(f.Type(), 0, 0))
						}
					}
					header = http.Header{}
					_, body = w.Encode(o, want.Interface(), header, "id")
					got, err := call(client, o.Name, in.Interface())
					if err != nil {
						t.Errorf("%s: %v", o.Name, err)
						continue
					}
					if diff := cmp.Diff(want.Interface(), got, sameValue); diff != "" {
						t.Errorf("%s: (-sent +read):\n%s", o.Name, diff)
					}
				}
			}
		})
	}
}

// The response snapshots of the SDK modules that carry them: the client reads
// them and we write them again.
func TestResponseSnapshots(t *testing.T) {
	for _, id := range []string{"eks", "events", "kms", "logs", "sqs", "ssm"} {
		s := services[id]
		t.Run(id, func(t *testing.T) {
			var snap *http.Response
			client := s.newClient(func(r *http.Request) (*http.Response, error) {
				snap.Request = r
				return snap, nil
			})
			w, err := wire.Bind(s.model(), client)
			if err != nil {
				t.Fatal(err)
			}
			passed := 0
			for _, o := range w.Operations() {
				raw, err := os.ReadFile(filepath.Join(moduleDir(t, id), "response_snapshot", o.Name+".response.snap"))
				if reason := unrecorded[id+"/"+o.Name]; reason != "" {
					t.Logf("%s skipped: %s", o.Name, reason)
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", o.Name, err)
					continue
				}
				head, body, _ := strings.Cut(string(raw), "\n\n")
				snap = &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
				for _, line := range strings.Split(head, "\n")[1:] {
					k, v, _ := strings.Cut(line, ": ")
					snap.Header.Set(k, v)
				}
				inType, _ := types(client, o.Name)
				in := reflect.New(inType)
				newFiller(w.Model(), 0).fill(in.Elem())
				out, err := call(client, o.Name, in.Interface())
				if err != nil {
					t.Errorf("%s: %v", o.Name, err)
					continue
				}
				_, got := w.Encode(o, out, http.Header{}, "id")
				if body == "" {
					body = "{}"
				}
				want := (&snapshot{&http.Request{URL: mustURL("/")}, []byte(body)}).canonical(wire.RESTJSON)
				if diff := cmp.Diff(want, (&snapshot{&http.Request{URL: mustURL("/")}, got}).canonical(wire.RESTJSON)); diff != "" {
					t.Errorf("%s: (-SDK's +ours):\n%.1500s", o.Name, diff)
					continue
				}
				passed++
			}
			t.Logf("%d of %d operations' snapshots reproduced", passed, len(w.Operations()))
		})
	}
}
