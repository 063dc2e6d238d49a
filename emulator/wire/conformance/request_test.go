package conformance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// unbuildable are snapshots whose request a server with SDK types can't
// rebuild, with the reason.
var unbuildable = map[string]string{
	"ec2/CopySnapshot":   "DestinationRegion is an unexported field that the client fills in itself",
	"logs/GetLogObject":  eventStream,
	"logs/StartLiveTail": eventStream,
	"events/PutEvents":   "the client makes a host name of EndpointId, and the snapshot's is none",
}

// Every request that the SDK's own tests serialized is decoded by us, and the
// real client makes the very same request of what we decoded.
func TestRequestSnapshots(t *testing.T) {
	for id, s := range services {
		t.Run(id, func(t *testing.T) {
			var sent *http.Request
			var sentBody []byte
			client := s.newClient(func(r *http.Request) (*http.Response, error) {
				sent, sentBody = r, readBody(r)
				return nil, errCaptured
			})
			w, err := wire.Bind(s.model(), client)
			if err != nil {
				t.Fatal(err)
			}
			passed := 0
			for _, o := range w.Operations() {
				path := filepath.Join(moduleDir(t, id), "request_snapshot", o.Name+".request.snap")
				raw, err := os.ReadFile(path)
				if reason := unbuildable[id+"/"+o.Name]; reason != "" {
					t.Logf("%s skipped: %s", o.Name, reason)
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", o.Name, err)
					continue
				}
				want := parseSnapshot(t, raw)
				in := decodeSnapshot(t, w, o, want)
				if in == nil {
					continue
				}
				sent = nil
				if _, err := call(client, o.Name, in); sent == nil {
					t.Errorf("%s: the client refuses our input: %v", o.Name, err)
					continue
				}
				if diff := cmp.Diff(want.canonical(w.Model().Protocol), (&snapshot{sent, sentBody}).canonical(w.Model().Protocol)); diff != "" {
					t.Errorf("%s: decoded request differs (-SDK's +ours):\n%s", o.Name, diff)
					continue
				}
				passed++
			}
			t.Logf("%d of %d operations' snapshots reproduced", passed, len(w.Operations()))
		})
	}
}

type snapshot struct {
	*http.Request
	body []byte
}

// parseSnapshot reads "METHOD /path?query", an empty line, headers, an empty
// line and the body.
func parseSnapshot(t testing.TB, raw []byte) *snapshot {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(raw))
	first, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	method, target, _ := strings.Cut(strings.TrimSpace(first), " ")
	req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:4566"+target, nil)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	h, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("snapshot: %v", err)
	}
	req.Header = http.Header(h)
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return &snapshot{req, body}
}

// decodeSnapshot does what the gateway does with a request.
func decodeSnapshot(t testing.TB, w *wire.Service, o *wire.Operation, s *snapshot) any {
	t.Helper()
	r := &wire.Request{HTTP: s.Request, Body: s.body}
	switch w.Model().Protocol {
	case wire.Query, wire.EC2:
		form, err := url.ParseQuery(string(s.body))
		if err != nil {
			t.Errorf("%s: %v", o.Name, err)
			return nil
		}
		if form.Get("Action") != o.Name || form.Get("Version") != w.Model().APIVersion {
			t.Errorf("%s: Action %q, Version %q", o.Name, form.Get("Action"), form.Get("Version"))
		}
		r.Form = form
	case wire.RESTJSON:
		got, labels := w.Route(s.Method, s.URL.EscapedPath())
		if got != o {
			t.Errorf("%s: %s %s was routed to %v", o.Name, s.Method, s.URL.EscapedPath(), got)
			return nil
		}
		r.Labels = labels
	default:
		if target := s.Header.Get("X-Amz-Target"); target != w.Model().TargetPrefix+"."+o.Name {
			t.Errorf("%s: target %q", o.Name, target)
		}
	}
	in, err := w.Decode(o, r)
	if err != nil {
		t.Errorf("%s: %v", o.Name, err)
		return nil
	}
	return in
}

// canonical is what must be equal: method, path, query and the body's meaning.
func (s *snapshot) canonical(p wire.Protocol) map[string]any {
	c := map[string]any{"method": s.Method, "path": s.URL.EscapedPath(), "query": s.URL.Query()}
	switch p {
	case wire.Query, wire.EC2:
		form, err := url.ParseQuery(string(s.body))
		c["form"], c["form error"] = form, err
	default:
		var x any
		if len(bytes.TrimSpace(s.body)) > 0 {
			c["json error"] = json.Unmarshal(s.body, &x)
		}
		c["json"] = x
	}
	return c
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
