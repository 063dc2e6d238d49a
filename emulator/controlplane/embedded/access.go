package embedded

import (
	"bufio"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/authlog"
)

// Paths of the questions on a child's access socket. An answer is 200 and JSON;
// any other status is a failure of the emulator, its text the reason.
const (
	PathAuthenticate = "/authenticate" // TokenQuestion -> TokenAnswer
	PathAuthorize    = "/authorize"    // controlplane.Attributes -> AccessAnswer
	// PathAdmit, followed by the path of a webhook's URL: AdmissionReview ->
	// AdmissionReview.
	PathAdmit = "/admit"
	// PathDeprecated: []controlplane.DeprecatedUse -> null.
	PathDeprecated = "/deprecated"
)

// TokenQuestion asks whose token it is.
type TokenQuestion struct{ Token string }

// TokenAnswer is the answer; without OK nobody's.
type TokenAnswer struct {
	OK       bool
	Identity controlplane.Identity
}

// AccessAnswer tells whether an access policy allows the request.
type AccessAnswer struct {
	Allowed bool
	Reason  string
}

// maxQuestion is more than the largest token or attributes that an API server
// lets through in its headers.
const maxQuestion = 2 << 20

// accessServer answers one control plane's questions and writes its authenticator log.
type accessServer struct {
	id    string
	auth  controlplane.Authenticator
	admit controlplane.Admitter
	usage controlplane.UsageRecorder
	log   *slog.Logger
	lines io.Writer
	clock clock.PassiveClock
}

// serve answers on conn until that ends. It waits for the child's first byte
// itself: http2 hangs up on a client that is silent for its first 10 s, and a child
// says nothing before the cluster's first user comes.
func (s *accessServer) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); err != nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PathAuthenticate, s.authenticate)
	mux.HandleFunc("POST "+PathAuthorize, s.authorize)
	if s.admit != nil {
		mux.HandleFunc("POST "+PathAdmit+"/{path...}", s.review)
	}
	if s.usage != nil {
		mux.HandleFunc("POST "+PathDeprecated, s.deprecated)
	}
	srv := &http2.Server{MaxConcurrentStreams: 10000}
	srv.ServeConn(peekedConn{conn, in}, &http2.ServeConnOpts{Handler: mux, BaseConfig: &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}})
}

// peekedConn reads what was peeked at before the rest.
type peekedConn struct {
	net.Conn
	in *bufio.Reader
}

func (c peekedConn) Read(p []byte) (int, error) { return c.in.Read(p) }

func (s *accessServer) authenticate(w http.ResponseWriter, r *http.Request) {
	var q TokenQuestion
	if !readQuestion(w, r, &q) {
		return
	}
	id, ok, err := authlog.Log{Authenticator: s.auth, Lines: s.lines, Clock: s.clock, Log: s.log}.Authenticate(r.Context(), s.id, q.Token)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeAnswer(w, TokenAnswer{OK: ok, Identity: id})
}

func (s *accessServer) authorize(w http.ResponseWriter, r *http.Request) {
	var q controlplane.Attributes
	if !readQuestion(w, r, &q) {
		return
	}
	allowed, reason, err := s.auth.Authorize(r.Context(), s.id, q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeAnswer(w, AccessAnswer{Allowed: allowed, Reason: reason})
}

func (s *accessServer) review(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if !readQuestion(w, r, &review) {
		return
	}
	if review.Request == nil {
		http.Error(w, "admission review without a request", http.StatusBadRequest)
		return
	}
	answer, err := s.admit.Admit(r.Context(), s.id, r.PathValue("path"), review.Request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeAnswer(w, admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: answer})
}

func (s *accessServer) deprecated(w http.ResponseWriter, r *http.Request) {
	var uses []controlplane.DeprecatedUse
	if !readQuestion(w, r, &uses) {
		return
	}
	if err := s.usage.RecordDeprecated(r.Context(), s.id, uses); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeAnswer(w, nil)
}

func readQuestion(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion)).Decode(into); err != nil {
		http.Error(w, "malformed question: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func writeAnswer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a child that went away needs no answer
}
