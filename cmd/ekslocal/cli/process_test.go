package cli

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// freePort is a port on which nothing listens just now.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// processShell is for commands that start this test binary as the program.
func processShell(t *testing.T) *shell {
	s := newShell(t)
	t.Setenv(asCLI, "1")
	for k, v := range s.env {
		t.Setenv(k, v)
	}
	t.Cleanup(func() { s.run("stop", "--timeout", "1s") })
	return s
}

func TestDetachStatusStop(t *testing.T) {
	s := processShell(t)
	addr := freePort(t)
	out := s.must("start", "--detach", "--listen", addr)
	if !strings.Contains(out, "runs at http:") {
		t.Errorf("start --detach says %q", out)
	}
	// Found without being told where.
	if out := s.must("status"); !strings.Contains(out, "No clusters") {
		t.Errorf("status says %q", out)
	}
	if out := s.must("ca"); out != "PEM\n" {
		t.Errorf("ca prints %q", out)
	}
	if out := s.must("reset"); !strings.HasPrefix(out, "http://"+addr+" is empty") {
		t.Errorf("reset says %q", out)
	}
	if out := s.must("env"); !strings.Contains(out, "'http://"+addr+"'") {
		t.Errorf("env says %q", out)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"start", "--listen", addr}, "ekslocal runs already on the data directory"},
		{[]string{"start", "--listen", freePort(t)}, "ekslocal runs already on the data directory"},
		{[]string{"start", "--detach", "--listen", addr, "--data-dir", t.TempDir()}, "ekslocal runs already at http://" + addr},
	} {
		if _, errs, code := s.run(tc.args...); code != 1 || !strings.Contains(errs, tc.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: status %d, %q; want %q", tc.args, code, errs, tc.want)
		}
	}
	if out := s.must("stop"); !strings.HasPrefix(out, "ekslocal at http://"+addr+" stopped") {
		t.Errorf("stop says %q", out)
	}
	if out := s.must("stop"); !strings.Contains(out, "not running") {
		t.Errorf("a second stop says %q", out)
	}
	if left, _ := filepath.Glob(filepath.Join(s.env["XDG_STATE_HOME"], "ekslocal", "run", "*")); len(left) != 0 {
		t.Errorf("stop leaves %v", left)
	}
}

func TestDetachTellsWhyItFailed(t *testing.T) {
	s := processShell(t)
	_, errs, code := s.run("start", "--detach", "--listen", freePort(t), "--data-dir", filepath.Join(t.TempDir(), "bad"))
	if want := "ekslocal: the state is of a newer version\n"; errs != want || code != 1 {
		t.Errorf("status %d, %q; want %q", code, errs, want)
	}
}

func TestForeignPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newShell(t)
	_, errs, code := s.run("start", "--listen", l.Addr().String())
	if code != 1 || !strings.Contains(errs, "something else listens on "+l.Addr().String()) {
		t.Errorf("status %d, %q", code, errs)
	}
}

func TestSeveralEmulators(t *testing.T) {
	s := processShell(t)
	a, b := freePort(t), freePort(t)
	dir := t.TempDir()
	s.must("start", "--detach", "--listen", a, "--data-dir", dir)
	s.must("start", "--detach", "--listen", b, "--ephemeral")
	if _, errs, code := s.run("status"); code != 1 || !strings.Contains(errs, "choose one with --endpoint") {
		t.Errorf("status of two: %d, %q", code, errs)
	}
	s.must("status", "--endpoint", "http://"+a)
	s.env["AWS_ENDPOINT_URL"] = "http://localhost:" + b[strings.LastIndex(b, ":")+1:]
	s.must("stop")
	delete(s.env, "AWS_ENDPOINT_URL")
	if out := s.must("stop", "--data-dir", dir); !strings.Contains(out, a+" stopped") {
		t.Errorf("stop --data-dir says %q", out)
	}
}

// TestForeground: an interrupt ends the process in order, and what a killed one
// leaves is no obstacle.
func TestForeground(t *testing.T) {
	s := processShell(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		addr := freePort(t)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "start", "--listen", addr)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 256)
		n, _ := out.Read(b)
		if got := string(b[:n]); !strings.HasPrefix(got, "ekslocal 1.2.3 is ready at http://"+addr) {
			t.Fatalf("start says %q", got)
		}
		s.must("status")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%v does not end it", sig)
		}
		if code := cmd.ProcessState.ExitCode(); sig == syscall.SIGINT && code != 0 {
			t.Errorf("after an interrupt the status is %d", code)
		}
	}
	if _, errs, code := s.run("status"); code != 1 || !strings.Contains(errs, "not running") {
		t.Errorf("status afterwards: %d, %q", code, errs)
	}
}

func TestStopKillsWhatHangs(t *testing.T) {
	// A process that holds a registration and ignores SIGTERM: a shell.
	s := newShell(t)
	a := &app{Program: Program{Getenv: func(k string) string { return s.env[k] }}}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "trap '' TERM; while :; do read x; done")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	remove, err := a.register(registration{PID: cmd.Process.Pid, Endpoint: "http://127.0.0.1:9", DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); remove() }()
	if out := s.must("stop", "--timeout", "50ms"); !strings.Contains(out, "was killed") && !strings.Contains(out, "stopped") {
		t.Errorf("stop says %q", out)
	}
}

func TestResetWithoutEmulator(t *testing.T) {
	s := newShell(t)
	if out := s.must("reset"); !strings.HasPrefix(out, "there is no state") {
		t.Errorf("reset of nothing says %q", out)
	}
	dir := t.TempDir()
	for _, f := range []string{"etcd/lock", "clusters/x", "ca.crt", "letters/to-mother"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := os.Open(filepath.Join(dir, "etcd", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := s.run("reset", "--data-dir", dir); code != 1 || !strings.Contains(errs, "is in use") {
		t.Errorf("reset of a state in use: %d, %q", code, errs)
	}
	lock.Close()
	s.must("reset", "--data-dir", dir)
	for f, there := range map[string]bool{"etcd": false, "clusters": false, "ca.crt": true, "letters/to-mother": true} {
		if _, err := os.Stat(filepath.Join(dir, f)); (err == nil) != there {
			t.Errorf("%s: %v, want it there: %v", f, err, there)
		}
	}
}
