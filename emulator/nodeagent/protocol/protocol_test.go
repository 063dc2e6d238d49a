package protocol

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLedger(t *testing.T) {
	l := Ledger{Dir: filepath.Join(t.TempDir(), "sandboxes")}
	if all, err := l.List(); err != nil || len(all) != 0 {
		t.Errorf("before the first: %v, %v", all, err)
	}
	s := Sandbox{ContainerID: "c1", Namespace: "ns", Name: "web", UID: "u", IP: netip.MustParseAddr("10.0.0.7")}
	for range 2 {
		if err := l.Put(s); err != nil {
			t.Fatal(err)
		}
	}
	// A process that was killed in the middle.
	for name, text := range map[string]string{"c2.json.new": "{", "c3.json": "{"} {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff([]Sandbox{s}, all, same); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if err := l.Remove("c1"); err != nil {
			t.Error(err)
		}
	}
	if _, ok := l.Get("c1"); ok {
		t.Error("it is still there")
	}
	for _, id := range []string{"", "../x", "a/b", ".hidden", strings.Repeat("x", 200)} {
		if err := l.Put(Sandbox{ContainerID: id}); err == nil {
			t.Errorf("%q is a file", id)
		}
	}
}

func TestReadConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.json")
	for name, c := range map[string]struct{ text, want string }{
		"none":   {"", "not a node of ekslocal"},
		"half":   {"{", "node.json: unexpected end"},
		"no url": {"{}", "no url"},
		"whole":  {`{"url": "http://x", "privateIP": "10.0.0.5"}`, ""},
	} {
		if c.text != "" {
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			_ = os.Remove(file)
		}
		_, err := ReadConfig(file)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzLedgerGet: what is in a file makes nobody panic.
func FuzzLedgerGet(f *testing.F) {
	f.Add([]byte(`{"containerID":"c","ip":"10.0.0.1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l := Ledger{Dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(l.Dir, "c.json"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = l.Get("c")
	})
}

// TestNoProxy: the emulator is asked itself, whatever the node has for the Internet.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	err := NewClient("http://emulator.invalid").Call(t.Context(), Sandboxes, SandboxList{}, nil)
	if err == nil || strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("asked: %v", err)
	}
}
