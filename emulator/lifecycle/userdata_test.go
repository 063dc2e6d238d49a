package lifecycle

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const usersMIME = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"==MYBOUNDARY==\"\n\n" +
	"--==MYBOUNDARY==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\n\n#!/bin/bash\necho hi\n\n--==MYBOUNDARY==--\n"

// parts reads an archive as nodeadm and cloud-init do.
func parts(t *testing.T, b []byte) (out []string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p.Header.Get("Content-Type")+"|"+strings.TrimSpace(string(body)))
	}
}

func TestMergeUserData(t *testing.T) {
	for _, tc := range []struct {
		name, users string
		want        []string
	}{
		{"none", "", []string{"application/node.eks.aws|config"}},
		{"the user's part first", usersMIME, []string{"text/x-shellscript; charset=\"us-ascii\"|#!/bin/bash\necho hi", "application/node.eks.aws|config"}},
		{"a bare script", "#!/bin/bash\necho hi\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := mergeUserData([]byte(tc.users), "config")
			if tc.want == nil {
				if !errors.Is(err, errNotMIME) {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, parts(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzMergeUserData(f *testing.F) {
	f.Add([]byte(usersMIME))
	f.Add([]byte("#!/bin/sh"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=x\n\n--x\n\n--x--"))
	f.Fuzz(func(t *testing.T, users []byte) {
		got, err := mergeUserData(users, "config")
		if err != nil {
			return
		}
		if p := parts(t, got); len(p) == 0 || p[len(p)-1] != "application/node.eks.aws|config" {
			t.Errorf("%q", p)
		}
	})
}
