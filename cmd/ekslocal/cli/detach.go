package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A detached process finds these in its environment. Their values are a file
// descriptor and a path.
const (
	detachedEnv = "EKSLOCAL_DETACHED_FD"
	logFileEnv  = "EKSLOCAL_LOG_FILE"
)

// report is the one line that a detached process sends its parent.
type report struct {
	PID      int
	Endpoint string `json:",omitempty"`
	Error    string `json:",omitempty"`
}

// detach runs this binary again in a session of its own, with its output in a
// file, and returns when it is healthy.
func (a *app) detach(ctx context.Context, out io.Writer, cfg Config, args []string) error {
	began := time.Now()
	logPath, logs, err := a.openLog(cfg)
	if err != nil {
		return err
	}
	defer logs.Close()
	exe, err := a.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), detachedEnv+"=3", logFileEnv+"="+logPath)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = logs, logs, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start %s: %w", exe, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	var rep report
	line, _ := bufio.NewReader(r).ReadBytes('\n')
	if json.Unmarshal(line, &rep) != nil || rep.Error != "" {
		_ = cmd.Wait()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if rep.Error != "" {
			return errors.New(rep.Error)
		}
		return fmt.Errorf("the emulator ended while it started: see %s", logPath)
	}
	fmt.Fprintf(out, "ekslocal %s runs at %s as process %d (ready in %s, log in %s)\n", a.Version, rep.Endpoint, rep.PID, time.Since(began).Round(time.Millisecond), logPath)
	return cmd.Process.Release()
}

func (a *app) openLog(cfg Config) (string, *os.File, error) {
	dir := cfg.DataDir
	if cfg.Ephemeral {
		root, err := a.stateRoot()
		if err != nil {
			return "", nil, err
		}
		dir = root
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, a.explain(err, cfg)
	}
	path := filepath.Join(dir, "ekslocal.log")
	if cfg.Ephemeral { // several may run
		path = filepath.Join(dir, "ekslocal-"+strings.NewReplacer(":", "-", "[", "", "]", "").Replace(cfg.Listen)+".log")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", nil, a.explain(err, cfg)
	}
	return path, f, nil
}

// reporter tells the parent of a detached process how its start went. A nil one
// belongs to a process in the foreground.
type reporter struct{ w *os.File }

func openReport(getenv func(string) string) *reporter {
	fd, err := strconv.Atoi(getenv(detachedEnv))
	if err != nil {
		return nil
	}
	_ = os.Unsetenv(detachedEnv) // not for the processes that this one starts
	syscall.CloseOnExec(fd)
	return &reporter{os.NewFile(uintptr(fd), "report")}
}

// ready returns false if there is no parent to tell.
func (r *reporter) ready(endpoint string) bool {
	return r.send(report{PID: os.Getpid(), Endpoint: endpoint})
}

func (r *reporter) failed(err error) {
	if err != nil {
		r.send(report{PID: os.Getpid(), Error: err.Error()})
	}
}

func (r *reporter) send(rep report) bool {
	if r == nil {
		return false
	}
	if r.w != nil {
		_ = json.NewEncoder(r.w).Encode(rep) // a parent that left needs no news
		r.w.Close()
		r.w = nil
	}
	return true
}
