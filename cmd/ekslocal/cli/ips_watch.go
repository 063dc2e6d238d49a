package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/ekslocal/ekslocal/api/admin"
)

// watchEvery is how often a watch looks: the emulator answers in milliseconds, and
// people read no faster.
const watchEvery = time.Second

// watchAddresses looks at every tick until ctx ends, which is no error.
func watchAddresses(ctx context.Context, w io.Writer, tick <-chan time.Time, look func() (*admin.AddressUse, error), show func(io.Writer, *admin.AddressUse) error) error {
	draw := printChanges(w, show)
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		draw = redraw(w, show, func() (int, int) {
			width, height, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80, 24
			}
			return width, height
		})
	}
	for {
		use, err := look()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = draw(use)
		}
		if err != nil {
			return err
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return nil
		}
	}
}

// printChanges prints what differs from what was printed last in more than the time.
func printChanges(w io.Writer, show func(io.Writer, *admin.AddressUse) error) func(*admin.AddressUse) error {
	var last *admin.AddressUse
	return func(use *admin.AddressUse) error {
		now := essence(use)
		if reflect.DeepEqual(now, last) {
			return nil
		}
		last = now
		return show(w, use)
	}
}

// essence leaves out what changes when nothing happens: the time, and the attempts
// that failed again, each with the number of a sandbox in its message.
func essence(use *admin.AddressUse) *admin.AddressUse {
	e := *use
	e.Time, e.Waiting = time.Time{}, slices.Clone(use.Waiting)
	for i := range e.Waiting {
		e.Waiting[i].RetryAt, e.Waiting[i].Message = time.Time{}, ""
	}
	return &e
}

// The sequences of ANSI terminals: over-writing in place does not flicker as
// clearing first would.
const (
	clearScreen = "\x1b[2J"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// redraw shows each look in place of the one before, cut to the terminal's size.
func redraw(w io.Writer, show func(io.Writer, *admin.AddressUse) error, size func() (width, height int)) func(*admin.AddressUse) error {
	begin := clearScreen + toTop
	return func(use *admin.AddressUse) error {
		var text, frame bytes.Buffer
		if err := show(&text, use); err != nil {
			return err
		}
		width, height := size()
		frame.WriteString(begin)
		begin = toTop
		for i, line := range fit(text.String(), width, height) {
			if i > 0 {
				frame.WriteString("\r\n")
			}
			frame.WriteString(line + clearLine)
		}
		frame.WriteString(clearBelow)
		_, err := w.Write(frame.Bytes())
		return err
	}
}

// fit cuts text to a screen.
func fit(text string, width, height int) []string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if height > 0 && len(lines) > height {
		more := fmt.Sprintf("... %d more lines: -o json has everything", len(lines)-height+1)
		lines = append(lines[:height-1:height-1], more)
	}
	for i, line := range lines {
		if width > 0 && utf8.RuneCountInString(line) > width {
			lines[i] = string([]rune(line)[:width-1]) + "…"
		}
	}
	return lines
}
