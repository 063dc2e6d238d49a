// Package oidc serves each cluster's OIDC issuer: the discovery document and the
// keys that verify service-account tokens, as EKS does for IRSA.
package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/ekslocal/ekslocal/emulator/pki"
)

// Keys finds the PEM private key that signs a cluster's service-account tokens.
type Keys interface {
	SigningKey(ctx context.Context, clusterID string) (pem []byte, ok bool)
}

// Path is where a cluster's issuer lives below the emulator's own address.
func Path(clusterID string) string { return "/id/" + clusterID }

// Issuer is a cluster's issuer URL; base is the emulator's https address without
// a trailing slash.
func Issuer(base, clusterID string) string { return base + Path(clusterID) }

// Routes adds the issuers' endpoints to r. The issuer in the document is base plus
// Path: tokens carry exactly that, whatever name the request came in by.
func Routes(r *mux.Router, base string, keys Keys) {
	r.HandleFunc(Path("{id}")+"/.well-known/openid-configuration", func(w http.ResponseWriter, req *http.Request) {
		id := mux.Vars(req)["id"]
		if _, ok := keys.SigningKey(req.Context(), id); !ok {
			http.NotFound(w, req)
			return
		}
		iss := Issuer(base, id)
		write(w, map[string]any{
			"issuer": iss, "jwks_uri": iss + "/keys", "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"claims_supported": []string{"sub", "iss"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	}).Methods(http.MethodGet)
	r.HandleFunc(Path("{id}")+"/keys", func(w http.ResponseWriter, req *http.Request) {
		pemKey, ok := keys.SigningKey(req.Context(), mux.Vars(req)["id"])
		if !ok {
			http.NotFound(w, req)
			return
		}
		jwk, err := publicJWK(pemKey)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		write(w, map[string]any{"keys": []any{jwk}})
	}).Methods(http.MethodGet)
}

// publicJWK is the public half of a signing key; its kid is derived as
// kube-apiserver derives it, so that tokens' headers name it.
func publicJWK(pemKey []byte) (map[string]string, error) {
	k, err := pki.ParseSigningKey(pemKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("oidc: encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	b64 := base64.RawURLEncoding
	return map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": b64.EncodeToString(sum[:]),
		"n": b64.EncodeToString(k.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
	}, nil
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nothing to do about it
}
