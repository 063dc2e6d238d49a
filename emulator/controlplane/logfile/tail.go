package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// End is the position behind everything that was logged so far.
const End = "end"

// EndLine ends the line that a killed process left unfinished: the next one would
// go on in it.
func EndLine(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
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

// Tail follows one log from file to file. A position is a file's id and an offset in
// it: the file keeps its id when it is set aside under another name.
type Tail struct {
	log    Log
	f      *os.File // nil: nothing was logged yet
	id     string
	offset int64  // behind the last whole line
	rest   []byte // read, and not a whole line yet
}

// OpenTail begins where an earlier Tail's Position was, at the beginning ("") or at
// the End. A place that is no longer there is the oldest that is.
func OpenTail(log Log, position string) (*Tail, error) {
	t := &Tail{log: log}
	files, err := log.files()
	if err != nil || len(files) == 0 {
		return t, err
	}
	if position == End {
		return t, t.open(files[len(files)-1], -1)
	}
	if i := strings.LastIndexByte(position, ':'); i > 0 {
		offset, err := strconv.ParseInt(position[i+1:], 10, 64)
		for _, f := range files {
			if err == nil && f.id == position[:i] && f.size >= offset {
				return t, t.open(f, offset)
			}
		}
		// The file is gone, and what was in it with it.
	}
	return t, t.open(files[0], 0)
}

// open begins at an offset, -1 for the end.
func (t *Tail) open(file file, offset int64) error {
	f, err := os.Open(file.name)
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
	t.f, t.id, t.offset, t.rest = f, file.id, offset, nil
	return nil
}

// Lines returns whole lines that were logged since, without their ends and of about
// limit bytes at most; none if there are no more at the moment.
func (t *Tail) Lines(ctx context.Context, limit int) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []string
	for size := 0; size < limit; {
		if line, n := t.log.cut(t.rest); n > 0 {
			out = append(out, string(bytes.TrimSuffix(line, []byte("\r"))))
			t.rest, t.offset, size = t.rest[n:], t.offset+int64(n), size+n
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
func (t *Tail) fill() (bool, error) {
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
func (t *Tail) next() (bool, error) {
	files, err := t.log.files()
	if err != nil || len(files) == 0 {
		return false, err
	}
	at := -1
	for i, f := range files {
		if t.f != nil && f.id == t.id {
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

// Position is behind the last line that Lines returned.
func (t *Tail) Position() string {
	if t.f == nil {
		return ""
	}
	return t.id + ":" + strconv.FormatInt(t.offset, 10)
}

// Close implements io.Closer.
func (t *Tail) Close() error {
	if t.f == nil {
		return nil
	}
	return t.f.Close()
}
