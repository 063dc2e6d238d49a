//go:build linux

// Package nodelog writes the logs of AWS's programs on a node's disk: ipamd.log and
// plugin.log, of which the second has a writer for every pod that comes or goes.
package nodelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxBytes is the size at which a log is set aside as .1 for a new one. Upstream keeps
// five of 100 MB, compressed (amazon-vpc-cni-k8s, pkg/utils/logger): too much for many
// nodes on one disk.
const maxBytes = 8 << 20

// Append adds whole lines to the log at a path, which it makes if there is none.
func Append(path string, lines []byte) error { return appendTo(path, lines, maxBytes) }

func appendTo(path string, lines []byte, most int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // as upstream's: everybody may read it
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		done, err := write(f, path, lines, most)
		if err = errors.Join(err, f.Close()); done || err != nil {
			return err
		}
	}
}

// write adds lines to f, unless another file is to have them: f is full, or was set aside
// since it was opened. Only one that holds the lock sets aside; who does not get it at once
// writes all the same, for nobody waits for a log.
func write(f *os.File, path string, lines []byte, most int64) (done bool, err error) {
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil { // until it is closed
		st, err := f.Stat()
		if err != nil {
			return false, fmt.Errorf("log: %w", err)
		}
		switch there, err := os.Stat(path); {
		case errors.Is(err, fs.ErrNotExist), err == nil && !os.SameFile(st, there):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("log: %w", err)
		}
		if st.Size() > 0 && st.Size()+int64(len(lines)) > most {
			return false, os.Rename(path, path+".1")
		}
	}
	_, err = f.Write(lines)
	return true, err
}
