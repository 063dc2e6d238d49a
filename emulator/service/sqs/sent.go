package sqs

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// sent tells whether the client sent a member. The SDK's inputs have plain int32
// members where 0 means something else than nothing: VisibilityTimeout 0 peeks,
// WaitTimeSeconds 0 and DelaySeconds 0 override the queue's. The wire tells.
func sent(ctx context.Context, member string) bool {
	var body map[string]json.RawMessage
	return json.Unmarshal(wire.Body(ctx), &body) == nil && given(body, member)
}

// sentEntries is sent for the entries of a batch.
func sentEntries(ctx context.Context, member string) []bool {
	var body struct{ Entries []map[string]json.RawMessage }
	if json.Unmarshal(wire.Body(ctx), &body) != nil {
		return nil
	}
	out := make([]bool, len(body.Entries))
	for i, e := range body.Entries {
		out[i] = given(e, member)
	}
	return out
}

func given(body map[string]json.RawMessage, member string) bool {
	v, ok := body[member]
	return ok && string(v) != "null"
}

// failedEntry is how one entry of a batch fails.
func failedEntry(id *string, err error) types.BatchResultErrorEntry {
	code, msg := "InternalError", err.Error()
	var api smithy.APIError
	if errors.As(err, &api) {
		code, msg = api.ErrorCode(), api.ErrorMessage()
	}
	return types.BatchResultErrorEntry{Id: id, Code: &code, Message: &msg, SenderFault: api != nil}
}
