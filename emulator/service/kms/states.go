package kms

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// The states in which operations work.
var (
	anyState []types.KeyState // nil: every one
	usable   = []types.KeyState{types.KeyStateEnabled}
	kept     = []types.KeyState{types.KeyStateEnabled, types.KeyStateDisabled, types.KeyStatePendingImport}
	made     = []types.KeyState{types.KeyStateEnabled, types.KeyStateDisabled}
	leaving  = []types.KeyState{types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion}
)

// rule says what an operation asks of the key that it is called with.
type rule struct {
	states []types.KeyState
	// alias: the key may be named by an alias. foreign: it may be another account's.
	// readsManaged: it may be a key that AWS manages.
	alias, foreign, managed bool
}

// rules is the table "Key states of AWS KMS keys" of the KMS Developer Guide, with
// what the API Reference says of each operation's KeyId and cross-account use.
var rules = map[string]rule{
	"CancelKeyDeletion":                   {states: leaving},
	"CreateAlias":                         {states: kept},
	"CreateGrant":                         {states: usable, foreign: true, managed: true},
	"Decrypt":                             {states: usable, alias: true, foreign: true, managed: true},
	"DescribeKey":                         {states: anyState, alias: true, foreign: true, managed: true},
	"DisableKey":                          {states: made},
	"DisableKeyRotation":                  {states: usable},
	"EnableKey":                           {states: made},
	"EnableKeyRotation":                   {states: usable},
	"Encrypt":                             {states: usable, alias: true, foreign: true, managed: true},
	"GenerateDataKey":                     {states: usable, alias: true, foreign: true, managed: true},
	"GenerateDataKeyPair":                 {states: usable, alias: true, foreign: true, managed: true},
	"GenerateDataKeyPairWithoutPlaintext": {states: usable, alias: true, foreign: true, managed: true},
	"GenerateDataKeyWithoutPlaintext":     {states: usable, alias: true, foreign: true, managed: true},
	"GenerateMac":                         {states: usable, alias: true, foreign: true},
	"GetKeyPolicy":                        {states: anyState, managed: true},
	"GetKeyRotationStatus":                {states: anyState, foreign: true, managed: true},
	"GetPublicKey":                        {states: usable, alias: true, foreign: true},
	"ListAliases":                         {states: anyState, managed: true},
	"ListGrants":                          {states: anyState, foreign: true, managed: true},
	"ListKeyPolicies":                     {states: anyState, managed: true},
	"ListKeyRotations":                    {states: anyState, managed: true},
	"ListResourceTags":                    {states: anyState, managed: true},
	"PutKeyPolicy":                        {states: anyState},
	"ReEncrypt":                           {states: usable, alias: true, foreign: true, managed: true},
	"ReplicateKey":                        {states: usable},
	"RetireGrant":                         {states: anyState, foreign: true, managed: true},
	"RevokeGrant":                         {states: anyState, foreign: true, managed: true},
	"RotateKeyOnDemand":                   {states: usable},
	"ScheduleKeyDeletion":                 {states: kept},
	"Sign":                                {states: usable, alias: true, foreign: true},
	"TagResource":                         {states: kept},
	"UntagResource":                       {states: kept},
	"UpdateAlias":                         {states: kept},
	"UpdateKeyDescription":                {states: kept},
	"UpdatePrimaryRegion":                 {states: usable},
	"Verify":                              {states: usable, alias: true, foreign: true},
	"VerifyMac":                           {states: usable, alias: true, foreign: true},
}

// check answers the error of a key that is in none of the states.
func (r rule) check(k *key) error {
	if r.states == nil || slices.Contains(r.states, k.State) {
		return nil
	}
	invalid := func(what string) error {
		return &types.KMSInvalidStateException{Message: aws.String(k.arn() + " is " + what + ".")}
	}
	switch k.State {
	case types.KeyStatePendingDeletion:
		return invalid("pending deletion")
	case types.KeyStatePendingReplicaDeletion:
		return invalid("pending replica deletion")
	case types.KeyStatePendingImport:
		return invalid("pending import")
	case types.KeyStateDisabled:
		if !slices.Contains(r.states, types.KeyStatePendingDeletion) {
			return &types.DisabledException{Message: aws.String(k.arn() + " is disabled.")}
		}
	}
	return invalid("not pending deletion")
}
