package embedded

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/net/http2"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/authn"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane/authlog"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
)

// town is one cluster and roles with an access entry each.
type town struct {
	keys    map[string]sigv4.Key
	entries map[string]authn.Entry
}

func (town) Cluster(context.Context, string) (authn.Cluster, bool) {
	return authn.Cluster{Scope: awsid.Scope{Account: "111122223333", Region: "us-east-1"}, Name: "dev", AuthenticationMode: authn.ModeAPI}, true
}

func (w town) AccessEntry(_ context.Context, _ awsid.Scope, _, arn string) (authn.Entry, bool) {
	e, ok := w.entries[arn]
	return e, ok
}

func (w town) Key(_ context.Context, _, id string) (sigv4.Key, bool) {
	k, ok := w.keys[id]
	return k, ok
}

// question is what a child asks about a new token of role i.
func (w town) question(b *testing.B, i int) []byte {
	b.Helper()
	id, role := fmt.Sprintf("ASIA%016d", i), fmt.Sprintf("role-%d", i)
	w.keys[id] = sigv4.Key{Secret: "secret", SessionToken: fmt.Sprintf("%0300d", i), Caller: awsid.Caller{Scope: awsid.Scope{Account: "111122223333"},
		ARN: "arn:aws:sts::111122223333:assumed-role/" + role + "/me", UserID: "AROA:me", AccessKeyID: id}}
	w.entries["arn:aws:iam::111122223333:role/"+role] = authn.Entry{Type: "STANDARD", Groups: []string{"devs"}}
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("X-K8s-Aws-Id", "dev")
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	u, _, err := v4.NewSigner().PresignHTTP(b.Context(), aws.Credentials{AccessKeyID: id, SecretAccessKey: "secret", SessionToken: w.keys[id].SessionToken}, r, empty, "sts", "us-east-1", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	q, err := json.Marshal(TokenQuestion{authlog.TokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(u))})
	if err != nil {
		b.Fatal(err)
	}
	return q
}

// BenchmarkTokenReview is the way of a token that no cache knows: from the child over
// its socket to the daemon, verified, mapped, logged, answered.
func BenchmarkTokenReview(b *testing.B) {
	w := town{map[string]sigv4.Key{}, map[string]authn.Entry{}}
	var questions [][]byte
	for i := range 500 {
		questions = append(questions, w.question(b, i))
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	a, err := authn.New(authn.Config{Clusters: w, Entries: w, Keys: w, Clock: clock.RealClock{}, Log: log})
	if err != nil {
		b.Fatal(err)
	}
	lines, err := os.Create(filepath.Join(b.TempDir(), "authenticator.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer lines.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		b.Fatal(err)
	}
	conns := [2]net.Conn{}
	for i, f := range []*os.File{ours, theirs} {
		if conns[i], err = net.FileConn(f); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	s := &accessServer{id: "cluster", auth: a, log: log, lines: lines, clock: clock.RealClock{}}
	go s.serve(conns[0])
	defer conns[1].Close()
	client := http.Client{Transport: &http2.Transport{AllowHTTP: true, StrictMaxConcurrentStreams: true, DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) { return conns[1], nil }}}
	var next atomic.Int64
	b.SetParallelism(16)
	before := processorTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			res, err := client.Post("http://x"+PathAuthenticate, "application/json", bytes.NewReader(questions[int(next.Add(1))%len(questions)]))
			if err != nil {
				b.Error(err)
				return
			}
			var answer TokenAnswer
			err = json.NewDecoder(res.Body).Decode(&answer)
			res.Body.Close()
			if err != nil || !answer.OK {
				b.Errorf("%+v, %v", answer, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reviews/s")
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op") // what others on the machine do not change much
}

// processorTime is what this process has used, client and garbage included.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
