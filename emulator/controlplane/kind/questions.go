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
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/authlog"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/relay"
)

// address is where one control plane asks. The secret is its user's password: client-go
// leaves out the credentials of a kubeconfig where there is no TLS, but not those of the
// URL itself, which Go sends as basic authentication and puts into no error. A path would
// be in every error of the API server's, which its clients see and its log has.
type address struct{ base string }

func (a address) url(question string) string { return a.base + "/" + question }

// questions answers what asks from containers, by plain HTTP on an address that they
// reach: control planes below /clusters/, each with a secret of its own, for pods reach
// the address too; and AWS's clients everywhere else.
type questions struct {
	cfg       Config
	life      context.Context // ends when no more are answered
	end       context.CancelFunc
	server    *http.Server
	advertise string // host:port

	mu     sync.Mutex
	askers map[string]*asker // by control plane
}

// asker is a control plane that may ask.
type asker struct {
	secret string
	auth   authlog.Log
	lines  *logfile.Writer // of auth
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
	q := &questions{cfg: cfg, advertise: net.JoinHostPort(host, port), askers: map[string]*asker{}}
	q.life, q.end = context.WithCancel(context.Background())
	q.server = &http.Server{
		Handler: q.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Minute, // longer than clients'
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	cfg.Log.Info("containers reach AWS's APIs here", "endpoint", q.endpoint())
	go func() {
		if err := q.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("control planes cannot ask any more", "error", err)
		}
	}()
	return q, nil
}

func (q *questions) close() error {
	q.end()
	err := q.server.Close()
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, a := range q.askers {
		err = errors.Join(err, a.lines.Close())
		delete(q.askers, id)
	}
	return err
}

// endpoint is the URL for AWS's clients in containers.
func (q *questions) endpoint() string { return "http://" + q.advertise }

// host is the address or the name that containers call.
func (q *questions) host() string {
	host, _, _ := net.SplitHostPort(q.advertise) // we have joined it
	return host
}

// answer lets a control plane ask from now on.
func (q *questions) answer(id, secret string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if a := q.askers[id]; a != nil {
		a.secret = secret
		return nil
	}
	lines, err := logfile.Open(authenticatorLog(q.cfg, id))
	if err != nil {
		return fmt.Errorf("authenticator's log: %w", err)
	}
	q.askers[id] = &asker{secret: secret, lines: lines,
		auth: authlog.Log{Authenticator: q.cfg.Authenticator, Lines: lines, Clock: q.cfg.Clock, Log: q.cfg.Log}}
	return nil
}

func (q *questions) forget(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if a := q.askers[id]; a != nil {
		_ = a.lines.Close() // it is about to be removed
		delete(q.askers, id)
	}
}

// secret is a control plane's.
func (q *questions) secret(id string) (string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.askers[id]
	if a == nil {
		return "", false
	}
	return a.secret, true
}

func (q *questions) asker(id, secret string) *asker {
	q.mu.Lock()
	defer q.mu.Unlock()
	if a := q.askers[id]; a != nil && subtle.ConstantTimeCompare([]byte(secret), []byte(a.secret)) == 1 {
		return a
	}
	return nil
}

// askerName is the user's name of all control planes: the path says which one asks.
const askerName = "control-plane"

func (q *questions) address(id, secret string) address {
	at := url.URL{Scheme: "http", User: url.UserPassword(askerName, secret), Host: q.advertise, Path: "/clusters/" + id}
	return address{base: at.String()}
}

// maxReview is more than the largest object twice, as an update's admission review has
// it.
const maxReview = 8 << 20

func (q *questions) handler() http.Handler {
	answers := map[string]func(*asker, http.ResponseWriter, *http.Request){
		"authenticate": q.authenticate, "authorize": q.authorize, "admit": q.admit, "deprecated": q.deprecated,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fromNode(r.URL.Path) && !signed(r) {
			q.node(w, r)
			return
		}
		parts := strings.SplitN(r.URL.Path, "/", 4) // "", clusters, id, question and more
		if len(parts) < 4 || parts[1] != "clusters" || signed(r) {
			q.aws(w, r)
			return
		}
		_, secret, _ := r.BasicAuth() // none is nobody's secret
		a := q.asker(parts[2], secret)
		question, more, _ := strings.Cut(parts[3], "/")
		switch answer := answers[question]; {
		case a == nil:
			http.Error(w, "not a control plane", http.StatusForbidden)
		case answer == nil || r.Method != http.MethodPost:
			http.NotFound(w, r)
		default:
			r.SetPathValue("id", parts[2])
			r.SetPathValue("path", more)
			r.Body = http.MaxBytesReader(w, r.Body, maxReview)
			answer(a, w, r)
		}
	})
}

// signed: EKS's own API has paths below /clusters/ too, whose requests are signed.
func signed(r *http.Request) bool { return strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-") }

// aws answers AWS's clients in containers, as the emulator's own endpoint does. What
// else that has, such as the administration of the emulator, is not for pods, whatever
// their requests look like: no API of AWS has such paths.
func (q *questions) aws(w http.ResponseWriter, r *http.Request) {
	if q.cfg.AWS == nil || strings.HasPrefix(r.URL.Path, "/_") || r.URL.Path == "/metrics" {
		http.NotFound(w, r)
		return
	}
	q.cfg.AWS.ServeHTTP(w, r)
}

// authenticate answers a TokenReview.
func (q *questions) authenticate(a *asker, w http.ResponseWriter, r *http.Request) {
	var review authenticationv1.TokenReview
	if !read(w, r, &review) {
		return
	}
	id, ok, err := a.auth.Authenticate(r.Context(), r.PathValue("id"), review.Spec.Token)
	if err != nil {
		q.cfg.Log.Warn("a control plane's question about a token", "error", err)
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
func (q *questions) authorize(_ *asker, w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.SubjectAccessReview
	if !read(w, r, &review) {
		return
	}
	allowed, reason, err := q.cfg.Authenticator.Authorize(r.Context(), r.PathValue("id"), attributes(review.Spec))
	if err != nil {
		q.cfg.Log.Warn("a control plane's question about access", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer := authorizationv1.SubjectAccessReview{TypeMeta: review.TypeMeta}
	if allowed {
		answer.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: reason}
	}
	write(w, answer)
}

// admit answers the webhooks that the relay hands on.
func (q *questions) admit(_ *asker, w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if !read(w, r, &review) {
		return
	}
	if review.Request == nil {
		http.Error(w, "admission review without a request", http.StatusBadRequest)
		return
	}
	if q.cfg.Admitter == nil {
		http.Error(w, "there are no webhooks", http.StatusNotFound)
		return
	}
	answer, err := q.cfg.Admitter.Admit(r.Context(), r.PathValue("id"), r.PathValue("path"), review.Request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: answer})
}

// deprecated takes what the relay has counted.
func (q *questions) deprecated(_ *asker, w http.ResponseWriter, r *http.Request) {
	var uses []relay.DeprecatedUse
	if !read(w, r, &uses) {
		return
	}
	if q.cfg.Usage != nil {
		out := make([]controlplane.DeprecatedUse, len(uses))
		for i, u := range uses {
			out[i] = controlplane.DeprecatedUse(u)
		}
		if err := q.cfg.Usage.RecordDeprecated(r.Context(), r.PathValue("id"), out); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	write(w, nil)
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
