package dataplane

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"
)

// shell interprets the few commands that a simulated container knows. It touches
// nothing of the machine it runs on: no process, no file, and time only through
// its hooks. The same interpreter answers `kubectl exec` in real time and plays a
// container's own command in virtual time (see process).
type shell struct {
	env map[string]string
	// file answers for the files that a container sees; ok is false for others.
	file func(path string) (data []byte, ok bool)
	dirs map[string][]string
	now  func() time.Time
	// sleep waits, or returns an error to end everything. forever never returns nil.
	sleep    func(time.Duration) error
	in       io.Reader
	out, err io.Writer
	// steps bounds what may still be done; loops without a sleep must end.
	steps int
	// unknown is set when something was not understood: what came out is then not
	// what the real program would have done.
	unknown bool
	status  int
	depth   int
}

var (
	errExit  = errors.New("exit")
	errSteps = errors.New("too many steps")
)

const exitNotFound = 127

// run executes argv and returns its exit code; err is from sleep or errSteps.
func (s *shell) run(argv []string) (int, error) {
	err := s.command(argv)
	if errors.Is(err, errExit) {
		err = nil
	}
	return s.status, err
}

// command executes one simple command.
func (s *shell) command(argv []string) error {
	if s.steps--; s.steps < 0 {
		return errSteps
	}
	if len(argv) == 0 {
		s.status = 0
		return nil
	}
	args := argv[1:]
	s.status = 0
	switch name := argv[0][strings.LastIndexByte(argv[0], '/')+1:]; name {
	case "true", ":":
	case "false":
		s.status = 1
	case "echo":
		s.echo(args)
	case "exit":
		s.status = exitArg(args)
		return errExit
	case "sleep":
		return s.doSleep(args)
	case "cat", "head", "tail":
		return s.cat(name, args)
	case "grep", "egrep", "fgrep":
		return s.grep(name, args)
	case "env", "printenv", "export":
		s.printEnv(args)
	case "hostname":
		fmt.Fprintln(s.out, s.env["HOSTNAME"])
	case "date":
		s.date(args)
	case "pwd":
		fmt.Fprintln(s.out, "/")
	case "whoami":
		fmt.Fprintln(s.out, "root")
	case "id":
		fmt.Fprintln(s.out, "uid=0(root) gid=0(root) groups=0(root)")
	case "uname":
		fmt.Fprintln(s.out, "Linux")
	case "ls":
		s.ls(args)
	case "sh", "bash", "ash", "dash":
		return s.sub(args)
	default:
		s.unknown = true
		s.status = exitNotFound
		fmt.Fprintf(s.err, "%s: command not found (this container is simulated by ekslocal and knows only a few commands)\n", argv[0])
	}
	return nil
}

func exitArg(args []string) int {
	if len(args) == 0 {
		return 0
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return 2
	}
	return n & 0xff
}

func (s *shell) echo(args []string) {
	end, escapes := "\n", false
	for len(args) > 0 && (args[0] == "-n" || args[0] == "-e" || args[0] == "-ne" || args[0] == "-en") {
		if strings.Contains(args[0], "n") {
			end = ""
		}
		escapes = escapes || strings.Contains(args[0], "e")
		args = args[1:]
	}
	text := strings.Join(args, " ")
	if escapes {
		text = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(text)
	}
	_, _ = io.WriteString(s.out, text+end)
}

func (s *shell) doSleep(args []string) error {
	var total time.Duration
	for _, a := range args {
		if a == "infinity" || a == "inf" {
			return s.sleep(forever)
		}
		unit := time.Second
		if i := strings.IndexByte("smhd", a[max(len(a)-1, 0):][0]); i >= 0 {
			unit = []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}[i]
			a = a[:len(a)-1]
		}
		n, err := strconv.ParseFloat(a, 64)
		if err != nil || n < 0 || n > 1e9 {
			fmt.Fprintf(s.err, "sleep: invalid time interval '%s'\n", a)
			s.status = 1
			return nil
		}
		total += time.Duration(min(n*float64(unit), 1e18))
	}
	return s.sleep(total)
}

func (s *shell) printEnv(args []string) {
	if len(args) > 0 {
		v, ok := s.env[args[0]]
		if !ok {
			s.status = 1
			return
		}
		fmt.Fprintln(s.out, v)
		return
	}
	names := make([]string, 0, len(s.env))
	for name := range s.env {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(s.out, "%s=%s\n", name, s.env[name])
	}
}

func (s *shell) date(args []string) {
	now := s.now().UTC()
	switch {
	case len(args) == 0 || args[0] == "-u":
		fmt.Fprintln(s.out, now.Format("Mon Jan _2 15:04:05 UTC 2006"))
	case args[0] == "+%s":
		fmt.Fprintln(s.out, now.Unix())
	case strings.HasPrefix(args[0], "+"):
		fmt.Fprintln(s.out, strings.NewReplacer("%Y", now.Format("2006"), "%m", now.Format("01"), "%d", now.Format("02"), "%H", now.Format("15"),
			"%M", now.Format("04"), "%S", now.Format("05"), "%F", now.Format("2006-01-02"), "%T", now.Format("15:04:05"), "%s", strconv.FormatInt(now.Unix(), 10)).Replace(args[0][1:]))
	default:
		fmt.Fprintln(s.out, now.Format(time.RFC3339))
	}
}

func (s *shell) ls(args []string) {
	path := "/"
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			path = a
		}
	}
	path = "/" + strings.Trim(path, "/.")
	entries, ok := s.dirs[path]
	if !ok {
		if _, isFile := s.file(path); isFile {
			fmt.Fprintln(s.out, path)
			return
		}
		fmt.Fprintf(s.err, "ls: %s: No such file or directory\n", path)
		s.status = 1
		return
	}
	for _, e := range entries {
		fmt.Fprintln(s.out, e)
	}
}

// sub runs `sh -c script`, or an interactive shell.
func (s *shell) sub(args []string) error {
	if s.depth++; s.depth > maxDepth {
		return errSteps
	}
	defer func() { s.depth-- }()
	for i, a := range args {
		if strings.HasPrefix(a, "-") && strings.HasSuffix(a, "c") {
			if i+1 >= len(args) {
				fmt.Fprintln(s.err, "sh: -c requires an argument")
				s.status = 2
				return nil
			}
			err := s.script(args[i+1])
			if errors.Is(err, errExit) {
				err = nil
			}
			return err
		}
	}
	if s.in == nil {
		return nil // standard input is /dev/null: end of script
	}
	return s.interact()
}

// interact reads commands line by line until the input ends or exit.
func (s *shell) interact() error {
	prompt := s.env["PS1"]
	_, _ = io.WriteString(s.out, prompt)
	var line []byte
	one := make([]byte, 1)
	for {
		if _, err := s.in.Read(one); err != nil {
			return nil
		}
		if one[0] != '\n' {
			if line = append(line, one[0]); len(line) > 64<<10 {
				return nil
			}
			continue
		}
		s.steps = execSteps / 10
		err := s.script(string(line))
		line = line[:0]
		switch {
		case errors.Is(err, errExit):
			return nil
		case err != nil && !errors.Is(err, errSteps):
			return err
		}
		_, _ = io.WriteString(s.out, prompt)
	}
}
