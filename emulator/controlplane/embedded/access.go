package embedded

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
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

// AWSTokenPrefix begins the tokens of aws eks get-token. Others that are asked
// about are of OIDC identity providers, or of nobody.
const AWSTokenPrefix = "k8s-aws-v1."

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

// accessServer answers one control plane's questions and writes its
// authenticator log in the form of aws-iam-authenticator's.
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
	id, ok, err := s.auth.Authenticate(r.Context(), s.id, q.Token)
	var denied *controlplane.Denied
	switch {
	case errors.As(err, &denied):
		s.signed(denied.Extra)
		s.line("warning", "access denied", "arn", first(denied.Extra["canonicalArn"]), "error", denied.Reason)
	case ok && err == nil && !strings.HasPrefix(q.Token, AWSTokenPrefix): // an identity provider's is not the authenticator's business on EKS
	case err != nil:
		s.line("error", "could not authenticate", "error", err.Error())
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	case ok:
		s.signed(id.Extra)
		s.line("info", "access granted", "arn", first(id.Extra["canonicalArn"]), "groups", fmt.Sprint(id.Groups), "uid", id.UID, "username", id.Username)
	default:
		s.line("warning", "access denied", "error", fmt.Sprintf("input token was not properly formatted: token is missing expected %q prefix", AWSTokenPrefix))
	}
	writeAnswer(w, TokenAnswer{OK: ok && err == nil, Identity: id})
}

// signed tells whom STS would have named.
func (s *accessServer) signed(extra map[string][]string) {
	if arn := first(extra["arn"]); arn != "" {
		account := ""
		if p := strings.SplitN(arn, ":", 6); len(p) == 6 {
			account = p[4]
		}
		s.line("info", "STS response", "accesskeyid", first(extra["accessKeyId"]), "accountid", account, "arn", arn,
			"session", first(extra["sessionName"]), "userid", first(extra["principalId"]))
	}
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

// plain tells whether logrus writes a value without quotes.
func plain(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._/@^+", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// line writes one line as logrus does, whose fields are sorted: time, level and
// message first. The fields given come in pairs; those of every request are added.
func (s *accessServer) line(level, msg string, fields ...string) {
	type field struct{ name, value string }
	all := make([]field, 0, 16)
	all = append(all, field{"client", "127.0.0.1:0"}, field{"method", http.MethodPost}, field{"path", PathAuthenticate})
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] != "arn" || fields[i+1] != "" {
			all = append(all, field{fields[i], fields[i+1]})
		}
	}
	slices.SortFunc(all, func(x, y field) int { return strings.Compare(x.name, y.name) })
	b := make([]byte, 0, 512)
	b = append(s.clock.Now().UTC().AppendFormat(append(b, `time="`...), time.RFC3339), `" level=`...)
	b = strconv.AppendQuote(append(append(b, level...), " msg="...), msg)
	for _, f := range all {
		b = append(append(append(b, ' '), f.name...), '=')
		if plain(f.value) {
			b = append(b, f.value...)
		} else {
			b = strconv.AppendQuote(b, f.value)
		}
	}
	if _, err := s.lines.Write(append(b, '\n')); err != nil {
		s.log.Debug("authenticator log", "error", err)
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
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
