package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
)

// LogQuestion asks for what a log has had since a position.
type LogQuestion struct {
	// Plain is the log's path; or Containers the pattern of its files' names.
	Plain, Containers string
	// Position is an earlier answer's, or what logfile.OpenTail takes.
	Position string
	// Limit is about how many bytes of lines are wanted; 0 asks for the position.
	Limit int
}

// LogAnswer has whole lines, none if there are no more at the moment.
type LogAnswer struct {
	Lines    []string
	Position string
	Error    string `json:",omitempty"`
}

// ServeLogs answers questions, one JSON value after another, until in ends. One process
// that stays, with a pipe for each direction, costs nothing while nobody logs; a process
// for each look would cost a tenth of a core.
func ServeLogs(in io.Reader, out io.Writer) error {
	tails := map[LogQuestion]*logfile.Tail{} // by log, where the last answer ended
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q LogQuestion
		if err := questions.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		if err := answers.Encode(answerLog(tails, q)); err != nil {
			return fmt.Errorf("answering for a log: %w", err)
		}
	}
}

func answerLog(tails map[LogQuestion]*logfile.Tail, q LogQuestion) LogAnswer {
	key := LogQuestion{Plain: q.Plain, Containers: q.Containers}
	t := tails[key]
	if t == nil || t.Position() != q.Position || q.Position == "" {
		var log logfile.Log = logfile.Plain(q.Plain)
		if q.Containers != "" {
			log = logfile.Containers(q.Containers)
		}
		next, err := logfile.OpenTail(log, q.Position)
		if err != nil {
			return LogAnswer{Error: err.Error()}
		}
		if t != nil {
			t.Close()
		}
		t, tails[key] = next, next
	}
	lines, err := t.Lines(context.Background(), q.Limit)
	if err != nil {
		t.Close()
		delete(tails, key)
		return LogAnswer{Error: err.Error()}
	}
	return LogAnswer{Lines: lines, Position: t.Position()}
}
