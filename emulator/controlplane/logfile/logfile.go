// Package logfile writes the logs of control planes to files that are set aside when
// they have grown, and follows them across that and across restarts of who reads.
package logfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
)

// MaxBytes is the size at which a file is set aside for a new one. One that was set
// aside is kept.
const MaxBytes = 16 << 20

// Writer appends to a file and sets it aside when it has grown to MaxBytes.
type Writer struct {
	mu   sync.Mutex
	path string
	f    *os.File
	size int64
}

// Open opens or makes the log at path.
func Open(path string) (*Writer, error) {
	w := &Writer{path: path}
	return w, w.open()
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	w.f, w.size = f, st.Size()
	return nil
}

// Write never splits p over two files.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return 0, fs.ErrClosed
	}
	if w.size > 0 && w.size+int64(len(p)) > MaxBytes {
		w.f.Close()
		w.f = nil
		if err := os.Rename(w.path, w.path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	n, err := w.f.Write(p)
	w.size += int64(n)
	return n, err
}

// Close ends the log.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return nil
	}
	f := w.f
	w.f = nil
	return f.Close()
}

// Reader reads the file that was set aside, if there is one, and the current.
// It answers io.EOF at the end of what is there, and what came since when read
// again, across a change of files.
type Reader struct {
	path string
	f    *os.File
}

// OpenReader begins at the oldest line that is there.
func OpenReader(path string) (*Reader, error) {
	r := &Reader{path: path}
	for _, p := range []string{path + ".1", path} {
		f, err := os.Open(p)
		if err == nil {
			r.f = f
			return r, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return r, nil // nothing was logged yet
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.f != nil {
		n, err := r.f.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
	}
	next, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, io.EOF
	}
	if err != nil {
		return 0, err
	}
	if r.f != nil {
		old, err1 := r.f.Stat()
		now, err2 := next.Stat()
		if err := errors.Join(err1, err2); err != nil || os.SameFile(old, now) {
			next.Close()
			if err == nil {
				err = io.EOF // itself: io.ReadAll compares
			}
			return 0, err
		}
		r.f.Close()
	}
	r.f = next
	return r.f.Read(p)
}

// Close implements io.Closer.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}
