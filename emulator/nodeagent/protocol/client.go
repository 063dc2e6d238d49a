package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Error is an answer that says no.
type Error struct {
	Status int
	Failure
}

func (e *Error) Error() string { return e.Message }

// Client asks a node's host agent, or what stands for it.
type Client struct {
	http *http.Client
	base string
}

// Local returns a client of the host agent of the node whose network namespace this is.
func Local() *Client { return At(Socket) }

// At returns a client of a unix socket.
func At(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://node"}
}

// NewClient returns a client of a server at a URL. It does not look behind a proxy, which
// nodes have for the Internet, and keeps no connection.
func NewClient(base string) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, base: base}
}

// Call asks a question and reads the whole answer; answer may be nil.
func (c *Client) Call(ctx context.Context, question string, body, answer any) error {
	resp, err := c.post(ctx, question, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("answer to %q: %w", question, err)
	}
	return nil
}

// maxAnswer is more than any answer, and than a report with a whole log.
const maxAnswer = 16 << 20

// Follow tells the emulator that a daemon runs, and hands its reports on until ctx, the
// emulator or take ends that.
func (c *Client) Follow(ctx context.Context, start DaemonStart, take func(DaemonReport) error) error {
	resp, err := c.post(ctx, Daemon, start)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var r DaemonReport
		if err := d.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		if err := take(r); err != nil {
			return err
		}
	}
}

func (c *Client) post(ctx context.Context, question string, body any) (*http.Response, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/"+question, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status alone is an answer too
	no := &Error{Status: resp.StatusCode}
	if json.Unmarshal(text, &no.Failure) != nil || no.Message == "" {
		no.Message = fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return nil, no
}

// Refuse answers a question with a failure.
func Refuse(w http.ResponseWriter, status int, f Failure) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f) // who went away needs no answer
}

// Answer answers a question.
func Answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who went away needs no answer
}
