package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// endLine ends the line that a killed process left unfinished: the next one would
// go on in it.
func endLine(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size()-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = f.Write([]byte("\n"))
	return err
}

// tail follows one log from file to file. A position is a file's inode and an
// offset in it: the file keeps its inode when it is set aside under another name.
type tail struct {
	path   string
	f      *os.File // nil: nothing was logged yet
	inode  uint64
	offset int64  // behind the last whole line
	rest   []byte // read, and not a whole line yet
}

func openTail(path, position string) (*tail, error) {
	t := &tail{path: path}
	files, err := logFiles(path)
	if err != nil || len(files) == 0 {
		return t, err
	}
	var inode uint64
	var offset int64
	if position == controlplane.TailEnd {
		return t, t.open(files[len(files)-1], -1)
	}
	if _, err := fmt.Sscanf(position, "%d:%d", &inode, &offset); err == nil {
		for _, name := range files {
			if st, err := os.Stat(name); err == nil && inodeOf(st) == inode && st.Size() >= offset {
				return t, t.open(name, offset)
			}
		}
		// The file is gone, and what was in it with it.
	}
	return t, t.open(files[0], 0)
}

// logFiles are a log's files, the oldest first. LogWriter sets one aside as .1, the
// API server its audit logs with their time in the name.
func logFiles(path string) ([]string, error) {
	ext := filepath.Ext(path)
	dated, err := filepath.Glob(strings.TrimSuffix(path, ext) + "-*" + ext)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	// The audit log's name begins with the API server's.
	dated = slices.DeleteFunc(dated, func(n string) bool {
		rest := strings.TrimPrefix(n, strings.TrimSuffix(path, ext)+"-")
		return rest[0] < '0' || rest[0] > '9'
	})
	slices.Sort(dated)
	var out []string
	for _, n := range append(dated, path+".1", path) {
		if _, err := os.Stat(n); err == nil {
			out = append(out, n)
		}
	}
	return out, nil
}

func inodeOf(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// open begins at an offset, -1 for the end.
func (t *tail) open(name string, offset int64) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	st, err := f.Stat()
	if err == nil && offset < 0 {
		offset = st.Size()
	}
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("log: %w", err)
	}
	if t.f != nil {
		t.f.Close()
	}
	t.f, t.inode, t.offset, t.rest = f, inodeOf(st), offset, nil
	return nil
}

// Lines implements controlplane.Tail.
func (t *tail) Lines(limit int) ([]string, error) {
	var out []string
	for size := 0; size < limit; {
		if i := bytes.IndexByte(t.rest, '\n'); i >= 0 {
			out = append(out, string(bytes.TrimSuffix(t.rest[:i], []byte("\r"))))
			t.rest, t.offset, size = t.rest[i+1:], t.offset+int64(i)+1, size+i
			continue
		}
		more, err := t.fill()
		if err != nil {
			return out, err
		}
		if more {
			continue
		}
		moved, err := t.next()
		if err != nil || !moved {
			return out, err
		}
	}
	return out, nil
}

// fill reads on in the file, and is false at its end.
func (t *tail) fill() (bool, error) {
	if t.f == nil {
		return false, nil
	}
	buf := make([]byte, 64<<10)
	n, err := t.f.Read(buf)
	t.rest = append(t.rest, buf[:n]...)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("log: %w", err)
	}
	return n > 0, nil
}

// next goes on to the file that followed this one, if there is one.
func (t *tail) next() (bool, error) {
	files, err := logFiles(t.path)
	if err != nil || len(files) == 0 {
		return false, err
	}
	at := -1
	for i, n := range files {
		if st, err := os.Stat(n); err == nil && t.f != nil && inodeOf(st) == t.inode {
			at = i
		}
	}
	if at == len(files)-1 {
		return false, nil
	}
	if more, err := t.fill(); more || err != nil {
		return more, err // written before the file was set aside, after it was read
	}
	return true, t.open(files[at+1], 0)
}

// Position implements controlplane.Tail.
func (t *tail) Position() string {
	if t.f == nil {
		return ""
	}
	return fmt.Sprintf("%d:%d", t.inode, t.offset)
}

// Close implements controlplane.Tail.
func (t *tail) Close() error {
	if t.f == nil {
		return nil
	}
	return t.f.Close()
}
