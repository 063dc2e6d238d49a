package kind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

const (
	supervisedID = "0123456789abcdef0123456789abcdef"
	superviseeID = "i-0123456789abcdef0"
)

// scriptedEngine is an engine whose containers are files that say "true" or "false": whether
// they run. It is down while there is a file down, and starts nothing while there is a file
// refuse.
const scriptedEngine = `
if [ -e $S/down ]; then echo "Cannot connect to the Docker daemon. Is it running?" >&2; exit 1; fi
name() { n=${1##*/}; c=${n%-control-plane}; c=${c%-i-*}; i=${n#$c-}; [ $i != control-plane ] || i=; }
case "$*" in
events*) echo listens >>$S/log; exec tail -n +1 -f $S/events;;
container*)
	if [ ! -e $S/c/$3 ]; then echo "Error response from daemon: No such container: $3" >&2; exit 1; fi
	echo "[{\"Name\":\"/$3\",\"State\":{\"Running\":$(cat $S/c/$3)}}]";;
start*)
	shift
	for n; do
		if [ -e $S/refuse ]; then echo refused >>$S/log; echo "driver failed: port is already allocated" >&2; exit 1; fi
		echo true >$S/c/$n; echo "started $n" >>$S/log
	done;;
ps*.Names*) ls $S/c;;
ps*.State*) for f in $S/c/*-i-*; do name $f; if [ $(cat $f) = true ]; then echo $i running; else echo $i exited; fi; done;;
ps*) for f in $S/c/*; do name $f; if [ $(cat $f) = true ]; then echo $c $i; fi; done;;
esac
`

// supervision is a control plane with a machine under supervision.
type supervision struct {
	t     *testing.T
	dir   string // the engine's
	clock *testclock.FakeClock
	b     *Backend
	p     *plane
	log   *lockedBuffer

	mu    sync.Mutex
	ended []string
	fails int // so many times EC2 cannot be told
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSupervision(t *testing.T) *supervision {
	t.Helper()
	s := &supervision{t: t, dir: t.TempDir(), clock: testclock.NewFakeClock(time.Now()), log: &lockedBuffer{}}
	if err := os.Mkdir(filepath.Join(s.dir, "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("events", "")
	s.container(nodeName(supervisedID), "true")
	s.container(machineName(supervisedID, superviseeID), "true")
	fakeDocker(t, "S="+s.dir+scriptedEngine)
	b, err := New(Config{
		RunDir: t.TempDir(), Authenticator: table{}, Clock: s.clock, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		Ended: func(_ context.Context, _, instance string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ended = append(s.ended, instance)
			if len(s.ended) <= s.fails {
				return errors.New("the store is gone")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.b = b
	if s.p, err = b.plane(supervisedID); err != nil {
		t.Fatal(err)
	}
	s.p.running = true
	g, leave, err := s.p.enter(t.Context(), superviseeID)
	if err != nil {
		t.Fatal(err)
	}
	g.joined(controlplane.Machine{InstanceID: superviseeID})
	leave()
	ctx, cancel := context.WithCancel(t.Context())
	b.background.Go(func() { b.supervise(ctx) })
	t.Cleanup(func() {
		cancel()
		b.background.Wait()
	})
	s.until("it listens", func() bool { return strings.Contains(s.read("log"), "listens") })
	return s
}

func (s *supervision) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *supervision) container(name, running string) { s.write("c/"+name, running+"\n") }

func (s *supervision) remove(name string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *supervision) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(s.dir, name)) // none: nothing
	return string(b)
}

func (s *supervision) runs(name string) bool { return strings.Contains(s.read("c/"+name), "true") }

// event is one of the engine's, of the control plane or of an instance's machine.
func (s *supervision) event(action, instance, more string) {
	s.t.Helper()
	name := nodeName(supervisedID)
	if instance != "" {
		name = machineName(supervisedID, instance)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "events"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, `{"Action":%q,"Actor":{"Attributes":{"name":%q,%q:%q,%q:%q,"more":%q}}}`+"\n",
		action, name, labelCluster, clusterName(supervisedID), labelInstance, instance, more)
}

// until lets time pass until something is so.
func (s *supervision) until(what string, so func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waiting until %s; the engine: %s; the log: %s", what, s.read("log"), s.log)
		}
		s.clock.Step(500 * time.Millisecond)
	}
}

func (s *supervision) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ended)
}

// TestStartIsTriedAgain: an engine that does not start a container at once is asked again,
// by one who asks and not by many.
func TestStartIsTriedAgain(t *testing.T) {
	s := newSupervision(t)
	s.write("refuse", "")
	s.container(nodeName(supervisedID), "false")
	s.container(machineName(supervisedID, superviseeID), "false")
	for range 5 {
		s.event("die", "", "")
	}
	s.until("it was tried three times", func() bool { return strings.Count(s.read("log"), "refused") >= 3 })
	if n := strings.Count(s.log.String(), "starting it again"); n > strings.Count(s.read("log"), "refused") {
		t.Errorf("%d tries at once", n)
	}
	s.remove("refuse")
	s.until("both run", func() bool {
		return s.runs(nodeName(supervisedID)) && s.runs(machineName(supervisedID, superviseeID))
	})
	if told := s.told(); len(told) > 0 {
		t.Errorf("EC2 is told of %s, which ended with its control plane", told)
	}
}

// TestLostEvent: what the engine does not tell is seen all the same.
func TestLostEvent(t *testing.T) {
	s := newSupervision(t)
	s.container(nodeName(supervisedID), "false")
	s.until("the control plane runs again, and nobody sees to it any more", func() bool {
		s.p.care.mu.Lock()
		defer s.p.care.mu.Unlock()
		return s.runs(nodeName(supervisedID)) && !s.p.care.given
	})
	s.mu.Lock()
	s.fails = 1
	s.mu.Unlock()
	s.container(machineName(supervisedID, superviseeID), "false")
	s.until("EC2 is told of the machine, and once more after an error", func() bool { return len(s.told()) == 2 })
	s.until("the machine need not run", func() bool { _, runs := s.p.guest(superviseeID).seen(); return !runs })
	if s.runs(machineName(supervisedID, superviseeID)) {
		t.Error("a machine that ended by itself is started again")
	}
}

// TestLongEvent: an event of any length, and one of another form, are followed by others.
func TestLongEvent(t *testing.T) {
	s := newSupervision(t)
	s.event("kill", superviseeID, strings.Repeat("x", 1<<20))
	f, err := os.OpenFile(filepath.Join(s.dir, "events"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, `{"Action":{"of":"another form"}}`)
	f.Close()
	s.container(machineName(supervisedID, superviseeID), "false")
	s.event("die", superviseeID, "")
	stepped := s.clock.Now()
	s.until("EC2 is told", func() bool { return len(s.told()) == 1 })
	if strings.Count(s.read("log"), "listens") != 1 {
		t.Errorf("events broke off, and were seen only %s later", s.clock.Since(stepped))
	}
}

// TestEngineRestarts: what ended with the engine is started again, and not more than once
// is it said that the engine does not answer.
func TestEngineRestarts(t *testing.T) {
	s := newSupervision(t)
	s.write("down", "")
	s.container(nodeName(supervisedID), "false")
	s.container(machineName(supervisedID, superviseeID), "false")
	begun := s.clock.Now()
	s.until("the engine was looked for a few times", func() bool { return s.clock.Since(begun) > 5*lookEvery })
	if n := strings.Count(s.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings: %s", n, s.log)
	}
	s.remove("down")
	s.until("both run", func() bool {
		return s.runs(nodeName(supervisedID)) && s.runs(machineName(supervisedID, superviseeID))
	})
	if told := s.told(); len(told) > 0 {
		t.Errorf("EC2 is told of %s, which ended with the engine", told)
	}
}

// TestRemovedControlPlane: one without a container does not run, whatever else does.
func TestRemovedControlPlane(t *testing.T) {
	s := newSupervision(t)
	s.remove("c/" + nodeName(supervisedID))
	s.event("die", "", "")
	s.until("it does not run", func() bool { return !s.p.isRunning() })
}
