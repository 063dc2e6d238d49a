package kind

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// maxQuestion is more than the largest token or attributes that an API server lets
// through in its headers.
const maxQuestion = 2 << 20

// address is where one control plane asks. The secret is a part of it: client-go sends
// no credentials to where there is no TLS.
type address struct{ base string }

func (a address) url(question string) string { return a.base + "/" + question }

// questions answers the webhooks of all control planes, by plain HTTP on an address
// that containers reach. Each control plane has a secret of its own: pods reach the
// address too.
type questions struct {
	auth      controlplane.Authenticator
	log       *slog.Logger
	server    *http.Server
	advertise string // host:port

	mu      sync.Mutex
	secrets map[string]string // by control plane
}

// listenForQuestions prefers the address that it had before: control planes that run
// are told another one by a restart of their components.
func listenForQuestions(ctx context.Context, cfg Config, e engine) (*questions, error) {
	w, err := e.wayBack(ctx)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(w.listen, "0"))
	if err != nil {
		return nil, fmt.Errorf("listening for the questions of control planes: %w", err)
	}
	remembered := filepath.Join(cfg.RunDir, "address")
	if b, err := os.ReadFile(remembered); err == nil {
		if was, err := lc.Listen(ctx, "tcp", strings.TrimSpace(string(b))); err == nil {
			_ = l.Close()
			l = was
		}
	}
	if err := os.WriteFile(remembered, []byte(l.Addr().String()+"\n"), 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if w.advertise != w.listen {
		host = w.advertise
	}
	q := &questions{auth: cfg.Authenticator, log: cfg.Log, advertise: net.JoinHostPort(host, port), secrets: map[string]string{}}
	q.server = &http.Server{Handler: q.handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)}
	go func() {
		if err := q.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("control planes cannot ask any more", "error", err)
		}
	}()
	return q, nil
}

func (q *questions) close() error { return q.server.Close() }

// answer lets a control plane ask from now on.
func (q *questions) answer(id, secret string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.secrets[id] = secret
}

func (q *questions) forget(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.secrets, id)
}

func (q *questions) address(id, secret string) address {
	return address{base: "http://" + q.advertise + "/clusters/" + id + "/" + secret}
}

func (q *questions) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /clusters/{id}/{secret}/authenticate", q.authenticate)
	mux.HandleFunc("POST /clusters/{id}/{secret}/authorize", q.authorize)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/") // "", clusters, id, secret, question
		if len(parts) != 5 {
			http.NotFound(w, r)
			return
		}
		q.mu.Lock()
		secret, ok := q.secrets[parts[2]]
		q.mu.Unlock()
		if !ok || subtle.ConstantTimeCompare([]byte(parts[3]), []byte(secret)) != 1 {
			http.Error(w, "not a control plane", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxQuestion)
		mux.ServeHTTP(w, r)
	})
}

// authenticate answers a TokenReview. That a token of ours is refused is an answer,
// the reason is not for the client, as on EKS.
func (q *questions) authenticate(w http.ResponseWriter, r *http.Request) {
	var review authenticationv1.TokenReview
	if !read(w, r, &review) {
		return
	}
	id, ok, err := q.auth.Authenticate(r.Context(), r.PathValue("id"), review.Spec.Token)
	if denied := new(controlplane.Denied); errors.As(err, &denied) {
		ok, err = false, nil
	}
	if err != nil {
		q.log.Warn("a control plane's question about a token", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer := authenticationv1.TokenReview{TypeMeta: review.TypeMeta}
	if ok {
		answer.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
			Username: id.Username, UID: id.UID, Groups: id.Groups, Extra: map[string]authenticationv1.ExtraValue{},
		}}
		for k, v := range id.Extra {
			answer.Status.User.Extra[k] = v
		}
	}
	write(w, answer)
}

// authorize answers a SubjectAccessReview. What no policy allows, another authorizer
// may: it is never denied, and never with a reason, which would end up in the client's
// error, unlike EKS's.
func (q *questions) authorize(w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.SubjectAccessReview
	if !read(w, r, &review) {
		return
	}
	allowed, reason, err := q.auth.Authorize(r.Context(), r.PathValue("id"), attributes(review.Spec))
	if err != nil {
		q.log.Warn("a control plane's question about access", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer := authorizationv1.SubjectAccessReview{TypeMeta: review.TypeMeta}
	if allowed {
		answer.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}
	}
	write(w, answer)
}

func attributes(s authorizationv1.SubjectAccessReviewSpec) controlplane.Attributes {
	a := controlplane.Attributes{Username: s.User, Groups: s.Groups}
	for k, v := range s.Extra {
		if a.Extra == nil {
			a.Extra = map[string][]string{}
		}
		a.Extra[k] = v
	}
	if r := s.ResourceAttributes; r != nil {
		a.Verb, a.APIGroup, a.Resource, a.Subresource, a.Namespace, a.Name = r.Verb, r.Group, r.Resource, r.Subresource, r.Namespace, r.Name
	}
	if n := s.NonResourceAttributes; n != nil {
		a.Verb, a.Path = n.Verb, n.Path
	}
	return a
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, "malformed question: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an API server that went away needs no answer
}
