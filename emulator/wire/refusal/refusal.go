// Package refusal holds tables of requests that AWS refuses and runs them against a
// service through its own codecs: operation, input, code, status, message and where
// AWS says so.
package refusal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"

	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// Unverified is the source of a row that no public text confirms.
const Unverified = "unverified"

// Row is one refused request. Input, Message and the strings in Input may hold
// ${name}, which Run replaces by the test's own values.
type Row struct {
	// Operation is the operation's name.
	Operation string `json:"operation"`
	// Input is the SDK's input structure; members are named as in Go.
	Input json.RawMessage `json:"input,omitempty"`
	// Code is the error code that the client reads.
	Code string `json:"code"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Message is the error's whole message.
	Message string `json:"message"`
	// Source names the public text or repository that shows the error, or is Unverified.
	Source string `json:"source"`
}

// Load reads a table, which is a YAML list of rows.
func Load(path string) ([]Row, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a table of refusals: %w", err)
	}
	var rows []Row
	if err := yaml.UnmarshalStrict(b, &rows); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for i, r := range rows {
		if r.Operation == "" || r.Code == "" || r.Status == 0 || r.Source == "" {
			return nil, fmt.Errorf("%s: row %d (%s) needs operation, code, status and source", path, i+1, r.Operation)
		}
	}
	return rows, nil
}

// Paths are a service's tables, refusals*.yaml, under the module's root.
func Paths(root, service string) ([]string, error) {
	return filepath.Glob(filepath.Join(root, "emulator", "service", service, "testdata", "refusals*.yaml"))
}

// Check sends one row's request to the service and returns how the answer differs
// from the row, "" if it does not.
func Check(ctx context.Context, s *wire.Service, r Row, values map[string]string) string {
	op := s.Operation(r.Operation)
	if op == nil || !op.Implemented() {
		return "the service does not have the operation"
	}
	in, err := r.input(op, values)
	if err != nil {
		return err.Error()
	}
	out, err := s.Call(ctx, op, in)
	if err == nil {
		return fmt.Sprintf("it was answered: %+v", reflect.Indirect(reflect.ValueOf(out)))
	}
	status, code, message := s.Explain(err)
	want := os.Expand(r.Message, func(name string) string { return values[name] })
	if code != r.Code || status != r.Status || message != want {
		return fmt.Sprintf("got %d %s: %s\nwant %d %s: %s", status, code, message, r.Status, r.Code, want)
	}
	if again, _ := s.EncodeError(op, err, http.Header{}, "id"); again != status {
		return fmt.Sprintf("status %d on the wire, %d before", again, status)
	}
	return ""
}

func (r Row) input(op *wire.Operation, values map[string]string) (any, error) {
	in := op.NewInput()
	if len(r.Input) == 0 {
		return in, nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(expand(string(r.Input), values))))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		return nil, fmt.Errorf("the row's input does not fit %T: %w", in, err)
	}
	return in, nil
}

// expand puts values into JSON text.
func expand(s string, values map[string]string) string {
	return os.Expand(s, func(name string) string {
		quoted, err := json.Marshal(values[name])
		if err != nil {
			return "" // a string always has a JSON form
		}
		return string(quoted[1 : len(quoted)-1])
	})
}
