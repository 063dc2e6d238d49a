package etcd

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// unsettled are complaints that end by themselves: a database killed before its
// first batch does not know its schema's version, and is asked again in seconds.
var unsettled = map[string]bool{
	"failed to update storage version": true,
	"Failed to detect schema version":  true,
}

// zapTo returns a zap logger that hands warnings and worse to log. Until ready it
// hands over errors only: while it starts, etcd warns about how we run it on
// purpose.
func zapTo(log *slog.Logger, ready *atomic.Bool) *zap.Logger {
	return zap.New(&slogCore{log: log, ready: ready})
}

type slogCore struct {
	log   *slog.Logger
	ready *atomic.Bool
}

func (c *slogCore) Enabled(l zapcore.Level) bool {
	return l > zapcore.WarnLevel || l == zapcore.WarnLevel && c.ready.Load()
}

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{log: slog.New(c.log.Handler().WithAttrs(attrs(fields))), ready: c.ready}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && !unsettled[e.Message] {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	as := attrs(fields)
	if e.Level >= zapcore.DPanicLevel { // zap ends the process after this
		as = append(as, slog.String("mend", "if the state is damaged, `ekslocal reset` starts afresh"))
	}
	c.log.LogAttrs(context.Background(), level, "etcd: "+e.Message, as...)
	return nil
}

func (c *slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		out = append(out, slog.Any(f.Key, enc.Fields[f.Key]))
	}
	return out
}
