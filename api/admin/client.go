package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// Client calls the API of a running emulator.
type Client struct {
	endpoint string
	http     *http.Client
}

// NewClient takes the emulator's endpoint, such as http://127.0.0.1:4566. hc may
// be nil.
func NewClient(endpoint string, hc *http.Client) *Client {
	if hc == nil {
		hc = http.DefaultClient
	}
	return &Client{endpoint: strings.TrimSuffix(endpoint, "/"), http: hc}
}

// Endpoint is what NewClient was given.
func (c *Client) Endpoint() string { return c.endpoint }

// ErrNotRunning is returned, wrapped, when nothing listens at the endpoint.
var ErrNotRunning = errors.New("ekslocal is not running")

// Health asks how the emulator is. It answers without an error also while the
// emulator starts or stops: look at Status.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	var h Health
	err := c.do(ctx, http.MethodGet, "/health", &h)
	return &h, err
}

// Status asks what runs.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	err := c.do(ctx, http.MethodGet, "/status", &s)
	return &s, err
}

// Sessions asks for the temporary credentials that are good now.
func (c *Client) Sessions(ctx context.Context) (*Sessions, error) {
	var s Sessions
	err := c.do(ctx, http.MethodGet, "/sessions", &s)
	return &s, err
}

// CA returns the PEM of the certificate authority that signs the emulator's
// endpoints and OIDC issuers.
func (c *Client) CA(ctx context.Context) ([]byte, error) {
	var pem []byte
	err := c.do(ctx, http.MethodGet, "/ca", &pem)
	return pem, err
}

// Reset deletes everything in every account and region; it returns when it is
// gone.
func (c *Client) Reset(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/reset", nil)
}

// Stop asks the emulator to end. It returns when the request was taken.
func (c *Client) Stop(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/stop", nil)
}

// maxBody bounds what is read from something that may not be an emulator.
const maxBody = 16 << 20

func (c *Client) do(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+Prefix+path, nil)
	if err != nil {
		return fmt.Errorf("the endpoint %q is not a URL such as http://127.0.0.1:4566: %w", c.endpoint, err)
	}
	req.Header.Set(IntentHeader, "cli")
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.endpoint, err)
	}
	if _, health := into.(*Health); resp.StatusCode/100 != 2 && !(health && resp.StatusCode == http.StatusServiceUnavailable) {
		return failure(c.endpoint, resp, body)
	}
	switch into := into.(type) {
	case nil:
		return nil
	case *[]byte:
		*into = body
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return notOurs(c.endpoint)
	}
	return nil
}

func (c *Client) unreachable(err error) error {
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w at %s: start it with `ekslocal start`", ErrNotRunning, c.endpoint)
	case errors.As(err, &unknown), errors.As(err, &record):
		return fmt.Errorf("the endpoint %s cannot be trusted: use http://, or `ekslocal ca` as the CA: %w", c.endpoint, err)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%s does not answer: %w", c.endpoint, err)
}

func failure(endpoint string, resp *http.Response, body []byte) error {
	e := &Error{StatusCode: resp.StatusCode}
	if json.Unmarshal(body, e) != nil || e.Code == "" {
		return notOurs(endpoint)
	}
	return e
}

func notOurs(endpoint string) error {
	return fmt.Errorf("what answers at %s is not ekslocal: pass --endpoint, or stop it", endpoint)
}
