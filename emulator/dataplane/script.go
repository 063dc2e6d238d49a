package dataplane

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A script is parsed into words and operators, and executed as it is read:
// sequences (; newline), && and ||, `while true`, `for x in`, quotes, variables,
// and redirections to /dev/null or between the two outputs. Everything else
// (pipes, substitution, tests) is refused as a whole, rather than half done.

var errSyntax = errors.New("syntax")

const (
	maxDepth = 50      // of loops in loops, and of shells in shells
	maxWord  = 8 << 10 // bytes; variables that grow in a loop stop here
)

// token is a word or, with op set, an operator.
type token struct {
	text string
	op   bool
	// quoted words are never keywords or operators.
	quoted bool
	assign bool // NAME= begins the word, outside of quotes
}

// script executes source. errExit means that it called exit.
func (s *shell) script(source string) error {
	tokens, err := scan(source)
	if err == nil {
		var nodes []stmt
		var rest []token
		nodes, rest, err = parseList(tokens, 0)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%w: unexpected %q", errSyntax, rest[0].text)
		}
		if err == nil {
			return s.list(nodes)
		}
	}
	s.unknown = true
	s.status = 2
	fmt.Fprintf(s.err, "sh: %v (ekslocal's simulated shell knows sequences, &&, ||, while true and for)\n", err)
	return nil
}

// scan splits source into tokens. Variables stay in words as they are; single
// quotes and escapes protect their dollar by a NUL in front.
func scan(source string) ([]token, error) {
	var out []token
	var word strings.Builder
	started, quoted, assign := false, false, false
	flush := func() {
		if started {
			out = append(out, token{text: word.String(), quoted: quoted, assign: assign})
		}
		word.Reset()
		started, quoted, assign = false, false, false
	}
	for i := 0; i < len(source); i++ {
		c := source[i]
		switch {
		case c == '\'':
			j := strings.IndexByte(source[i+1:], '\'')
			if j < 0 {
				return nil, fmt.Errorf("%w: unterminated quote", errSyntax)
			}
			started, quoted = true, true
			word.WriteString(strings.ReplaceAll(source[i+1:i+1+j], "$", "\x00$"))
			i += j + 1
		case c == '"':
			n, err := scanDouble(source[i+1:], &word)
			if err != nil {
				return nil, err
			}
			started, quoted = true, true
			i += n
		case c == '\\' && i+1 < len(source):
			i++
			if source[i] != '\n' {
				started, quoted = true, true
				if source[i] == '$' {
					word.WriteByte(0)
				}
				word.WriteByte(source[i])
			}
		case c == ' ' || c == '\t':
			flush()
		case c == '#' && !started:
			for i < len(source) && source[i] != '\n' {
				i++
			}
			i--
		case c == '\n' || c == ';':
			flush()
			out = append(out, token{text: ";", op: true})
		case (c == '&' || c == '|') && i+1 < len(source) && source[i+1] == c:
			flush()
			out = append(out, token{text: source[i : i+2], op: true})
			i++
		case c == '>' || c == '2' && !started && strings.HasPrefix(source[i:], "2>"), c == '1' && !started && strings.HasPrefix(source[i:], "1>"):
			flush()
			n, redirect, err := scanRedirect(source[i:])
			if err != nil {
				return nil, err
			}
			out = append(out, token{text: redirect, op: true})
			i += n - 1
		case strings.IndexByte("|&<()`", c) >= 0, c == '$' && i+1 < len(source) && source[i+1] == '(':
			return nil, fmt.Errorf("%w: unsupported %q", errSyntax, c)
		case c == 0:
			return nil, fmt.Errorf("%w: NUL byte", errSyntax)
		default:
			assign = assign || c == '=' && !quoted && isName(word.String())
			started = true
			word.WriteByte(c)
		}
	}
	flush()
	return out, nil
}

// scanDouble reads up to the closing double quote and returns how far that is.
func scanDouble(rest string, word *strings.Builder) (int, error) {
	for j := 0; j < len(rest); j++ {
		switch c := rest[j]; {
		case c == '"':
			return j + 1, nil
		case c == '\\' && j+1 < len(rest) && strings.IndexByte("\"\\$`", rest[j+1]) >= 0:
			j++
			if rest[j] == '$' {
				word.WriteByte(0)
			}
			word.WriteByte(rest[j])
		case c == '`', c == '$' && j+1 < len(rest) && rest[j+1] == '(', c == 0:
			return 0, fmt.Errorf("%w: unsupported %q", errSyntax, c)
		default:
			word.WriteByte(c)
		}
	}
	return 0, fmt.Errorf("%w: unterminated quote", errSyntax)
}

// scanRedirect reads one of the redirections that a container without files can do.
func scanRedirect(rest string) (int, string, error) {
	for _, r := range []string{"2>&1", "1>&2", ">&2"} {
		if strings.HasPrefix(rest, r) {
			return len(r), r, nil
		}
	}
	for _, r := range []string{"2>", "1>", ">"} {
		if after, ok := strings.CutPrefix(rest, r); ok {
			target := strings.TrimLeft(after, "> \t")
			if strings.HasPrefix(target, "/dev/null") {
				n := len(rest) - len(target) + len("/dev/null")
				return n, r + "/dev/null", nil
			}
		}
	}
	return 0, "", fmt.Errorf("%w: unsupported redirection", errSyntax)
}

// stmt is a simple command or a loop, and the operator that follows it.
type stmt struct {
	words     []token
	redirects []string
	loop      string // "while" or "for"
	variable  string
	body      []stmt
	then      string // "&&", "||" or ""
}

func parseList(tokens []token, depth int) (list []stmt, rest []token, err error) {
	if depth > maxDepth {
		return nil, nil, fmt.Errorf("%w: nested too deep", errSyntax)
	}
	for len(tokens) > 0 {
		switch t := tokens[0]; {
		case t.op && t.text == ";":
			tokens = tokens[1:]
			continue
		case !t.quoted && !t.op && t.text == "done":
			return list, tokens, nil
		}
		var one stmt
		if one, tokens, err = parseStmt(tokens, depth); err != nil {
			return nil, nil, err
		}
		if len(tokens) > 0 && tokens[0].op && (tokens[0].text == "&&" || tokens[0].text == "||") {
			one.then, tokens = tokens[0].text, tokens[1:]
			for len(tokens) > 0 && tokens[0].op && tokens[0].text == ";" {
				tokens = tokens[1:] // a newline after && continues the list
			}
			if len(tokens) == 0 {
				return nil, nil, fmt.Errorf("%w: unexpected end", errSyntax)
			}
		}
		list = append(list, one)
	}
	return list, nil, nil
}

func parseStmt(tokens []token, depth int) (stmt, []token, error) {
	var st stmt
	if first := tokens[0]; !first.quoted && !first.op {
		switch first.text {
		case "while", "until", "for":
			return parseLoop(tokens, depth)
		case "if", "case", "then", "do", "fi", "esac", "else", "elif", "function", "{", "}", "!", "[", "[[":
			return st, nil, fmt.Errorf("%w: unsupported %q", errSyntax, first.text)
		}
	}
	for len(tokens) > 0 {
		t := tokens[0]
		if t.op && !strings.Contains(t.text, ">") {
			break
		}
		if t.op {
			st.redirects = append(st.redirects, t.text)
		} else {
			st.words = append(st.words, t)
		}
		tokens = tokens[1:]
	}
	if len(st.words) == 0 {
		return st, nil, fmt.Errorf("%w: unexpected operator", errSyntax)
	}
	return st, tokens, nil
}

func parseLoop(tokens []token, depth int) (stmt, []token, error) {
	st := stmt{loop: tokens[0].text}
	bad := func(what string) (stmt, []token, error) {
		return stmt{}, nil, fmt.Errorf("%w: unsupported %s", errSyntax, what)
	}
	var head []token
	for tokens = tokens[1:]; len(tokens) > 0 && !tokens[0].op; tokens = tokens[1:] {
		head = append(head, tokens[0])
	}
	switch {
	case st.loop == "while" && len(head) == 1 && (head[0].text == "true" || head[0].text == ":"):
	case st.loop == "until" && len(head) == 1 && head[0].text == "false":
	case st.loop == "for" && len(head) >= 2 && head[1].text == "in" && isName(head[0].text):
		st.variable, st.words = head[0].text, head[2:]
	default:
		return bad("loop condition")
	}
	for len(tokens) > 0 && tokens[0].op && tokens[0].text == ";" {
		tokens = tokens[1:]
	}
	if len(tokens) == 0 || tokens[0].text != "do" {
		return bad("loop without do")
	}
	body, rest, err := parseList(tokens[1:], depth+1)
	if err != nil {
		return stmt{}, nil, err
	}
	if len(rest) == 0 {
		return bad("loop without done")
	}
	st.body = body
	return st, rest[1:], nil
}

func isName(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// list executes statements; && and || decide about the next one.
func (s *shell) list(nodes []stmt) error {
	skip := false
	for _, st := range nodes {
		if !skip {
			if err := s.stmt(st); err != nil {
				return err
			}
		}
		switch st.then {
		case "&&":
			skip = s.status != 0
		case "||":
			skip = s.status == 0
		default:
			skip = false
		}
	}
	return nil
}

func (s *shell) stmt(st stmt) error {
	switch st.loop {
	case "while", "until":
		for {
			if s.steps--; s.steps < 0 {
				return errSteps
			}
			if err := s.list(st.body); err != nil {
				return err
			}
		}
	case "for":
		for _, w := range st.words {
			s.env[st.variable] = s.expand(w.text)
			if err := s.list(st.body); err != nil {
				return err
			}
		}
		return nil
	}
	return s.simple(st)
}

func (s *shell) simple(st stmt) error {
	words := st.words
	for len(words) > 0 && words[0].assign {
		name, value, _ := strings.Cut(words[0].text, "=")
		s.env[name] = s.expand(value)
		words = words[1:]
	}
	var argv []string
	for _, w := range words {
		text := s.expand(w.text)
		if text == "" && !w.quoted {
			continue // an unset variable is no word
		}
		argv = append(argv, text)
	}
	out, errw := s.out, s.err
	defer func() { s.out, s.err = out, errw }()
	for _, r := range st.redirects {
		switch r {
		case "2>&1":
			s.err = s.out
		case ">&2", "1>&2":
			s.out = s.err
		case "2>/dev/null":
			s.err = io.Discard
		default:
			s.out = io.Discard
		}
	}
	return s.command(argv)
}

// expand replaces $NAME, ${NAME} and $?; a dollar after NUL is literal.
func (s *shell) expand(w string) string {
	if !strings.ContainsAny(w, "$\x00") {
		return w
	}
	var out strings.Builder
	for i := 0; i < len(w); i++ {
		switch {
		case w[i] == 0:
			i++
			out.WriteByte('$')
		case w[i] == '$' && i+1 < len(w):
			n, value := s.variable(w[i+1:])
			out.WriteString(value)
			i += n
		default:
			out.WriteByte(w[i])
		}
		if out.Len() > maxWord {
			s.unknown = true
			return out.String()[:maxWord]
		}
	}
	return out.String()
}

func (s *shell) variable(rest string) (int, string) {
	if rest[0] == '?' {
		return 1, strconv.Itoa(s.status)
	}
	if rest[0] == '{' {
		end := strings.IndexByte(rest, '}')
		if end < 0 || !isName(rest[1:end]) {
			s.unknown = true // ${X:-y} and the like
			return len(rest), ""
		}
		return end + 1, s.env[rest[1:end]]
	}
	n := 0
	for n < len(rest) && isName(rest[:n+1]) {
		n++
	}
	if n == 0 {
		s.unknown = s.unknown || strings.IndexByte("$!@*#0123456789-", rest[0]) >= 0
		return 0, "$"
	}
	return n, s.env[rest[:n]]
}
