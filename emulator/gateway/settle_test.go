package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSettling(t *testing.T) {
	const goSDK = "APN/1.0 HashiCorp/1.0 Terraform/1.11.4 aws-sdk-go-v2/1.36.3 ua/2.1 os/linux"
	for name, c := range map[string]struct {
		method, body, agent string
		answer              int
		want                time.Duration
	}{
		"a long answer to a body":         {http.MethodPost, "Action=DescribeVpcs", goSDK, 5000, settlePause},
		"one that just may not fit":       {http.MethodPost, "Action=DescribeVpcs", goSDK, clientBuffer - 500, settlePause},
		"a short answer":                  {http.MethodPost, "Action=DescribeVpcs", goSDK, 900, 0},
		"no body":                         {http.MethodGet, "", goSDK, 5000, 0},
		"an SDK that has no such trouble": {http.MethodPost, "Action=DescribeVpcs", "aws-cli/1.42 botocore/1.40", 5000, 0},
	} {
		r := httptest.NewRequest(c.method, "/", strings.NewReader(c.body))
		r.Header.Set("User-Agent", c.agent)
		if got := settling(r, c.answer); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
