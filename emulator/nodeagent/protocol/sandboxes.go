package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// Ledger is the sandboxes of a node that have a network, a file each, so that the
// plugin, whose every call is a process of its own, needs nobody to keep it.
type Ledger struct{ Dir string }

// idForm keeps a runtime's id from being a path.
var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

func (l Ledger) file(id string) (string, error) {
	if !idForm.MatchString(id) {
		return "", fmt.Errorf("container id %q is none", id)
	}
	return filepath.Join(l.Dir, id+".json"), nil
}

// Put remembers a sandbox.
func (l Ledger) Put(s Sandbox) error {
	name, err := l.file(s.ContainerID)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// Remove forgets a sandbox, which may be unknown.
func (l Ledger) Remove(id string) error {
	name, err := l.file(id)
	if err != nil {
		return err
	}
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Get returns a sandbox, ok=false if it is not known.
func (l Ledger) Get(id string) (s Sandbox, ok bool) {
	name, err := l.file(id)
	if err != nil {
		return s, false
	}
	raw, err := os.ReadFile(name)
	return s, err == nil && json.Unmarshal(raw, &s) == nil
}

// List returns all sandboxes.
func (l Ledger) List() ([]Sandbox, error) {
	entries, err := os.ReadDir(l.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []Sandbox
	for _, e := range entries {
		if id, ok := cutJSON(e.Name()); ok {
			if s, ok := l.Get(id); ok {
				out = append(out, s)
			}
		}
	}
	return out, err
}

func cutJSON(name string) (string, bool) {
	ext := filepath.Ext(name)
	return name[:len(name)-len(ext)], ext == ".json"
}
