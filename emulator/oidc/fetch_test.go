package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/ekslocal/ekslocal/emulator/pki"
)

func TestFetcher(t *testing.T) {
	key, err := pki.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	r := mux.NewRouter()
	s := httptest.NewTLSServer(r)
	defer s.Close()
	Routes(r, s.URL, keys{"ABC": key})
	r.HandleFunc("/other/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q}`, s.URL+"/id/ABC", s.URL+"/id/ABC/keys")
	})
	r.HandleFunc("/plain/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": "http://127.0.0.1:1/keys"}`, s.URL+"/plain")
	})
	r.HandleFunc("/large/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, maxDocument+1))
	})
	r.HandleFunc("/moved/.well-known/openid-configuration", func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "/id/ABC/.well-known/openid-configuration", http.StatusFound)
	})
	f := NewFetcher(s.Client().Transport)

	got, err := f.SigningKeys(t.Context(), s.URL+"/id/ABC")
	if err != nil {
		t.Fatal(err)
	}
	private, err := pki.ParseSigningKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d keys", len(got))
	}
	for _, k := range got {
		if !private.PublicKey.Equal(k) {
			t.Errorf("the key is %v", k)
		}
	}
	for path, want := range map[string]string{
		"/id/NONE": "404", "/other": "is that of", "/plain": "no https URL", "/large": "too large", "/moved": "redirects",
	} {
		if _, err := f.SigningKeys(t.Context(), s.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := f.SigningKeys(t.Context(), "http://127.0.0.1:1"); err == nil {
		t.Error("an issuer without TLS is taken")
	}
}

func TestParseKeySet(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	x, y := b64(raw[1:33]), b64(raw[33:])
	set := map[string]any{"keys": []map[string]string{
		{"kid": "good", "kty": "EC", "crv": "P-256", "x": x, "y": y},
		{"kid": "swapped", "kty": "EC", "crv": "P-256", "x": y, "y": x},
		{"kid": "encryption", "use": "enc", "kty": "EC", "crv": "P-256", "x": x, "y": y},
		{"kid": "curve", "kty": "EC", "crv": "P-521", "x": x, "y": y},
		{"kid": "secret", "kty": "oct", "k": "AAAA"},
		{"kid": "small", "kty": "RSA", "n": "AQAB", "e": "AQAB"},
	}}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseKeySet(text)
	if err != nil || len(got) != 1 || !k.PublicKey.Equal(got["good"]) {
		t.Errorf("keys = %v, %v", got, err)
	}
}

func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kid":"a","kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[{"kid":"b","kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := ParseKeySet(raw)
		if err != nil && got != nil {
			t.Error("keys and an error")
		}
	})
}
