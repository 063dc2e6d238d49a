package embedded

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func connPair(t *testing.T) (a, b *Conn) {
	t.Helper()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	if a, err = NewConn(ours); err != nil {
		t.Fatal(err)
	}
	if b, err = NewConn(theirs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestConnCarriesMessagesInOrder(t *testing.T) {
	a, b := connPair(t)
	big := strings.Repeat("x", 100_000) // more than one read
	sent := []Message{{Kind: Boot, Plan: &Plan{ID: "1", Dir: big}}, {Kind: Failed, Error: "a\nb"}, {Kind: Drain}}
	errs := make(chan error, 1)
	go func() {
		var err error
		for _, m := range sent {
			err = errors.Join(err, a.Send(m, -1))
		}
		errs <- err
	}()
	for _, want := range sent {
		got, f, err := b.Receive()
		if err != nil || f != nil {
			t.Fatalf("Receive: %v, file %v", err, f)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("message (-want +got):\n%s", diff)
		}
	}
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func TestConnHandsOverAListener(t *testing.T) {
	a, b := connPair(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	s, err := detach(l.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, m := range []Message{{Kind: StopControllers}, {Kind: Serve, HasFile: true}, {Kind: Drain}} {
		fd := -1
		if m.HasFile {
			fd = s.fd
		}
		if err := a.Send(m, fd); err != nil {
			t.Fatal(err)
		}
	}
	var file *os.File
	for _, want := range []Kind{StopControllers, Serve, Drain} {
		m, f, err := b.Receive()
		if err != nil || m.Kind != want || (f != nil) != (want == Serve) {
			t.Fatalf("received %q with file %v, error %v; want %q", m.Kind, f, err, want)
		}
		if f != nil {
			file = f
		}
	}
	got, err := net.FileListener(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if got.Addr().String() != addr {
		t.Errorf("listener at %s, want %s", got.Addr(), addr)
	}
	go func() {
		if c, err := got.Accept(); err == nil {
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if text, err := io.ReadAll(c); string(text) != "hello" {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestConnEndsWithTheOtherSide(t *testing.T) {
	a, b := connPair(t)
	a.Close()
	if m, _, err := b.Receive(); err == nil {
		t.Errorf("received %v from a closed connection", m)
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"Kind":"serve"}` + "\n"))
	f.Add([]byte(`{"Kind":"serve","HasFile":true}` + "\n"))
	f.Add([]byte("\n\n{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ours, theirs, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewConn(theirs)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() { _, _ = ours.Write(text); ours.Close() }()
		for {
			if _, _, err := c.Receive(); err != nil {
				return
			}
		}
	})
}
