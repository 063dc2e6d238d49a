package oidc

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	"github.com/ekslocal/ekslocal/emulator/pki"
)

type keys map[string][]byte

func (k keys) SigningKey(_ context.Context, id string) ([]byte, bool) { b, ok := k[id]; return b, ok }

func TestIssuer(t *testing.T) {
	key, err := pki.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	r := mux.NewRouter()
	Routes(r, "https://127.0.0.1:4566", keys{"ABC": key})
	get := func(path string) (int, map[string]any) {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		var v map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &v)
		return w.Code, v
	}
	code, doc := get("/id/ABC/.well-known/openid-configuration")
	if code != 200 || doc["issuer"] != "https://127.0.0.1:4566/id/ABC" || doc["jwks_uri"] != "https://127.0.0.1:4566/id/ABC/keys" {
		t.Fatalf("discovery: %d %v", code, doc)
	}
	code, set := get("/id/ABC/keys")
	if code != 200 {
		t.Fatalf("keys: %d", code)
	}
	jwk := set["keys"].([]any)[0].(map[string]any)
	if diff := cmp.Diff([]any{"RSA", "sig", "RS256", "AQAB"}, []any{jwk["kty"], jwk["use"], jwk["alg"], jwk["e"]}); diff != "" {
		t.Fatal(diff)
	}
	if _, private := jwk["d"]; private {
		t.Fatal("the private exponent is on the wire")
	}
	for _, p := range []string{"/id/NONE/keys", "/id/NONE/.well-known/openid-configuration"} {
		if code, _ := get(p); code != 404 {
			t.Errorf("%s: %d, want 404", p, code)
		}
	}
}
