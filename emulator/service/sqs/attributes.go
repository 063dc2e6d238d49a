package sqs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxMessage = 1 << 20 // 1 MiB; 256 KiB until August 2025

// defaults are the attributes of a standard queue that nobody set.
var defaults = map[types.QueueAttributeName]string{
	types.QueueAttributeNameDelaySeconds:                  "0",
	types.QueueAttributeNameMaximumMessageSize:            strconv.Itoa(maxMessage),
	types.QueueAttributeNameMessageRetentionPeriod:        "345600",
	types.QueueAttributeNameReceiveMessageWaitTimeSeconds: "0",
	types.QueueAttributeNameVisibilityTimeout:             "30",
}

// fifoDefaults are those that FIFO queues have besides.
var fifoDefaults = map[types.QueueAttributeName]string{
	types.QueueAttributeNameFifoQueue:                 "true",
	types.QueueAttributeNameContentBasedDeduplication: "false",
	types.QueueAttributeNameDeduplicationScope:        "queue",
	types.QueueAttributeNameFifoThroughputLimit:       "perQueue",
}

// spans are the numeric attributes and their bounds.
var spans = map[types.QueueAttributeName][2]int{
	types.QueueAttributeNameDelaySeconds:                  {0, 900},
	types.QueueAttributeNameMaximumMessageSize:            {1024, maxMessage},
	types.QueueAttributeNameMessageRetentionPeriod:        {60, 1209600},
	types.QueueAttributeNameReceiveMessageWaitTimeSeconds: {0, 20},
	types.QueueAttributeNameVisibilityTimeout:             {0, maxVisibility},
	types.QueueAttributeNameKmsDataKeyReusePeriodSeconds:  {60, 86400},
}

// enums are the attributes with a few possible values.
var enums = map[types.QueueAttributeName][]string{
	types.QueueAttributeNameFifoQueue:                 {"true", "false"},
	types.QueueAttributeNameContentBasedDeduplication: {"true", "false"},
	types.QueueAttributeNameSqsManagedSseEnabled:      {"true", "false"},
	types.QueueAttributeNameDeduplicationScope:        {"queue", "messageGroup"},
	types.QueueAttributeNameFifoThroughputLimit:       {"perQueue", "perMessageGroupId"},
}

// setAttributes validates attributes and sets them on q.
func setAttributes(tx store.Reader, q *queue, in map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		v := in[name]
		if err := checkAttribute(q, types.QueueAttributeName(name), v); err != nil {
			return err
		}
		if err := checkRedrive(tx, q, types.QueueAttributeName(name), v); err != nil {
			return err
		}
		switch types.QueueAttributeName(name) {
		case types.QueueAttributeNamePolicy, types.QueueAttributeNameRedrivePolicy, types.QueueAttributeNameRedriveAllowPolicy, types.QueueAttributeNameKmsMasterKeyId:
			if v == "" {
				delete(q.Attributes, name)
				continue
			}
		}
		q.Attributes[name] = v
	}
	const kms, sse = string(types.QueueAttributeNameKmsMasterKeyId), string(types.QueueAttributeNameSqsManagedSseEnabled)
	if in[sse] == "true" && q.Attributes[kms] != "" {
		return attributeName("You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.")
	}
	if in[kms] != "" {
		delete(q.Attributes, sse) // the key replaces it
	}
	if q.attribute(types.QueueAttributeNameFifoThroughputLimit) == "perMessageGroupId" && q.Attributes[string(types.QueueAttributeNameDeduplicationScope)] != "messageGroup" {
		return attributeValue("FifoThroughputLimit", "The perMessageGroupId value is allowed only when the value for DeduplicationScope is messageGroup.")
	}
	return nil
}

func checkAttribute(q *queue, name types.QueueAttributeName, v string) error {
	switch name {
	case types.QueueAttributeNamePolicy, types.QueueAttributeNameRedrivePolicy, types.QueueAttributeNameRedriveAllowPolicy:
		if v != "" && !json.Valid([]byte(v)) {
			return attributeValue(string(name), "")
		}
		return nil
	case types.QueueAttributeNameKmsMasterKeyId:
		return nil
	case types.QueueAttributeNameFifoQueue:
		if !q.fifo() {
			return attributeName("Unknown Attribute FifoQueue.")
		}
		if v != "true" {
			return attributeValue("FifoQueue", "Modifying queue type is not supported.")
		}
		return nil
	case types.QueueAttributeNameContentBasedDeduplication:
		if !q.fifo() {
			return attributeName("Unknown Attribute ContentBasedDeduplication.")
		}
	case types.QueueAttributeNameDeduplicationScope, types.QueueAttributeNameFifoThroughputLimit:
		if !q.fifo() {
			return attributeName("You can specify the %s only when FifoQueue is set to true.", name)
		}
	}
	if s, ok := spans[name]; ok {
		if n, err := strconv.Atoi(v); err != nil || n < s[0] || n > s[1] {
			return attributeValue(string(name), "")
		}
		return nil
	}
	values, ok := enums[name]
	if !ok {
		return attributeName("Unknown Attribute %s.", name)
	}
	if !slices.Contains(values, v) {
		return attributeValue(string(name), "")
	}
	return nil
}

// redrive is a queue's RedrivePolicy.
type redrive struct {
	Target string `json:"deadLetterTargetArn"`
	// Max is a number, or a string that is one: both are sent and accepted.
	Max json.Number `json:"maxReceiveCount"`
}

func (r redrive) max() int64 {
	n, err := r.Max.Int64()
	if err != nil {
		return 0
	}
	return n
}

func parseRedrive(v string) (redrive, bool) {
	var r redrive
	return r, v != "" && json.Unmarshal([]byte(v), &r) == nil
}

// redrive returns the queue's redrive policy, if it has one.
func (q *queue) redrive() (redrive, bool) {
	return parseRedrive(q.Attributes[string(types.QueueAttributeNameRedrivePolicy)])
}

func checkRedrive(r store.Reader, q *queue, name types.QueueAttributeName, v string) error {
	if name != types.QueueAttributeNameRedrivePolicy || v == "" {
		return nil
	}
	bad := func(reason string) error { return invalidValue(v, "RedrivePolicy", reason) }
	p, ok := parseRedrive(v)
	switch {
	case !ok:
		return bad("Redrive policy is not a valid JSON map.")
	case p.Target == "":
		return bad("Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")
	case p.Max == "":
		return bad("Redrive policy does not contain mandatory attribute: maxReceiveCount.")
	}
	if n, err := p.Max.Int64(); err != nil || n < 1 || n > 1000 {
		return bad(fmt.Sprintf("Invalid value for maxReceiveCount: %s, valid values are from 1 to 1000 both inclusive.", p.Max))
	}
	sc, target, ok := parseARN(p.Target)
	if !ok || sc.Region != q.Scope.Region {
		return bad("Invalid value for deadLetterTargetArn.")
	}
	dlq := queues.Get(r, sc, target)
	switch {
	case dlq == nil:
		return bad("Dead letter target does not exist.")
	case dlq.fifo() != q.fifo():
		return bad("Dead-letter queue must be same type of queue as the source.")
	}
	return nil
}

// parseARN splits a queue's ARN.
func parseARN(s string) (awsid.Scope, string, bool) {
	a, err := awsid.ParseARN(s)
	if err != nil || a.Service != "sqs" || a.Account == "" || a.Region == "" || !a.In(a.Scope()) {
		return awsid.Scope{}, "", false
	}
	return a.Scope(), a.Resource, true
}

// shown are all attributes that a queue has, but for the counts.
func (q *queue) shown() map[string]string {
	out := map[string]string{
		"QueueArn":              q.arn(),
		"CreatedTimestamp":      strconv.FormatInt(q.Created.Unix(), 10),
		"LastModifiedTimestamp": strconv.FormatInt(q.Modified.Unix(), 10),
	}
	for k, v := range defaults {
		out[string(k)] = v
	}
	if q.fifo() {
		for k, v := range fifoDefaults {
			out[string(k)] = v
		}
	}
	out["SqsManagedSseEnabled"] = "true"
	if q.Attributes["KmsMasterKeyId"] != "" {
		out["SqsManagedSseEnabled"], out["KmsDataKeyReusePeriodSeconds"] = "false", "300"
	}
	maps.Copy(out, q.Attributes)
	if q.Attributes["KmsMasterKeyId"] == "" {
		delete(out, "KmsDataKeyReusePeriodSeconds")
	}
	return out
}
