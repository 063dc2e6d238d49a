package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// registration is what a running emulator leaves for the other commands to find:
// a file named after its process, locked for as long as the process lives. The
// lock and not the process id tells whether it lives: ids are used again.
type registration struct {
	PID       int       `json:"pid"`
	Endpoint  string    `json:"endpoint"`
	Listen    string    `json:"listen"`
	DataDir   string    `json:"dataDir"`
	Ephemeral bool      `json:"ephemeral,omitempty"`
	LogFile   string    `json:"logFile,omitempty"`
	StartedAt time.Time `json:"startedAt"`

	path string
}

// runDir is below the state directory; in a container that has neither HOME nor
// XDG_STATE_HOME, in the temporary one.
func (a *app) runDir() string {
	root, err := a.stateRoot()
	if err != nil {
		root = filepath.Join(os.TempDir(), "ekslocal-"+strconv.Itoa(os.Getuid()))
	}
	return filepath.Join(root, "run")
}

// register announces this process. The caller removes the announcement.
func (a *app) register(r registration) (remove func(), err error) {
	dir := a.runDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("announce the emulator: %w", err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	// Written and locked before it has its name: a reader never sees half of it,
	// or takes it for a dead process's.
	f, err := os.CreateTemp(dir, ".new")
	if err != nil {
		return nil, fmt.Errorf("announce the emulator: %w", err)
	}
	path := filepath.Join(dir, strconv.Itoa(r.PID)+".json")
	_, err = f.Write(b)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		f.Close()
		_ = os.Remove(f.Name())
		return nil, fmt.Errorf("announce the emulator: %w", err)
	}
	return func() { _ = os.Remove(path); f.Close() }, nil
}

// running lists the live emulators of this user and sweeps what dead ones left.
func (a *app) running() ([]*registration, error) {
	paths, err := filepath.Glob(filepath.Join(a.runDir(), "*.json"))
	if err != nil {
		return nil, err
	}
	var live []*registration
	for _, p := range paths {
		if r := readRegistration(p); r != nil {
			live = append(live, r)
		}
	}
	slices.SortFunc(live, func(x, y *registration) int { return strings.Compare(x.Endpoint, y.Endpoint) })
	return live, nil
}

func readRegistration(path string) *registration {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		_ = os.Remove(path)
		return nil
	}
	r := &registration{path: path}
	if json.NewDecoder(io.LimitReader(f, 1<<20)).Decode(r) != nil || r.PID <= 0 {
		return nil
	}
	return r
}

// ended is closed when the registered process is gone.
func (r *registration) ended() (<-chan struct{}, error) {
	done := make(chan struct{})
	f, err := os.Open(r.path)
	if errors.Is(err, os.ErrNotExist) {
		close(done)
		return done, nil
	}
	if err != nil {
		return nil, err
	}
	go func() {
		defer f.Close()
		for syscall.Flock(int(f.Fd()), syscall.LOCK_SH) == syscall.EINTR {
		}
		close(done)
	}()
	return done, nil
}

func sameEndpoint(x, y string) bool {
	a, err1 := url.Parse(x)
	b, err2 := url.Parse(y)
	if err1 != nil || err2 != nil {
		return false
	}
	return loopback(a.Hostname()) == loopback(b.Hostname()) && a.Port() == b.Port()
}

func loopback(host string) string {
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return "127.0.0.1"
	}
	return host
}

func sameFile(x, y string) bool {
	a, err1 := os.Stat(x)
	b, err2 := os.Stat(y)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
