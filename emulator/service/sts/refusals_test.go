package sts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	stsapi "github.com/ekslocal/ekslocal/api/sts"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

func TestRefusals(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bare := strings.TrimPrefix(issuer, "https://")
	d := directory{}
	trusts := `"Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":`
	d.add("ops", trusts+`"sts:AssumeRole"`, time.Hour)
	d.add("long", trusts+`"sts:AssumeRole"`, 12*time.Hour)
	d.add("tags", trusts+`["sts:AssumeRole","sts:TagSession"]`, time.Hour)
	d.add("external", trusts+`"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"42"}}`, time.Hour)
	d.add("eks", `"Principal":{"Service":"eks.amazonaws.com"},"Action":"sts:AssumeRole"`, time.Hour)
	d.add("irsa", `"Principal":{"Federated":"arn:aws:iam::`+account+`:oidc-provider/`+bare+`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"`+bare+`:sub":"me"}}`, time.Hour)
	ctx, s, _ := newService(t, d, keys{"k": &key.PublicKey})

	token := func(signer *ecdsa.PrivateKey, change ...any) string {
		m := map[string]any{"iss": issuer, "sub": "me", "aud": "sts.amazonaws.com", "exp": start.Add(time.Hour).Unix()}
		for i := 0; i < len(change); i += 2 {
			if m[change[i].(string)] = change[i+1]; change[i+1] == nil {
				delete(m, change[i].(string))
			}
		}
		return sign(t, signer, "ES256", "k", m)
	}
	const head, tail = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"`, `}]}`
	v := map[string]string{
		"token": token(key), "nosub": token(key, "sub", nil), "noaud": token(key, "aud", nil), "noexp": token(key, "exp", nil),
		"early": token(key, "nbf", start.Add(time.Hour).Unix()), "stranger": token(key, "iss", "https://stranger.example.com"),
		"forged": token(other), "expired": token(key, "exp", start.Unix()-1), "audience": token(key, "aud", "other"), "subject": token(key, "sub", "you"),
		"largepolicy": head + strings.Repeat(" ", 3072-len(head)-len(tail)) + tail,
	}
	refusal.Run(ctx, t, stsapi.Model(), s, v)

	t.Run("by a session", func(t *testing.T) {
		out, err := s.AssumeRole(ctx, &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::" + account + ":role/tags"), RoleSessionName: aws.String("me"),
			Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}, TransitiveTagKeys: []string{"team"},
		})
		if err != nil {
			t.Fatal(err)
		}
		chained := as(ctx, *out.AssumedRoleUser.Arn, account, *out.Credentials.AccessKeyId)
		refusal.RunTable(chained, t, stsapi.Model(), s, v, "testdata/refusals_session.yaml")
	})
}
