package logfile

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Log is where a log's lines are.
type Log interface {
	// files are the log's files, the oldest first.
	files() ([]file, error)
	// cut takes the first line off what was read, and tells how many bytes it was; 0 if
	// it is not whole yet.
	cut(read []byte) (line []byte, n int)
}

type file struct {
	name string
	id   string // of this file among the log's, whatever its name
	size int64
}

// Plain is a log of one line each at a path. Writer sets a file aside as .1, the API
// server its audit logs with their time in the name.
type Plain string

func (p Plain) files() ([]file, error) {
	path := string(p)
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
	var out []file
	for _, n := range append(dated, path+".1", path) {
		if st, err := os.Stat(n); err == nil {
			out = append(out, file{n, strconv.FormatUint(inodeOf(st), 10), st.Size()})
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

func (Plain) cut(read []byte) ([]byte, int) {
	i := bytes.IndexByte(read, '\n')
	return read[:max(i, 0)], i + 1
}

// Containers are the logs of a pod's container as the kubelet keeps them, by a pattern
// of their names: a file for each of its starts, which is set aside with its time behind
// the name, and in another directory for another pod. A file's id is the time of its
// first line: numbers of inodes are used again, here within minutes.
type Containers string

func (c Containers) files() ([]file, error) {
	names, err := filepath.Glob(string(c) + "*")
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	var out []file
	for _, n := range names {
		if strings.HasSuffix(n, ".gz") || strings.HasSuffix(n, ".tmp") {
			continue
		}
		if f, ok := containerFile(n); ok {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b file) int { return strings.Compare(a.id, b.id) })
	return out, nil
}

// containerFile is not ok for one without a line, and for one that went away.
func containerFile(name string) (file, bool) {
	f, err := os.Open(name)
	if err != nil {
		return file{}, false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return file{}, false
	}
	at, err := bufio.NewReaderSize(f, 64).ReadString(' ')
	return file{name, strings.TrimSuffix(at, " "), st.Size()}, err == nil
}

// cut takes off what the container runtime puts before each line: a time, the stream,
// and P for a part whose rest follows.
func (Containers) cut(read []byte) ([]byte, int) {
	var line []byte
	for n := 0; ; {
		i := bytes.IndexByte(read[n:], '\n')
		if i < 0 {
			return nil, 0
		}
		f := bytes.SplitN(read[n:n+i], []byte(" "), 4)
		n += i + 1
		if len(f) < 4 {
			return append(line, read[n-i-1:n-1]...), n // not the runtime's: as it is
		}
		if line = append(line, f[3]...); string(f[2]) != "P" {
			return line, n
		}
	}
}
