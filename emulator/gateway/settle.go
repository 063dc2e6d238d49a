package gateway

import (
	"net/http"
	"strings"
	"time"
)

// An answer can be too fast for aws-sdk-go-v2. net/http's client writes a request's
// body straight to the socket and only then looks whether it has ended. If the
// answer was there first, smithy-go has closed the body by then, whose WriteTo
// returns io.EOF (transport/http/internal/io/safe.go); net/http takes that for a
// failure of the request and closes the connection under the answer. What of the
// answer did not fit into the client's first read of 4 KiB is lost ("use of closed
// network connection"), and the SDK repeats the request after a pause of up to a
// second. On two busy cores that met 0.2 % of such requests, with the pause 0.002 %.
// AWS is never that fast.
const (
	clientBuffer = 4 << 10
	settlePause  = 2 * time.Millisecond
)

// settling is how long to wait with an answer of n bytes. Requests without a body,
// as most of EKS's, and short answers lose nothing.
func settling(r *http.Request, n int) time.Duration {
	const headers = 512 // of the answer, and more than they ever are
	if r.ContentLength <= 0 || n <= clientBuffer-headers || r.ProtoMajor != 1 || !strings.Contains(r.UserAgent(), "aws-sdk-go-v2/") {
		return 0
	}
	return settlePause
}

// settle lets x's client get ready for the answer. The time is real whatever the
// gateway's clock: another process's scheduler is waited for.
func (x *exchange) settle() {
	d := settling(x.r, x.sent)
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.ctx.Done():
	}
}
