//go:build linux

package identity

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

// TestCredentials asks as SDKs do.
func TestCredentials(t *testing.T) {
	emulator := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in protocol.CredentialsRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != "/credentials" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		switch in.Token {
		case "good":
			protocol.Answer(w, protocol.PodCredentials{AccessKeyID: "ASIA", SecretAccessKey: "s", Token: "t", AccountID: "111122223333", Expiration: "2030-01-02T03:04:05Z"})
		case "stranger":
			protocol.Refuse(w, http.StatusForbidden, protocol.Failure{Code: "AccessDeniedException", Message: "Unauthorized Exception!"})
		default:
			protocol.Refuse(w, http.StatusBadGateway, protocol.Failure{Message: "ekslocal does not answer: is it running?"})
		}
	}))
	defer emulator.Close()
	agent := httptest.NewServer(Agent{Asks: protocol.NewClient(emulator.URL)})
	defer agent.Close()
	for name, c := range map[string]struct {
		path, token string
		status      int
		want        string
	}{
		"a pod":              {"/v1/credentials", "good", http.StatusOK, `"AccessKeyId":"ASIA"`},
		"no association":     {"/v1/credentials", "stranger", http.StatusForbidden, "(AccessDeniedException): Unauthorized Exception!, fault: client"},
		"no emulator":        {"/v1/credentials", "x", http.StatusInternalServerError, "is it running?"},
		"no token":           {"/v1/credentials", "", http.StatusBadRequest, "cannot be empty"},
		"much too much":      {"/v1/credentials", strings.Repeat("x", maxSecret+1), http.StatusBadRequest, "cannot be empty"},
		"something else":     {"/latest/meta-data", "good", http.StatusNotFound, ""},
		"a path that begins": {"/v1/credentials/x", "good", http.StatusNotFound, ""},
	} {
		req, err := http.NewRequest(http.MethodGet, agent.URL+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", c.token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %s, %s, %v", name, resp.Status, body, err)
		}
		if c.status == http.StatusOK {
			got := map[string]string{}
			want := map[string]string{"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": "t", "AccountId": "111122223333", "Expiration": "2030-01-02T03:04:05Z"}
			if err := json.Unmarshal(body, &got); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
	}
}

// TestHalfClose: a client that closes its side after the question is answered all the same.
func TestHalfClose(t *testing.T) {
	emulator := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			t.Error("the agent gives up")
		case <-time.After(200 * time.Millisecond): // more than the agent needs to notice
		}
		protocol.Answer(w, protocol.PodCredentials{AccessKeyID: "ASIA"})
	}))
	defer emulator.Close()
	agent := httptest.NewServer(Agent{Asks: protocol.NewClient(emulator.URL)})
	defer agent.Close()
	c, err := net.Dial("tcp", strings.TrimPrefix(agent.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/credentials HTTP/1.0\r\nAuthorization: good\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(c); err != nil || !strings.Contains(string(out), `"AccessKeyId":"ASIA"`) {
		t.Errorf("%s, %v", out, err)
	}
}
