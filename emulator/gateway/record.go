package gateway

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// recentRequests is how many requests Recent remembers.
const recentRequests = 512

// Record is what is remembered of a request that was answered.
type Record struct {
	Time      time.Time     `json:"time"`
	RequestID string        `json:"requestId"`
	Service   string        `json:"service"`
	Operation string        `json:"operation"`
	Status    int           `json:"status"`
	ErrorCode string        `json:"errorCode,omitempty"`
	Error     string        `json:"error,omitempty"`
	Duration  time.Duration `json:"duration"`
	Account   string        `json:"account"`
	Region    string        `json:"region"`
	CallerARN string        `json:"callerArn"`
	UserAgent string        `json:"userAgent"`
	SourceIP  string        `json:"sourceIp"`
}

// Recent returns the last requests, the newest first.
func (g *Gateway) Recent() []Record { return g.recent.list() }

// record is the end of every request, also of those that are aborted.
func (g *Gateway) record(x *exchange) {
	rec := Record{
		Time: x.start, RequestID: x.requestID, Service: x.serviceID(), Operation: x.operation(), Status: x.status,
		ErrorCode: errorCode(x.err), Duration: g.cfg.Clock.Since(x.start),
		Account: x.caller.Account, Region: x.caller.Region, CallerARN: x.caller.ARN,
		UserAgent: x.r.UserAgent(), SourceIP: sourceIP(x.r),
	}
	if x.err != nil {
		rec.Error = x.err.Error()
	}
	g.recent.add(rec)
	g.metrics.observe(&rec)
	level := slog.LevelInfo
	if x.status >= http.StatusInternalServerError && x.status != http.StatusNotImplemented {
		level = slog.LevelError
	}
	if x.upstream {
		level = slog.LevelInfo // its failures are not ours
	}
	if !g.log.Enabled(x.ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("service", rec.Service), slog.String("operation", rec.Operation), slog.Int("status", rec.Status))
	if x.err != nil {
		attrs = append(attrs, slog.String("code", rec.ErrorCode), slog.String("error", rec.Error))
	}
	if x.op == nil {
		attrs = append(attrs, slog.String("requested", x.opName))
	}
	attrs = append(attrs, slog.Duration("duration", rec.Duration), slog.String("caller", rec.CallerARN),
		slog.String("region", rec.Region), slog.String("request_id", rec.RequestID))
	g.log.LogAttrs(x.ctx, level, "request", attrs...)
}

// ring keeps the last n records.
type ring struct {
	mu   sync.Mutex
	next int
	recs []Record
}

func newRing(n int) *ring { return &ring{recs: make([]Record, 0, n)} }

func (r *ring) add(rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.recs) < cap(r.recs) {
		r.recs = append(r.recs, rec)
		return
	}
	r.recs[r.next] = rec
	r.next = (r.next + 1) % len(r.recs)
}

func (r *ring) list() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Record, 0, len(r.recs))
	for i := range r.recs {
		out = append(out, r.recs[(r.next+len(r.recs)-1-i)%len(r.recs)])
	}
	return out
}

type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ekslocal_aws_requests_total", Help: "AWS API requests by service, operation and error code (OK for success).",
		}, []string{"service", "operation", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ekslocal_aws_request_duration_seconds", Help: "Time from a request's first line to its answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"service", "operation"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.durations} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observe(r *Record) {
	code := r.ErrorCode
	if code == "" {
		code = "OK"
	}
	m.requests.WithLabelValues(r.Service, r.Operation, code).Inc()
	m.durations.WithLabelValues(r.Service, r.Operation).Observe(r.Duration.Seconds())
}
