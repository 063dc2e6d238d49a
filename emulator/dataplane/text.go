package dataplane

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxText bounds what cat, tail and grep read from standard input.
const maxText = 4 << 20

// cat is cat, head and tail: the latter two with -n, and tail with -f.
func (s *shell) cat(name string, args []string) error {
	var paths []string
	follow, lines := false, -1
	if name != "cat" {
		lines = 10
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		count, isCount := "", false
		switch {
		case name == "tail" && (a == "-f" || a == "-F"):
			follow = true
			continue
		case name != "cat" && a == "-n" && i+1 < len(args):
			i++
			count, isCount = args[i], true
		case name != "cat" && len(a) > 1 && a[0] == '-':
			count, isCount = strings.TrimPrefix(a[1:], "n"), true
		case len(a) > 1 && a[0] == '-':
			s.unknown = true
			continue
		default:
			paths = append(paths, a)
			continue
		}
		if n, err := strconv.Atoi(count); isCount && err == nil && n >= 0 {
			lines = n
		} else {
			s.unknown = true
		}
	}
	show := func(data []byte) { _, _ = s.out.Write(cut(name, data, lines)) }
	if len(paths) == 0 && s.in != nil {
		if name == "cat" {
			_, err := io.Copy(s.out, s.in)
			return err
		}
		data, err := io.ReadAll(io.LimitReader(s.in, maxText))
		show(data)
		return err
	}
	for _, p := range paths {
		switch data, ok := s.file(p); {
		case p == "/dev/null":
		case ok:
			show(data)
			if follow && len(paths) == 1 {
				return s.follow(p, data)
			}
		default:
			s.missing(name, p)
		}
	}
	if follow {
		return s.sleep(forever)
	}
	return nil
}

func (s *shell) missing(name, path string) {
	fmt.Fprintf(s.err, "%s: %s: No such file or directory\n", name, path)
	s.status = 1
	s.unknown = true
}

// cut is the part of data that head or tail shows.
func cut(name string, data []byte, lines int) []byte {
	if name == "cat" || lines < 0 {
		return data
	}
	all := bytes.SplitAfter(data, []byte{'\n'})
	if len(all[len(all)-1]) == 0 {
		all = all[:len(all)-1]
	}
	if len(all) > lines {
		if name == "head" {
			all = all[:lines]
		} else {
			all = all[len(all)-lines:]
		}
	}
	return bytes.Join(all, nil)
}

// follow shows what is appended to a file from now on. The file may lose its
// beginning meanwhile, as log files do.
func (s *shell) follow(path string, seen []byte) error {
	for {
		if err := s.sleep(time.Second); err != nil {
			return err
		}
		s.steps = max(s.steps, 1)
		now, ok := s.file(path)
		if !ok {
			continue
		}
		if _, err := s.out.Write(appended(seen, now)); err != nil {
			return err
		}
		seen = now
	}
}

// appended is what now has after the end of was.
func appended(was, now []byte) []byte {
	if bytes.HasPrefix(now, was) {
		return now[len(was):]
	}
	last := was[bytes.LastIndexByte(bytes.TrimSuffix(was, []byte{'\n'}), '\n')+1:]
	if i := bytes.LastIndex(now, last); i >= 0 && len(last) > 0 {
		return now[i+len(last):]
	}
	return now
}

// grep knows -i, -v, -c, -n, -E, -F and -e.
func (s *shell) grep(name string, args []string) error {
	pattern, have := "", false
	var paths []string
	has := map[byte]bool{'E': name == "egrep", 'F': name == "fgrep"}
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "-e" && i+1 < len(args):
			i++
			pattern, have = args[i], true
		case len(a) > 1 && a[0] == '-':
			for _, flag := range []byte(a[1:]) {
				has[flag] = true
				s.unknown = s.unknown || strings.IndexByte("ivcnEFhqs", flag) < 0
			}
		case !have:
			pattern, have = a, true
		default:
			paths = append(paths, a)
		}
	}
	re, err := regexp.Compile(expression(pattern, has))
	if err != nil || !have {
		fmt.Fprintln(s.err, "grep: invalid pattern")
		s.status, s.unknown = 2, true
		return nil
	}
	found := false
	search := func(prefix string, data []byte) {
		count := 0
		for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
			if re.MatchString(line) == has['v'] || len(data) == 0 {
				continue
			}
			count++
			if !has['c'] && !has['q'] {
				number := ""
				if has['n'] {
					number = strconv.Itoa(i+1) + ":"
				}
				fmt.Fprintf(s.out, "%s%s%s\n", prefix, number, line)
			}
		}
		if has['c'] {
			fmt.Fprintf(s.out, "%s%d\n", prefix, count)
		}
		found = found || count > 0
	}
	if len(paths) == 0 {
		if s.in == nil {
			s.unknown = true
			s.status = 1
			return nil
		}
		data, err := io.ReadAll(io.LimitReader(s.in, maxText))
		if err != nil {
			return err
		}
		search("", data)
	}
	absent := false
	for _, p := range paths {
		data, ok := s.file(p)
		if !ok {
			s.missing("grep", p)
			absent = true
			continue
		}
		prefix := ""
		if len(paths) > 1 && !has['h'] {
			prefix = p + ":"
		}
		search(prefix, data)
	}
	switch {
	case absent:
		s.status = 2
	case !found:
		s.status = 1
	}
	return nil
}

// expression is grep's pattern as Go writes it. In basic patterns the operators
// that extended ones have are plain characters, and operators with a backslash.
func expression(pattern string, flags map[byte]bool) string {
	switch {
	case flags['F']:
		pattern = regexp.QuoteMeta(pattern)
	case !flags['E']:
		var out strings.Builder
		for i := 0; i < len(pattern); i++ {
			c := pattern[i]
			switch {
			case c == '\\' && i+1 < len(pattern):
				i++
				if strings.IndexByte("|+?(){}", pattern[i]) < 0 {
					out.WriteByte('\\')
				}
				out.WriteByte(pattern[i])
			case strings.IndexByte("|+?(){}", c) >= 0:
				out.WriteByte('\\')
				out.WriteByte(c)
			default:
				out.WriteByte(c)
			}
		}
		pattern = out.String()
	}
	if flags['i'] {
		pattern = "(?i)" + pattern
	}
	return pattern
}
