package jwt

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	for n, want := range map[json.Number]int64{"0": 0, "1777629600": 1777629600, "1777629600.9": 1777629600, "1e3": 1000} {
		if got, ok := Time(n); !ok || got != time.Unix(want, 0) {
			t.Errorf("Time(%s) = %v, %v", n, got, ok)
		}
	}
	for _, n := range []json.Number{"", "x", "-1", "1e99", "NaN", "Inf"} {
		if got, ok := Time(n); ok {
			t.Errorf("Time(%s) = %v", n, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4IiwiYXVkIjpbImEiXSwiZXhwIjoxZTk5fQ.AAAA")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		v, err := Parse(token)
		if err != nil {
			if v != nil {
				t.Error("a token and an error")
			}
			return
		}
		if v.Verify(map[string]crypto.PublicKey{v.KeyID(): &key.PublicKey}) {
			t.Error("a forged token was accepted")
		}
		var c struct {
			Aud List        `json:"aud"`
			Exp json.Number `json:"exp"`
		}
		if v.Claims(&c) == nil {
			_, _ = Time(c.Exp)
		}
	})
}
