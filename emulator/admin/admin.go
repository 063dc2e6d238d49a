// Package admin serves the emulator's own REST API (api/admin).
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"

	api "github.com/ekslocal/ekslocal/api/admin"
)

// Emulator is what the API shows and drives.
type Emulator interface {
	// Health is cheap: it is asked every second by some.
	Health(ctx context.Context) api.Health
	Status(ctx context.Context) (api.Status, error)
	// AddressUse's error for a query that fits nothing is an *api.Error.
	AddressUse(ctx context.Context, q api.AddressQuery) (api.AddressUse, error)
	SubnetHoldings(ctx context.Context, subnet string) (api.SubnetHoldings, error)
	Sessions(ctx context.Context) api.Sessions
	// PodCredentials' error for a pod that is not there is an *api.Error.
	PodCredentials(ctx context.Context, q api.PodQuery) (*api.PodCredentials, error)
	// Decisions' error for a query that is none is an *api.Error.
	Decisions(ctx context.Context, q api.DecisionQuery) (api.Decisions, error)
	// CA returns PEM.
	CA(ctx context.Context) ([]byte, error)
	// Reset deletes everything and returns when it is gone.
	Reset(ctx context.Context) error
	// Stop begins to end the emulator and returns.
	Stop()
}

type handler struct {
	emu Emulator
	log *slog.Logger
}

// Register adds the API's routes to r, and the health address that users of
// LocalStack know.
func Register(r *mux.Router, emu Emulator, log *slog.Logger) {
	h := &handler{emu: emu, log: log}
	r.HandleFunc("/_localstack/health", h.health).Methods(http.MethodGet, http.MethodHead)
	s := r.PathPrefix(api.Prefix).Subrouter()
	s.HandleFunc("/health", h.health).Methods(http.MethodGet, http.MethodHead)
	s.HandleFunc("/status", h.status).Methods(http.MethodGet)
	s.HandleFunc("/ips", h.ips).Methods(http.MethodGet)
	s.HandleFunc("/ips/{subnet}", h.holdings).Methods(http.MethodGet)
	s.HandleFunc("/sessions", h.sessions).Methods(http.MethodGet)
	s.HandleFunc("/pods/{namespace}/{pod}/credentials", h.intended(h.podCredentials)).Methods(http.MethodPost)
	s.HandleFunc("/iam/decisions", h.decisions).Methods(http.MethodGet)
	s.HandleFunc("/ca", h.ca).Methods(http.MethodGet)
	s.HandleFunc("/reset", h.intended(h.reset)).Methods(http.MethodPost)
	s.HandleFunc("/stop", h.intended(h.stop)).Methods(http.MethodPost)
	s.PathPrefix("").HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, &api.Error{StatusCode: http.StatusNotFound, Code: "NotFound", Message: "there is no " + r.Method + " " + r.URL.Path})
	})
}

// intended lets requests through that a foreign web page cannot have sent.
func (h *handler) intended(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(api.IntentHeader) == "" {
			h.fail(w, &api.Error{StatusCode: http.StatusForbidden, Code: "IntentRequired",
				Message: "set the header " + api.IntentHeader + ": it tells this request from one that a web page makes behind its reader's back"})
			return
		}
		next(w, r)
	}
}

func (h *handler) health(w http.ResponseWriter, r *http.Request) {
	health, code := h.emu.Health(r.Context()), http.StatusOK
	if health.Status != api.Running {
		code = http.StatusServiceUnavailable
	}
	h.answer(w, code, health)
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	st, err := h.emu.Status(r.Context())
	if err != nil {
		h.fail(w, err)
		return
	}
	st.Clusters = orEmpty(st.Clusters)
	h.answer(w, http.StatusOK, st)
}

func (h *handler) ips(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	use, err := h.emu.AddressUse(r.Context(), api.AddressQuery{Cluster: v.Get("cluster"), Region: v.Get("region"), Account: v.Get("account")})
	if err != nil {
		h.fail(w, err)
		return
	}
	// Clients iterate over these: null would surprise them.
	use.Subnets, use.Nodes, use.Waiting = orEmpty(use.Subnets), orEmpty(use.Nodes), orEmpty(use.Waiting)
	h.answer(w, http.StatusOK, use)
}

func (h *handler) holdings(w http.ResponseWriter, r *http.Request) {
	held, err := h.emu.SubnetHoldings(r.Context(), mux.Vars(r)["subnet"])
	if err != nil {
		h.fail(w, err)
		return
	}
	h.answer(w, http.StatusOK, held)
}

func (h *handler) sessions(w http.ResponseWriter, r *http.Request) {
	list := h.emu.Sessions(r.Context())
	list.Sessions = orEmpty(list.Sessions)
	h.answer(w, http.StatusOK, list)
}

func (h *handler) podCredentials(w http.ResponseWriter, r *http.Request) {
	v, at := r.URL.Query(), mux.Vars(r)
	out, err := h.emu.PodCredentials(r.Context(), api.PodQuery{
		Cluster: v.Get("cluster"), Region: v.Get("region"), Account: v.Get("account"),
		Namespace: at["namespace"], Pod: at["pod"], Container: v.Get("container"),
	})
	if err != nil {
		h.fail(w, err)
		return
	}
	h.answer(w, http.StatusOK, out)
}

func (h *handler) decisions(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	q := api.DecisionQuery{Principal: v.Get("principal"), Action: v.Get("action")}
	var errs [3]error
	for i, p := range []struct {
		name string
		read func(string) error
	}{
		{"denied", func(s string) (err error) { q.Denied, err = strconv.ParseBool(s); return err }},
		{"limit", func(s string) (err error) { q.Limit, err = strconv.Atoi(s); return err }},
		{"after", func(s string) (err error) { q.After, err = strconv.ParseUint(s, 10, 64); return err }},
	} {
		if s := v.Get(p.name); s != "" {
			errs[i] = p.read(s)
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		h.fail(w, &api.Error{StatusCode: http.StatusBadRequest, Code: "BadQuery", Message: err.Error()})
		return
	}
	d, err := h.emu.Decisions(r.Context(), q)
	if err != nil {
		h.fail(w, err)
		return
	}
	d.Decisions = orEmpty(d.Decisions)
	h.answer(w, http.StatusOK, d)
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func (h *handler) ca(w http.ResponseWriter, r *http.Request) {
	pem, err := h.emu.CA(r.Context())
	if err != nil {
		h.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(pem)
}

func (h *handler) reset(w http.ResponseWriter, r *http.Request) {
	// Half a reset helps nobody: it goes on when the client hangs up.
	if err := h.emu.Reset(context.WithoutCancel(r.Context())); err != nil {
		h.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *handler) stop(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	if err := http.NewResponseController(w).Flush(); err != nil {
		h.log.Debug("admin: the answer to stop did not get out", "error", err)
	}
	h.emu.Stop()
}

func (h *handler) answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		h.log.Debug("admin: the answer did not get out", "error", err)
	}
}

func (h *handler) fail(w http.ResponseWriter, err error) {
	e := &api.Error{StatusCode: http.StatusInternalServerError, Code: "Internal", Message: err.Error()}
	if !errors.As(err, &e) {
		h.log.Error("admin", "error", err)
	}
	h.answer(w, e.StatusCode, e)
}
