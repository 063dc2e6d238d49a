package kms

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const account, region = "111122223333", "eu-west-1"

var start = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

// world is a service with a clock of its own and the account's root as caller.
type world struct {
	*Service
	t     *testing.T
	ctx   context.Context
	clock *clocktesting.FakeClock
}

type principals map[string]bool

func (p principals) PrincipalExists(_ context.Context, arn string) bool { return p[arn] }

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	clk := clocktesting.NewFakeClock(start)
	w := &world{t: t, clock: clk}
	w.Service = New(Config{Store: st, Clock: clk, Principals: principals{"arn:aws:iam::111122223333:role/there": true}})
	w.ctx = w.as(account, region, "arn:aws:iam::"+account+":root")
	return w
}

func (w *world) as(account, region, arn string) context.Context {
	return awsid.WithCaller(w.t.Context(), awsid.Caller{Scope: awsid.Scope{Account: account, Region: region}, ARN: arn, UserID: account})
}

func (w *world) create(change ...func(*kms.CreateKeyInput)) *types.KeyMetadata {
	w.t.Helper()
	in := &kms.CreateKeyInput{}
	for _, f := range change {
		f(in)
	}
	return must(w.CreateKey(w.ctx, in)).KeyMetadata
}

// must returns v or ends the test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("error = %v, want %s: %s", err, code, message)
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("error =\n %s: %s, want\n %s: %s", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
}

func TestKeyIsDescribedAsKMSDoes(t *testing.T) {
	w := newWorld(t)
	k := w.create(func(in *kms.CreateKeyInput) { in.Description = aws.String("secrets") })
	got := must(w.DescribeKey(w.ctx, &kms.DescribeKeyInput{KeyId: k.KeyId})).KeyMetadata
	want := &types.KeyMetadata{
		AWSAccountId: aws.String(account), Arn: aws.String("arn:aws:kms:eu-west-1:111122223333:key/" + *k.KeyId), CreationDate: &start, KeyId: k.KeyId,
		CustomerMasterKeySpec: "SYMMETRIC_DEFAULT", Description: aws.String("secrets"), Enabled: true, KeyManager: "CUSTOMER", KeySpec: "SYMMETRIC_DEFAULT",
		EncryptionAlgorithms: []types.EncryptionAlgorithmSpec{"SYMMETRIC_DEFAULT"}, KeyState: "Enabled", KeyUsage: "ENCRYPT_DECRYPT", MultiRegion: aws.Bool(false), Origin: "AWS_KMS",
		CurrentKeyMaterialId: k.CurrentKeyMaterialId,
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.KeyMetadata{})); d != "" {
		t.Error(d)
	}
	must(w.CreateAlias(w.ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/eks/dev"), TargetKeyId: k.KeyId}))
	for _, id := range []string{*k.Arn, "alias/eks/dev", "arn:aws:kms:eu-west-1:111122223333:alias/eks/dev"} {
		if got := must(w.DescribeKey(w.ctx, &kms.DescribeKeyInput{KeyId: &id})).KeyMetadata; *got.KeyId != *k.KeyId {
			t.Errorf("%s is %s", id, *got.KeyId)
		}
	}
}

func TestManagedKeysAppearWhenUsed(t *testing.T) {
	w := newWorld(t)
	for _, a := range must(w.ListAliases(w.ctx, &kms.ListAliasesInput{})).Aliases {
		if a.TargetKeyId != nil {
			t.Fatalf("alias %s has a key before it is used", *a.AliasName)
		}
	}
	e := must(w.Encrypt(w.ctx, &kms.EncryptInput{KeyId: aws.String("alias/aws/ebs"), Plaintext: []byte("x")}))
	k := must(w.DescribeKey(w.ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")})).KeyMetadata
	if *k.Arn != *e.KeyId || k.KeyManager != types.KeyManagerTypeAws || *k.Description != "Default key that protects my EBS volumes when no other key is defined" {
		t.Errorf("key %+v, encrypted with %s", k, *e.KeyId)
	}
	if n := len(must(w.ListAliases(w.ctx, &kms.ListAliasesInput{Limit: aws.Int32(100)})).Aliases); n != len(managed) {
		t.Errorf("%d aliases, want each of %d once", n, len(managed))
	}
	l := must(w.ListAliases(w.ctx, &kms.ListAliasesInput{KeyId: k.KeyId})).Aliases
	if len(l) != 1 || *l[0].AliasName != "alias/aws/ebs" || *l[0].TargetKeyId != *k.KeyId {
		t.Errorf("aliases: %+v", l)
	}
	_, err := w.ScheduleKeyDeletion(w.ctx, &kms.ScheduleKeyDeletionInput{KeyId: k.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:ScheduleKeyDeletion")
	_, err = w.DescribeKey(w.ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/nonesuch")})
	wantError(t, err, "NotFoundException", "is not found.")
}

// TestStates tries every operation on keys in every state.
func TestStates(t *testing.T) {
	w := newWorld(t)
	states := map[types.KeyState]*types.KeyMetadata{types.KeyStateEnabled: w.create(), types.KeyStateDisabled: w.create(), types.KeyStatePendingDeletion: w.create()}
	must(w.DisableKey(w.ctx, &kms.DisableKeyInput{KeyId: states[types.KeyStateDisabled].KeyId}))
	must(w.ScheduleKeyDeletion(w.ctx, &kms.ScheduleKeyDeletionInput{KeyId: states[types.KeyStatePendingDeletion].KeyId}))
	for op, r := range rules {
		for state, k := range states {
			_, err := w.find(w.ctx, w.store, op, *k.KeyId)
			allowed := r.states == nil
			for _, s := range r.states {
				allowed = allowed || s == state
			}
			switch {
			case allowed && err != nil:
				t.Errorf("%s of a key that is %s: %v", op, state, err)
			case allowed:
			case state == types.KeyStateDisabled && op != "CancelKeyDeletion":
				wantError(t, err, "DisabledException", *k.Arn+" is disabled.")
			case state == types.KeyStatePendingDeletion:
				wantError(t, err, "KMSInvalidStateException", *k.Arn+" is pending deletion.")
			default:
				wantError(t, err, "KMSInvalidStateException", *k.Arn+" is not pending deletion.")
			}
		}
	}
}

func TestEncryption(t *testing.T) {
	w := newWorld(t)
	k, other := w.create(), w.create()
	in := &kms.EncryptInput{KeyId: k.KeyId, Plaintext: []byte("secret"), EncryptionContext: map[string]string{"b": "2", "a": "1"}}
	sealed := must(w.Encrypt(w.ctx, in)).CiphertextBlob
	decrypt := func(change ...func(*kms.DecryptInput)) (string, error) {
		d := &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: map[string]string{"a": "1", "b": "2"}}
		for _, f := range change {
			f(d)
		}
		out, err := w.Decrypt(w.ctx, d)
		if err != nil {
			return "", err
		}
		return string(out.Plaintext), nil
	}
	if got, err := decrypt(); err != nil || got != "secret" {
		t.Fatalf("Decrypt: %q, %v", got, err)
	}
	_, err := decrypt(func(d *kms.DecryptInput) { d.EncryptionContext = nil })
	wantError(t, err, "InvalidCiphertextException", "")
	_, err = decrypt(func(d *kms.DecryptInput) { d.CiphertextBlob = append([]byte("x"), sealed...) })
	wantError(t, err, "InvalidCiphertextException", "")
	_, err = decrypt(func(d *kms.DecryptInput) { d.KeyId = other.KeyId })
	wantError(t, err, "IncorrectKeyException", "The key ID in the request does not identify a CMK")

	// Old material decrypts after a rotation, and what is new is not what was.
	must(w.RotateKeyOnDemand(w.ctx, &kms.RotateKeyOnDemandInput{KeyId: k.KeyId}))
	if got, err := decrypt(); err != nil || got != "secret" {
		t.Errorf("after a rotation: %q, %v", got, err)
	}
	re := must(w.ReEncrypt(w.ctx, &kms.ReEncryptInput{CiphertextBlob: sealed, SourceEncryptionContext: in.EncryptionContext, DestinationKeyId: other.Arn}))
	got := must(w.Decrypt(w.ctx, &kms.DecryptInput{CiphertextBlob: re.CiphertextBlob}))
	if string(got.Plaintext) != "secret" || *got.KeyId != *other.Arn || *re.SourceKeyId != *k.Arn {
		t.Errorf("re-encrypted: %+v %+v", re, got)
	}
	must(w.DisableKey(w.ctx, &kms.DisableKeyInput{KeyId: k.KeyId}))
	_, err = decrypt()
	wantError(t, err, "DisabledException", "is disabled.")

	d := must(w.GenerateDataKey(w.ctx, &kms.GenerateDataKeyInput{KeyId: other.KeyId, KeySpec: types.DataKeySpecAes128}))
	if got := must(w.Decrypt(w.ctx, &kms.DecryptInput{CiphertextBlob: d.CiphertextBlob})); !cmp.Equal(got.Plaintext, d.Plaintext) || len(d.Plaintext) != 16 {
		t.Error("a data key does not decrypt to itself")
	}
	p := must(w.GenerateDataKeyPair(w.ctx, &kms.GenerateDataKeyPairInput{KeyId: other.KeyId, KeyPairSpec: types.DataKeyPairSpecEccNistP256}))
	if got := must(w.Decrypt(w.ctx, &kms.DecryptInput{CiphertextBlob: p.PrivateKeyCiphertextBlob})); !cmp.Equal(got.Plaintext, p.PrivateKeyPlaintext) {
		t.Error("a data key pair's private key does not decrypt to itself")
	}
}

func TestAccountsAreApart(t *testing.T) {
	w := newWorld(t)
	k := w.create()
	stranger := w.as("444455556666", region, "arn:aws:iam::444455556666:user/bob")
	_, err := w.DescribeKey(stranger, &kms.DescribeKeyInput{KeyId: k.KeyId})
	wantError(t, err, "NotFoundException", "Key 'arn:aws:kms:eu-west-1:444455556666:key/"+*k.KeyId+"' does not exist")
	_, err = w.DescribeKey(stranger, &kms.DescribeKeyInput{KeyId: k.Arn})
	wantError(t, err, "AccessDeniedException", "not authorized to perform: kms:DescribeKey")
	sealed := must(w.Encrypt(w.ctx, &kms.EncryptInput{KeyId: k.KeyId, Plaintext: []byte("x")})).CiphertextBlob
	_, err = w.Decrypt(stranger, &kms.DecryptInput{CiphertextBlob: sealed})
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist")

	must(w.PutKeyPolicy(w.ctx, &kms.PutKeyPolicyInput{KeyId: k.KeyId, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":["kms:Decrypt","kms:DescribeKey"],"Resource":"*"}]}`)}))
	if got := must(w.Decrypt(stranger, &kms.DecryptInput{CiphertextBlob: sealed})); string(got.Plaintext) != "x" {
		t.Errorf("decrypted %q", got.Plaintext)
	}
	_, err = w.Encrypt(stranger, &kms.EncryptInput{KeyId: k.Arn, Plaintext: []byte("x")})
	wantError(t, err, "AccessDeniedException", "not authorized to perform: kms:Encrypt")
	_, err = w.DisableKey(stranger, &kms.DisableKeyInput{KeyId: k.Arn})
	wantError(t, err, "AccessDeniedException", "not authorized to perform: kms:DisableKey")
	_, err = w.DescribeKey(w.as(account, "us-east-1", ""), &kms.DescribeKeyInput{KeyId: k.Arn})
	wantError(t, err, "NotFoundException", "Invalid arn eu-west-1")
}

func TestPolicyIsCheckedBeforeItIsStored(t *testing.T) {
	w := newWorld(t)
	statement := func(principal, rest string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"kms:*","Resource":"*"}` + rest + `]}`
	}
	root := "arn:aws:iam::111122223333:root"
	for name, tc := range map[string]struct{ policy, want string }{
		"no json":             {`{`, "Policy contains invalid json"},
		"no policy":           {`{"a":1}`, "Syntax errors in policy."},
		"role that is there":  {statement(root, `,{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/there"},"Action":"kms:Decrypt","Resource":"*"}`), ""},
		"role that is not":    {statement(root, `,{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/gone"},"Action":"kms:Decrypt","Resource":"*"}`), "Policy contains a statement with one or more invalid principals."},
		"service-linked role": {statement(root, `,{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"},"Action":"kms:Decrypt","Resource":"*"}`), ""},
		"no ARN":              {statement("me", ""), "Policy contains a statement with one or more invalid principals."},
		"nobody may change":   {strings.Replace(statement(root, ""), "kms:*", "kms:Describe*", 1), "The new key policy will not allow you to update the key policy in the future."},
		"somebody else may":   {statement("arn:aws:iam::444455556666:root", ""), "The new key policy will not allow you to update the key policy in the future."},
		"denied":              {statement(root, `,{"Effect":"Deny","Principal":"*","Action":"kms:Put*","Resource":"*"}`), "The new key policy will not allow you to update the key policy in the future."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.CreateKey(w.ctx, &kms.CreateKeyInput{Policy: &tc.policy})
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, "MalformedPolicyDocumentException", tc.want)
		})
	}
	locked := statement("arn:aws:iam::444455556666:root", "")
	if _, err := w.CreateKey(w.ctx, &kms.CreateKeyInput{Policy: &locked, BypassPolicyLockoutSafetyCheck: true}); err != nil {
		t.Errorf("with the check bypassed: %v", err)
	}
}

func TestGrants(t *testing.T) {
	w := newWorld(t)
	k := w.create()
	role := "arn:aws:iam::111122223333:role/there"
	in := &kms.CreateGrantInput{KeyId: k.KeyId, GranteePrincipal: &role, RetiringPrincipal: &role, Name: aws.String("eks"), Operations: []types.GrantOperation{"Encrypt", "Decrypt"},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "b"}}}
	g := must(w.CreateGrant(w.ctx, in))
	if again := must(w.CreateGrant(w.ctx, in)); *again.GrantId != *g.GrantId {
		t.Error("the same request with a name made another grant")
	}
	l := must(w.ListGrants(w.ctx, &kms.ListGrantsInput{KeyId: k.Arn, GranteePrincipal: &role})).Grants
	want := []types.GrantListEntry{{
		KeyId: k.Arn, GrantId: g.GrantId, Name: in.Name, GranteePrincipal: &role, RetiringPrincipal: &role, Operations: in.Operations, Constraints: in.Constraints,
		CreationDate: &start, IssuingAccount: aws.String("arn:aws:iam::111122223333:root"),
	}}
	if d := cmp.Diff(want, l, cmpopts.IgnoreUnexported(types.GrantListEntry{}, types.GrantConstraints{})); d != "" {
		t.Error(d)
	}
	if r := must(w.ListRetirableGrants(w.ctx, &kms.ListRetirableGrantsInput{RetiringPrincipal: &role})).Grants; len(r) != 1 || *r[0].GrantId != *g.GrantId {
		t.Errorf("retirable: %+v", r)
	}
	must(w.RetireGrant(w.ctx, &kms.RetireGrantInput{GrantToken: g.GrantToken}))
	_, err := w.RevokeGrant(w.ctx, &kms.RevokeGrantInput{KeyId: k.KeyId, GrantId: g.GrantId})
	wantError(t, err, "NotFoundException", "Grant ID "+*g.GrantId+" not found")
}

func TestDeletionComesWhenItIsDue(t *testing.T) {
	w := newWorld(t)
	k := w.create()
	must(w.CreateAlias(w.ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/a"), TargetKeyId: k.KeyId}))
	out := must(w.ScheduleKeyDeletion(w.ctx, &kms.ScheduleKeyDeletionInput{KeyId: k.KeyId, PendingWindowInDays: aws.Int32(7)}))
	if !out.DeletionDate.Equal(start.AddDate(0, 0, 7)) || *out.KeyId != *k.Arn || out.KeyState != types.KeyStatePendingDeletion {
		t.Errorf("%+v", out)
	}
	w.clock.SetTime(start.AddDate(0, 0, 7).Add(-time.Second))
	must(w.CancelKeyDeletion(w.ctx, &kms.CancelKeyDeletionInput{KeyId: k.KeyId}))
	if m := must(w.DescribeKey(w.ctx, &kms.DescribeKeyInput{KeyId: k.KeyId})).KeyMetadata; m.KeyState != types.KeyStateDisabled || m.DeletionDate != nil {
		t.Errorf("after cancelling: %+v", m)
	}
	must(w.ScheduleKeyDeletion(w.ctx, &kms.ScheduleKeyDeletionInput{KeyId: k.KeyId, PendingWindowInDays: aws.Int32(7)}))
	w.clock.Step(8 * 24 * time.Hour)
	// Readers do not wait for the loop.
	_, err := w.DescribeKey(w.ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/a")})
	wantError(t, err, "NotFoundException", "Alias arn:aws:kms:eu-west-1:111122223333:alias/a is not found.")
	if l := must(w.ListKeys(w.ctx, &kms.ListKeysInput{})); len(l.Keys) != 0 {
		t.Errorf("keys: %+v", l.Keys)
	}
	if _, err := w.settle(w.ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(keys.ListAll(w.store)) + len(aliases.ListAll(w.store)); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	k := w.create()
	must(w.EnableKeyRotation(w.ctx, &kms.EnableKeyRotationInput{KeyId: k.KeyId, RotationPeriodInDays: aws.Int32(90)}))
	st := must(w.GetKeyRotationStatus(w.ctx, &kms.GetKeyRotationStatusInput{KeyId: k.KeyId}))
	if !st.KeyRotationEnabled || *st.RotationPeriodInDays != 90 || !st.NextRotationDate.Equal(start.AddDate(0, 0, 90)) {
		t.Errorf("%+v", st)
	}
	if wait := must(w.settle(w.ctx)); wait != lookAgain {
		t.Errorf("looks again after %v", wait)
	}
	w.clock.Step(91 * 24 * time.Hour)
	must(w.settle(w.ctx))
	l := must(w.ListKeyRotations(w.ctx, &kms.ListKeyRotationsInput{KeyId: k.KeyId})).Rotations
	if len(l) != 1 || l[0].RotationType != types.RotationTypeAutomatic {
		t.Errorf("rotations: %+v", l)
	}
	if m := must(w.DescribeKey(w.ctx, &kms.DescribeKeyInput{KeyId: k.KeyId})).KeyMetadata; *m.CurrentKeyMaterialId == *k.CurrentKeyMaterialId {
		t.Error("the material is the old one")
	}
	for range maxOnDemand {
		must(w.RotateKeyOnDemand(w.ctx, &kms.RotateKeyOnDemandInput{KeyId: k.KeyId}))
	}
	_, err := w.RotateKeyOnDemand(w.ctx, &kms.RotateKeyOnDemandInput{KeyId: k.KeyId})
	wantError(t, err, "LimitExceededException", "The on-demand rotations limit has been reached")
}

func TestMultiRegion(t *testing.T) {
	w := newWorld(t)
	k := w.create(func(in *kms.CreateKeyInput) { in.MultiRegion = aws.Bool(true) })
	if !strings.HasPrefix(*k.KeyId, "mrk-") {
		t.Errorf("id %s", *k.KeyId)
	}
	r := must(w.ReplicateKey(w.ctx, &kms.ReplicateKeyInput{KeyId: k.KeyId, ReplicaRegion: aws.String("us-east-1")})).ReplicaKeyMetadata
	if r.KeyState != types.KeyStateCreating || r.MultiRegionConfiguration.MultiRegionKeyType != types.MultiRegionKeyTypeReplica || *r.MultiRegionConfiguration.PrimaryKey.Region != region {
		t.Errorf("%+v", r)
	}
	there := w.as(account, "us-east-1", "arn:aws:iam::111122223333:root")
	sealed := must(w.Encrypt(w.ctx, &kms.EncryptInput{KeyId: k.KeyId, Plaintext: []byte("x")})).CiphertextBlob
	if got := must(w.Decrypt(there, &kms.DecryptInput{CiphertextBlob: sealed})); *got.KeyId != *r.Arn || string(got.Plaintext) != "x" {
		t.Errorf("%+v", got)
	}
	must(w.UpdatePrimaryRegion(w.ctx, &kms.UpdatePrimaryRegionInput{KeyId: k.KeyId, PrimaryRegion: aws.String("us-east-1")}))
	if m := must(w.DescribeKey(there, &kms.DescribeKeyInput{KeyId: k.KeyId})).KeyMetadata.MultiRegionConfiguration; m.MultiRegionKeyType != types.MultiRegionKeyTypePrimary || *m.ReplicaKeys[0].Region != region {
		t.Errorf("%+v", m)
	}
	// The primary waits for its replica.
	out := must(w.ScheduleKeyDeletion(there, &kms.ScheduleKeyDeletionInput{KeyId: k.KeyId, PendingWindowInDays: aws.Int32(7)}))
	if out.KeyState != types.KeyStatePendingReplicaDeletion || out.DeletionDate != nil {
		t.Errorf("%+v", out)
	}
	must(w.ScheduleKeyDeletion(w.ctx, &kms.ScheduleKeyDeletionInput{KeyId: k.KeyId, PendingWindowInDays: aws.Int32(7)}))
	w.clock.Step(8 * 24 * time.Hour)
	must(w.settle(w.ctx))
	m := must(w.DescribeKey(there, &kms.DescribeKeyInput{KeyId: k.KeyId})).KeyMetadata
	if m.KeyState != types.KeyStatePendingDeletion || !m.DeletionDate.Equal(w.clock.Now().AddDate(0, 0, 7)) {
		t.Errorf("%+v", m)
	}
}

func TestAsymmetricKeys(t *testing.T) {
	w := newWorld(t)
	for spec, algs := range map[types.KeySpec][]types.SigningAlgorithmSpec{
		types.KeySpecRsa2048:             {"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_384"},
		types.KeySpecEccNistP384:         {"ECDSA_SHA_384"},
		types.KeySpecEccNistEdwards25519: {"ED25519_SHA_512", "ED25519_PH_SHA_512"},
	} {
		k := w.create(func(in *kms.CreateKeyInput) { in.KeySpec, in.KeyUsage = spec, types.KeyUsageTypeSignVerify })
		for _, alg := range algs {
			s := must(w.Sign(w.ctx, &kms.SignInput{KeyId: k.KeyId, Message: []byte("m"), SigningAlgorithm: alg}))
			if v := must(w.Verify(w.ctx, &kms.VerifyInput{KeyId: k.KeyId, Message: []byte("m"), SigningAlgorithm: alg, Signature: s.Signature})); !v.SignatureValid {
				t.Errorf("%s: not valid", alg)
			}
			_, err := w.Verify(w.ctx, &kms.VerifyInput{KeyId: k.KeyId, Message: []byte("n"), SigningAlgorithm: alg, Signature: s.Signature})
			wantError(t, err, "KMSInvalidSignatureException", "")
		}
		if p := must(w.GetPublicKey(w.ctx, &kms.GetPublicKeyInput{KeyId: k.KeyId})); len(p.PublicKey) == 0 || len(p.SigningAlgorithms) == 0 {
			t.Errorf("public key: %+v", p)
		}
	}
	rsaKey := w.create(func(in *kms.CreateKeyInput) {
		in.KeySpec, in.KeyUsage = types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt
	})
	for _, alg := range []types.EncryptionAlgorithmSpec{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"} {
		e := must(w.Encrypt(w.ctx, &kms.EncryptInput{KeyId: rsaKey.KeyId, Plaintext: []byte("x"), EncryptionAlgorithm: alg}))
		if d := must(w.Decrypt(w.ctx, &kms.DecryptInput{KeyId: rsaKey.KeyId, CiphertextBlob: e.CiphertextBlob, EncryptionAlgorithm: alg})); string(d.Plaintext) != "x" {
			t.Errorf("%s: %q", alg, d.Plaintext)
		}
	}
	mac := w.create(func(in *kms.CreateKeyInput) {
		in.KeySpec, in.KeyUsage = types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac
	})
	code := must(w.GenerateMac(w.ctx, &kms.GenerateMacInput{KeyId: mac.KeyId, Message: []byte("m"), MacAlgorithm: "HMAC_SHA_256"})).Mac
	must(w.VerifyMac(w.ctx, &kms.VerifyMacInput{KeyId: mac.KeyId, Message: []byte("m"), MacAlgorithm: "HMAC_SHA_256", Mac: code}))
	_, err := w.VerifyMac(w.ctx, &kms.VerifyMacInput{KeyId: mac.KeyId, Message: []byte("n"), MacAlgorithm: "HMAC_SHA_256", Mac: code})
	wantError(t, err, "KMSInvalidMacException", "")
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	var want, got []string
	for range 5 {
		want = append(want, *w.create().KeyId)
	}
	for marker := (*string)(nil); ; {
		l := must(w.ListKeys(w.ctx, &kms.ListKeysInput{Limit: aws.Int32(2), Marker: marker}))
		for _, k := range l.Keys {
			got = append(got, *k.KeyId)
		}
		if (l.NextMarker != nil) != l.Truncated {
			t.Errorf("marker %v, truncated %v", l.NextMarker, l.Truncated)
		}
		if marker = l.NextMarker; marker == nil {
			break
		}
	}
	if d := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); d != "" {
		t.Error(d)
	}
}

func FuzzDecodeBlob(f *testing.F) {
	f.Add((&blob{account: account, keyID: "k", material: "m", nonce: make([]byte, nonceSize), sealed: []byte("s")}).encode())
	f.Add([]byte{1, 2, 2, 0, 0x78, 255})
	f.Add(append([]byte{1, 2, 2, 0, 0x78, 255}, make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := decodeBlob(raw)
		if err != nil {
			return
		}
		if got := b.encode(); !cmp.Equal(got, raw) {
			t.Errorf("%x became %x", raw, got)
		}
	})
}
