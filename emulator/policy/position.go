package policy

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Position is a place in a document's text, counted from 1.
type Position struct{ Line, Column int }

// Span is where a statement is.
type Span struct{ Start, End Position }

// Locate finds the document's statements in its text. As in IAM's policy simulator a
// statement begins where its list's bracket or the statement before it ends, and a
// statement that is no list's after its brace (AWS CLI reference,
// simulate-custom-policy and simulate-principal-policy).
func (d *Document) Locate() []Span {
	raw := []byte(d.text)
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the brace of a document that was parsed
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil
		}
		var skipped json.RawMessage
		if key != "Statement" {
			if dec.Decode(&skipped) != nil {
				return nil
			}
			continue
		}
		return statementSpans(raw, dec)
	}
	return nil
}

// statementSpans goes on from the key "Statement".
func statementSpans(raw []byte, dec *json.Decoder) []Span {
	open, err := dec.Token()
	if err != nil {
		return nil
	}
	start := dec.InputOffset()
	if open != json.Delim('[') {
		for depth := 1; depth > 0; {
			t, err := dec.Token()
			if err != nil {
				return nil
			}
			switch t {
			case json.Delim('{'), json.Delim('['):
				depth++
			case json.Delim('}'), json.Delim(']'):
				depth--
			}
		}
		return []Span{{at(raw, start), at(raw, dec.InputOffset())}}
	}
	var out []Span
	for dec.More() {
		var s json.RawMessage
		if dec.Decode(&s) != nil {
			return nil
		}
		end := dec.InputOffset()
		out = append(out, Span{at(raw, start), at(raw, end)})
		start = end
	}
	return out
}

func at(raw []byte, offset int64) Position {
	before := raw[:offset]
	line := bytes.LastIndexByte(before, '\n') + 1
	return Position{bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[line:]) + 1}
}
