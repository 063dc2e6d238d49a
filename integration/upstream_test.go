package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestUpstream has S3 and DynamoDB in moto and EKS here, behind one endpoint URL.
func TestUpstream(t *testing.T) {
	t.Parallel()
	upstream, moto := startMoto(t)
	e := start(t, "--upstream", upstream)
	dir := t.TempDir()
	cli := newAWS(t, e.env(filepath.Join(dir, "kubeconfig")))

	// More than a request to ekslocal itself may have: it streams.
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	cli.ok(t, "s3api", "create-bucket", "--bucket", "bucket")
	cli.ok(t, "s3api", "put-object", "--bucket", "bucket", "--key", "dir/a key+1", "--body", from)
	cli.ok(t, "s3", "cp", from, "s3://bucket/multipart")
	for _, key := range []string{"dir/a key+1", "multipart"} {
		cli.ok(t, "s3api", "get-object", "--bucket", "bucket", "--key", key, to)
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes came back, %v", key, len(got), err)
		}
	}
	url := cli.ok(t, "s3", "presign", "s3://bucket/multipart")
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK || r.ContentLength != int64(len(content)) {
		t.Errorf("the presigned URL answers %s with %d bytes", r.Status, r.ContentLength)
	}
	if got := cli.text(t, "TableDescription.TableName", "dynamodb", "create-table", "--table-name", "t", "--attribute-definitions", "AttributeName=k,AttributeType=S",
		"--key-schema", "AttributeName=k,KeyType=HASH", "--billing-mode", "PAY_PER_REQUEST"); got != "t" {
		t.Errorf("table %s", got)
	}
	cli.fails(t, []string{"ResourceNotFoundException"}, "dynamodb", "describe-table", "--table-name", "none")
	if got := cli.text(t, "clusters", "eks", "list-clusters"); got != "" {
		t.Errorf("EKS, which moto has too, answers %q: it is here", got)
	}
	cli.fails(t, []string{"No cluster found for name: none."}, "eks", "describe-cluster", "--name", "none")

	_ = moto.Process.Kill()
	_ = moto.Wait()
	cli.failsAs(t, []string{"AWS_MAX_ATTEMPTS=1"}, []string{"UpstreamUnavailable", upstream, "connection refused"}, "s3api", "list-buckets")
	cli.ok(t, "eks", "list-clusters")
}

// startMoto runs another emulator for as long as the test and returns its URL.
func startMoto(t *testing.T) (string, *exec.Cmd) {
	t.Helper()
	port := freePorts(t, 1)
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", port)
	moto := exec.Command(tool(t, "moto_server"), "-H", "127.0.0.1", "-p", fmt.Sprint(port))
	if err := moto.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = moto.Process.Kill(); _ = moto.Wait() })
	eventually(t, time.Minute, "moto answers", func() error {
		r, err := http.Get(endpoint + "/moto-api/")
		if err == nil {
			r.Body.Close()
		}
		return err
	})
	return endpoint, moto
}
