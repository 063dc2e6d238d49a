package enforce_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
)

// TestKeys: nobody gets at a KMS key unless its own policy, or a grant, lets him.
func TestKeys(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	ctx, owner := t.Context(), kms.NewFromConfig(w.root)
	alice := w.user("alice", allow("kms:*", "*"))
	bob := w.user("bob")
	plain := must(owner.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	must(owner.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/app"), TargetKeyId: plain.KeyId}))
	// A key that delegates nothing to the account.
	closed := must(owner.CreateKey(ctx, &kms.CreateKeyInput{
		BypassPolicyLockoutSafetyCheck: true,
		Policy:                         document(`{"Effect":"Allow","Principal":{"AWS":"` + iamARN + `user/bob"},"Action":["kms:Encrypt","kms:Decrypt"],"Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:app":"a"}}}`),
	})).KeyMetadata

	encrypt := func(c aws.Config, key string, context map[string]string) ([]byte, error) {
		out, err := kms.NewFromConfig(c).Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x"), EncryptionContext: context})
		if err != nil {
			return nil, err
		}
		return out.CiphertextBlob, nil
	}
	decrypt := func(c aws.Config, blob []byte, context map[string]string) error {
		_, err := kms.NewFromConfig(c).Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context})
		return err
	}
	blob := must(encrypt(alice, "alias/app", nil))
	if err := decrypt(alice, blob, nil); err != nil {
		t.Error(err)
	}
	_, err := encrypt(bob, *plain.KeyId, nil)
	refused(t, err, "AccessDeniedException", "kms:Encrypt on resource: "+*plain.Arn+" because no identity-based policy allows the kms:Encrypt action")
	const hidden = "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access."
	refused(t, decrypt(bob, blob, nil), "AccessDeniedException", hidden)
	_, err = encrypt(alice, *closed.KeyId, nil)
	refused(t, err, "AccessDeniedException", "because no resource-based policy allows the kms:Encrypt action")

	// bob by the key's policy alone, and by its condition.
	a := map[string]string{"app": "a"}
	blob = must(encrypt(bob, *closed.Arn, a))
	if err := decrypt(bob, blob, a); err != nil {
		t.Error(err)
	}
	_, err = encrypt(bob, *closed.KeyId, map[string]string{"app": "b"})
	refused(t, err, "AccessDeniedException")
	refused(t, decrypt(alice, blob, a), "AccessDeniedException", hidden)

	// Re-encryption needs both keys.
	reencrypt := func(c aws.Config) error {
		_, err := kms.NewFromConfig(c).ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: a, DestinationKeyId: plain.KeyId})
		return err
	}
	refused(t, reencrypt(alice), "AccessDeniedException", hidden)
	refused(t, reencrypt(bob), "AccessDeniedException", "kms:ReEncryptTo on resource: "+*plain.Arn)

	// Grants, within their constraints.
	must(kms.NewFromConfig(alice).CreateGrant(ctx, &kms.CreateGrantInput{
		KeyId: plain.KeyId, GranteePrincipal: aws.String(iamARN + "user/bob"), Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationEncrypt, kmstypes.GrantOperationDescribeKey},
		Constraints: &kmstypes.GrantConstraints{EncryptionContextSubset: map[string]string{"app": "a"}},
	}))
	must(encrypt(bob, *plain.KeyId, map[string]string{"app": "a", "more": "b"}))
	_, err = encrypt(bob, *plain.KeyId, map[string]string{"app": "b"})
	refused(t, err, "AccessDeniedException")
	must(kms.NewFromConfig(bob).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: plain.KeyId}))
	_, err = kms.NewFromConfig(bob).ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: plain.KeyId})
	refused(t, err, "AccessDeniedException", "kms:ScheduleKeyDeletion")

	// Another account needs both sides.
	stranger := w.as(other, "test", "")
	_, err = encrypt(stranger, *plain.Arn, nil)
	refused(t, err, "AccessDeniedException", "because no resource-based policy allows the kms:Encrypt action")

	// The root of the account is refused by what denies, only.
	must(owner.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{
		KeyId: plain.KeyId, Policy: document(`{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"kms:*","Resource":"*"}`, `{"Effect":"Deny","Principal":"*","Action":"kms:Encrypt","Resource":"*"}`),
	}))
	_, err = encrypt(w.root, *plain.KeyId, nil)
	refused(t, err, "AccessDeniedException", "with an explicit deny in a resource-based policy")
	must(encrypt(w.root, *closed.KeyId, nil))
}

// TestQueues: a queue's policy stands in for the policies of its account's principals,
// and lets other accounts in as far as their own policies do.
func TestQueues(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	ctx, owner := t.Context(), sqs.NewFromConfig(w.root)
	q := must(owner.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("q"), Attributes: map[string]string{string(sqstypes.QueueAttributeNamePolicy): *document(
		`{"Effect":"Allow","Principal":{"AWS":["`+iamARN+`user/alice","`+other+`"]},"Action":"sqs:SendMessage","Resource":"*"}`,
		`{"Effect":"Deny","Principal":"*","Action":"sqs:PurgeQueue","Resource":"*"}`,
	)}})).QueueUrl
	send := func(c aws.Config) error {
		_, err := sqs.NewFromConfig(c).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: q, MessageBody: aws.String("x")})
		return err
	}
	if err := send(w.user("alice")); err != nil {
		t.Error(err)
	}
	refused(t, send(w.user("bob")), "AccessDenied", "sqs:sendmessage on resource: arn:aws:sqs:"+region+":"+account+":q because no identity-based policy")
	abroad := *w
	abroad.root = w.as(other, "test", "")
	refused(t, send(abroad.user("carol")), "AccessDenied", "because no identity-based policy allows the sqs:sendmessage action")
	if err := send(abroad.user("dave", allow("sqs:*", "*"))); err != nil {
		t.Error(err)
	}
	_, err := sqs.NewFromConfig(abroad.user("eve", allow("sqs:*", "*"))).ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: q})
	refused(t, err, "AccessDenied", "because no resource-based policy allows the sqs:receivemessage action")
	_, err = owner.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: q})
	refused(t, err, "AccessDenied", ":root is not authorized to perform: sqs:purgequeue", "with an explicit deny in a resource-based policy")
}

// TestTrace: each permission of a call is a decision with what made it.
func TestTrace(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	alice := w.user("alice", `{"Sid":"A","Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/team":"a"}}}`, allow("sqs:*", "*"))
	before := len(must2(w.gate.Decisions(0, 100, everything)))
	for _, team := range []string{"a", "b"} {
		_, _ = kms.NewFromConfig(alice).CreateKey(t.Context(), &kms.CreateKeyInput{Tags: []kmstypes.Tag{{TagKey: aws.String("team"), TagValue: &team}}})
	}
	all, last := w.gate.Decisions(0, 100, everything)
	if last != uint64(len(all)) || len(all)-before != 4 {
		t.Fatalf("%d decisions of %d", len(all)-before, last)
	}
	var got []string
	for _, e := range all[before:] {
		line := e.Decision.Request.Action
		for _, m := range e.Decision.By {
			line += " by " + m.String()
		}
		for _, m := range e.NearMisses {
			line += " not by " + m.Condition.String() + " for " + strings.Join(m.Given, ",")
		}
		for _, r := range e.Decision.Remedies() {
			line += " but by " + r.Statement.JSON()
		}
		got = append(got, line)
	}
	const by, notBy = ` by Allow "A" of policy p of user/alice (identity-based policy)`, ` not by StringEquals aws:RequestTag/team ["a"] for b but by {"Effect":"Allow","Action":"`
	want := []string{
		"kms:CreateKey" + by, "kms:TagResource" + by, "kms:CreateKey" + notBy + `kms:CreateKey","Resource":"*"}`, "kms:TagResource" + notBy + `kms:TagResource","Resource":"*"}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	denied, _ := w.gate.Decisions(last-3, 1, func(e *enforce.Entry) bool { return !e.Allowed })
	if len(denied) != 1 || denied[0].Number != last {
		t.Errorf("the newest denial is %+v", denied)
	}
}

func everything(*enforce.Entry) bool { return true }

func must2[T any](v T, _ uint64) T { return v }

// TestClusterKey: whoever encrypts a cluster's secrets needs the key for it.
func TestClusterKey(t *testing.T) {
	w := newWorld(t, enforce.Enforce)
	key := must(kms.NewFromConfig(w.root).CreateKey(t.Context(), &kms.CreateKeyInput{})).KeyMetadata.Arn
	in := &eks.CreateClusterInput{
		Name: aws.String("dev"), RoleArn: aws.String(iamARN + "role/eks"), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: subnetIDs(t, w.root)},
		EncryptionConfig: []ekstypes.EncryptionConfig{{Resources: []string{"secrets"}, Provider: &ekstypes.Provider{KeyArn: key}}},
	}
	create := func(c aws.Config) error {
		_, err := eks.NewFromConfig(c).CreateCluster(t.Context(), in)
		return err
	}
	base := allow("eks:CreateCluster", "iam:PassRole", "*")
	refused(t, create(w.session("none", base)), "InvalidRequestException", "User not authorized to perform kms:DescribeKey operation")
	refused(t, create(w.session("half", base, allow("kms:DescribeKey", "*"))), "InvalidRequestException", "User not authorized to perform kms:CreateGrant operation")
	if err := create(w.session("both", base, `{"Effect":"Allow","Action":["kms:DescribeKey","kms:CreateGrant"],"Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"eks.us-east-1.amazonaws.com"}}}`)); err != nil {
		t.Error(err)
	}
}
