package kind

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
)

// nodeSecret is by which a node proves what it is. It follows from the control plane's,
// so that nobody has to remember it, and does not tell it.
func nodeSecret(secret, instanceID string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("node/" + instanceID))
	return hex.EncodeToString(mac.Sum(nil))
}

// nodeURL is below which a node's agent asks.
func (q *questions) nodeURL(id, secret, instanceID string) string {
	return q.endpoint() + "/nodes/" + id + "/" + instanceID + "/" + nodeSecret(secret, instanceID)
}

// fromNode tells whether a path is a node's.
func fromNode(path string) bool { return strings.HasPrefix(path, "/nodes/") }

// node answers what a node's agent asks, whatever stands there in AWS's place.
func (q *questions) node(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/") // "", nodes, id, instance, secret, question
	if len(parts) != 6 || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	id, instance := parts[2], parts[3]
	secret, ok := q.secret(id)
	if !ok || subtle.ConstantTimeCompare([]byte(parts[4]), []byte(nodeSecret(secret, instance))) != 1 {
		protocol.Refuse(w, http.StatusForbidden, protocol.Failure{Message: "not a node of a cluster that runs here"})
		return
	}
	if q.cfg.Agents == nil {
		protocol.Refuse(w, http.StatusServiceUnavailable, protocol.Failure{Message: "this emulator has no real nodes"})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxReview)
	switch parts[5] {
	case protocol.AddPod:
		q.addPod(w, r, id, instance)
	case protocol.DelPod:
		q.delPod(w, r, id, instance)
	case protocol.Daemon:
		q.daemon(w, r, id, instance)
	case protocol.Sandboxes:
		q.sandboxes(w, r, id, instance)
	case protocol.Credentials:
		q.credentials(w, r, id, instance)
	default:
		http.NotFound(w, r)
	}
}

func sandbox(s protocol.Sandbox) controlplane.Sandbox {
	return controlplane.Sandbox{
		ContainerID: s.ContainerID, Pod: types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, UID: types.UID(s.UID), IP: s.IP,
	}
}

func sandboxes(list []protocol.Sandbox) (out []controlplane.Sandbox) {
	for _, s := range list {
		out = append(out, sandbox(s))
	}
	return out
}

func (q *questions) sandboxes(w http.ResponseWriter, r *http.Request, id, instance string) {
	var in protocol.SandboxList
	if !questionOf(w, r, &in) {
		return
	}
	if err := q.cfg.Agents.Sandboxes(r.Context(), id, instance, sandboxes(in.Sandboxes)); err != nil {
		fail(w, err)
	}
}

func (q *questions) addPod(w http.ResponseWriter, r *http.Request, id, instance string) {
	var s protocol.Sandbox
	if !questionOf(w, r, &s) {
		return
	}
	ip, err := q.cfg.Agents.AddPod(r.Context(), id, instance, sandbox(s))
	if err != nil {
		fail(w, err)
		return
	}
	protocol.Answer(w, protocol.PodNetwork{IP: ip})
}

func (q *questions) delPod(w http.ResponseWriter, r *http.Request, id, instance string) {
	var s protocol.Sandbox
	if !questionOf(w, r, &s) {
		return
	}
	if err := q.cfg.Agents.DelPod(r.Context(), id, instance, sandbox(s)); err != nil {
		fail(w, err)
	}
}

// daemon keeps the call open while the daemon's container runs.
func (q *questions) daemon(w http.ResponseWriter, r *http.Request, id, instance string) {
	var in protocol.DaemonStart
	if !questionOf(w, r, &in) {
		return
	}
	start := controlplane.DaemonStart{Run: in.Run, Env: in.Env, Sandboxes: sandboxes(in.Sandboxes)}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(q.life, cancel)()
	out := http.NewResponseController(w)
	begun := false
	err := q.cfg.Agents.Daemon(ctx, id, instance, start, func(d controlplane.DaemonReport) error {
		begun = true
		// Who does not read is gone; without this its loop would wait for the engine's
		// network to find that out.
		_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second))
		report := protocol.DaemonReport{Phase: d.Phase, Reason: d.Reason, Log: d.Log}
		if d.Network != nil {
			report.Network = &protocol.NodeNetwork{Inside: d.Network.Inside, ExternalSNAT: d.Network.ExternalSNAT}
		}
		if err := json.NewEncoder(w).Encode(report); err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil && !begun {
		fail(w, err)
	}
}

func (q *questions) credentials(w http.ResponseWriter, r *http.Request, id, instance string) {
	var in protocol.CredentialsRequest
	if !questionOf(w, r, &in) {
		return
	}
	c, err := q.cfg.Agents.PodCredentials(r.Context(), id, instance, in.Token)
	if err != nil {
		fail(w, err)
		return
	}
	protocol.Answer(w, protocol.PodCredentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, Token: c.Token, AccountID: c.AccountID, Expiration: c.Expiration.UTC().Format(time.RFC3339),
	})
}

func questionOf(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		protocol.Refuse(w, http.StatusBadRequest, protocol.Failure{Message: "malformed question: " + err.Error()})
		return false
	}
	return true
}

// fail answers an error: AWS's with its code.
func fail(w http.ResponseWriter, err error) {
	f, status := protocol.Failure{Message: err.Error()}, http.StatusInternalServerError
	var aws smithy.APIError
	switch {
	case errors.As(err, &aws):
		f.Message, f.Code, status = aws.ErrorMessage(), aws.ErrorCode(), http.StatusBadRequest
		if aws.ErrorCode() == "AccessDeniedException" {
			status = http.StatusForbidden
		}
	case errors.Is(err, controlplane.ErrNoAgent):
		status = http.StatusServiceUnavailable
	}
	protocol.Refuse(w, status, f)
}
