//go:build linux

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// relay hands connections on until ctx ends. The name is looked up each time: the engine
// gives a container that starts again another address.
func relay(ctx context.Context, l net.Listener, to string) {
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer c.Close()
			d := net.Dialer{Timeout: 10 * time.Second}
			there, err := d.DialContext(ctx, "tcp", to)
			if err != nil {
				return
			}
			defer there.Close()
			var wg sync.WaitGroup
			wg.Go(func() { copyHalf(there, c) })
			wg.Go(func() { copyHalf(c, there) })
			wg.Wait()
		}()
	}
}

// copyHalf passes on the end of a direction, not more: the other may have a word to say.
func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func replaceBody(r *http.Request, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	r.Header.Del("Content-Length")
	return nil
}
