package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/textproto"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

const (
	connections  = 32
	describeTime = 10 * time.Second
)

// measureDescribe: signed DescribeCluster calls over loopback, the peer's in turn
// with ours so that both see the same machine.
func measureDescribe(ctx context.Context, b *bench) error {
	s, err := b.emulator(ctx, "--no-spare")
	if err != nil {
		return err
	}
	defer s.stop()
	a, err := newAccount(ctx, s.endpoint)
	if err != nil {
		return err
	}
	if _, err := a.cluster(ctx, "dev"); err != nil {
		return err
	}
	peer := startMoto(ctx)
	if peer != nil {
		defer peer.stop()
	}
	for round := 1; round <= 2; round++ {
		r, err := hammer(ctx, s.endpoint, "/clusters/dev")
		if err != nil {
			return err
		}
		b.row(fmt.Sprintf("DescribeCluster, signature verified, %d connections (round %d)", connections, round), "%s", r)
		if peer == nil {
			continue
		}
		if r, err = hammer(ctx, peer.endpoint, "/clusters/dev"); err != nil {
			return err
		}
		b.row(fmt.Sprintf("The same on moto_server, which verifies nothing (round %d)", round), "%s", r)
	}
	return nil
}

// startMoto starts the peer with a cluster of the same name, nil if there is none.
func startMoto(ctx context.Context) *server {
	path, err := exec.LookPath("moto_server")
	if err != nil {
		log.Print("moto_server is not on the PATH: no peer")
		return nil
	}
	port, err := freePort()
	if err != nil {
		return nil
	}
	s, err := launch(ctx, port, "/moto-api/data.json", path, "-p", strconv.Itoa(port))
	if err != nil {
		log.Printf("moto_server: %v", err)
		return nil
	}
	a, err := newAccount(ctx, s.endpoint)
	if err == nil {
		_, err = a.eks.CreateCluster(ctx, &eks.CreateClusterInput{Name: aws.String("dev"), RoleArn: &a.role,
			ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: a.subnets}})
	}
	if err != nil {
		log.Printf("moto_server: %v", err)
		s.stop()
		return nil
	}
	return s
}

type result struct {
	perSecond float64
	p50, p99  time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("%.0f requests/s, p50 %s, p99 %s", r.perSecond, round(r.p50), round(r.p99))
}

// hammer sends the same signed request over and over on kept connections. It
// writes bytes and reads them back itself: an HTTP client would need more CPU than
// the server, and both share the machine.
func hammer(ctx context.Context, endpoint, path string) (result, error) {
	request, err := signed(ctx, endpoint, path)
	if err != nil {
		return result{}, err
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   times
		first error
	)
	began := time.Now()
	for range connections {
		wg.Go(func() {
			t, err := loop(strings.TrimPrefix(endpoint, "http://"), request, began.Add(describeTime))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, t...)
			if err != nil && first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if first != nil || len(all) == 0 {
		return result{}, fmt.Errorf("%d requests: %w", len(all), first)
	}
	slices.Sort(all)
	return result{float64(len(all)) / took.Seconds(), all[len(all)/2], all[len(all)*99/100]}, nil
}

func loop(addr string, request []byte, until time.Time) (times, error) {
	var t times
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for time.Now().Before(until) {
		if conn == nil {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return t, err
			}
			conn, in = c, bufio.NewReaderSize(c, 16<<10)
		}
		began := time.Now()
		if _, err := conn.Write(request); err != nil {
			return t, err
		}
		closed, err := readResponse(in)
		if err != nil {
			return t, err
		}
		t = append(t, time.Since(began))
		if closed { // HTTP/1.0 peers close each connection
			conn.Close()
			conn = nil
		}
	}
	return t, nil
}

func readResponse(in *bufio.Reader) (closed bool, err error) {
	tp := textproto.NewReader(in)
	status, err := tp.ReadLine()
	if err != nil {
		return false, err
	}
	if !strings.Contains(status, " 200 ") {
		return false, fmt.Errorf("answered %s", status)
	}
	h, err := tp.ReadMIMEHeader()
	if err != nil {
		return false, err
	}
	n, err := strconv.Atoi(h.Get("Content-Length"))
	if err != nil {
		return false, err
	}
	_, err = io.CopyN(io.Discard, in, int64(n))
	return strings.HasPrefix(status, "HTTP/1.0") || strings.EqualFold(h.Get("Connection"), "close"), err
}

func signed(ctx context.Context, endpoint, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+path, nil)
	if err != nil {
		return nil, err
	}
	const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if err := v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, r, emptyHash, "eks", region, time.Now()); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nX-Amz-Date: %s\r\nAuthorization: %s\r\n\r\n",
		path, r.URL.Host, r.Header.Get("X-Amz-Date"), r.Header.Get("Authorization")), nil
}
